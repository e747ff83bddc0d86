"""Config keys given as words of the command line."""

from __future__ import annotations

from typing import Any

import yaml

from equissl.util.configtree import ConfigError, merge


def parse_overrides(words: list[str]) -> dict[str, Any]:
    """Turn ``["--a.b", "1", "--a.c=x"]`` into ``{"a": {"b": 1, "c": "x"}}``; values are read as YAML.

    Raises:
        ConfigError: a word that is no flag, a flag without a value, or a value that is not YAML.
    """
    tree: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"expected --key value, got {word!r}")
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"expected a value after {word}")
            value = rest.pop(0)
        tree = merge(tree, _nested(full_key(key), _yaml_value(value, key)))
    return tree


def full_key(key: str) -> str:
    """Return the whole key: ``method`` alone means its class; ``method.sim`` its constructor's argument ``sim``."""
    parts = key.split(".")
    if parts == ["method"]:
        return "method.class_path"
    if parts[0] == "method" and parts[1] not in ("class_path", "init_args"):
        return ".".join(["method", "init_args", *parts[1:]])
    return key


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, tail = key.partition(".")
    return {head: _nested(tail, value) if tail else value}


def _yaml_value(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{key}: cannot read {text!r}: {error}") from error
