"""YAML files of configs: packaged recipes by name, and files that start from the values of another."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from equissl.util.configtree import ConfigError, merge
from equissl.util.registry import did_you_mean

BASE = "base"  # key that names the one file whose values a config starts from


def recipe_folder() -> Path:
    """Return the folder of the packaged recipes."""
    return Path(str(resources.files("equissl.configs")))


def recipe_names() -> list[str]:
    """List the packaged recipes; files whose names begin with an underscore are bases of others."""
    folder = recipe_folder()
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml") if p.stem[0] != "_")


def find_config(path: str | Path) -> Path:
    """Return the file itself, or the packaged recipe of that name.

    Raises:
        ConfigError: naming the packaged recipes.
    """
    file = Path(path)
    if file.is_file():
        return file
    if not file.is_absolute() and (packaged := recipe_folder() / file.with_suffix(".yaml")).is_file():
        return packaged
    names = recipe_names()
    nearest = did_you_mean(file.with_suffix("").as_posix(), names)
    raise ConfigError(f"no config file {str(path)!r}{nearest}; packaged configs: {', '.join(names)}")


def read_yaml(file: Path) -> dict[str, Any]:
    """Read the nested dictionaries of a YAML file, over those that its ``base`` key names.

    A base is a packaged recipe, or a file beside this one that has no base itself.

    Raises:
        ConfigError: not a YAML mapping, a base that is not there, or a file with a base as a base.
    """
    tree = _load_yaml(file)
    if BASE not in tree:
        return tree
    name = str(tree.pop(BASE))
    base = file.parent / name
    if not base.is_file() and name in recipe_names():
        return merge(read_yaml(find_config(name)), tree)
    if not base.is_file():
        raise ConfigError(f"{file.name}: its base {name!r} is no packaged config and not in {file.parent}")
    parent = _load_yaml(base)
    if BASE in parent:
        raise ConfigError(f"{base.name}: a base cannot have a base itself (one level only)")
    return merge(parent, tree)


def _load_yaml(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a YAML file: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected a mapping of keys, got {type(tree).__name__}")
    return tree
