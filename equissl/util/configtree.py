"""Configs as nested dictionaries, before anything is known about what they configure."""

from __future__ import annotations

from typing import Any


class ConfigError(ValueError):
    """A config that cannot be read: unknown key, wrong type, or a file that is not there."""


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten ``{"a": {"b": 1}}`` to ``{"a.b": 1}``; an empty dictionary stays a value.

    Args:
        tree: nested dictionaries.
        prefix: put before every key.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def values_by_key(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value of a tree by its dotted key, dictionaries among them.

    Args:
        tree: nested dictionaries.
        prefix: put before every key.
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found[f"{prefix}{key}"] = value
        if isinstance(value, dict):
            found |= values_by_key(value, f"{prefix}{key}.")
    return found


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Put ``over`` on top of ``base``; another method drops the arguments of the base's method.

    Args:
        base: config tree.
        over: config tree; its values win.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if "class_path" in value and old.get("class_path", value["class_path"]) != value["class_path"]:
                old = {}
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged
