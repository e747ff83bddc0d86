"""Configs from YAML files and command line words, with errors that name the nearest match.

The types of the config dataclasses, of the kind's section ``data`` and of the method's constructor are the only
description of what a config may hold; jsonargparse reads them.
"""

from __future__ import annotations

import copy
import dataclasses
import typing
from pathlib import Path
from types import NoneType
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from equissl.kinds import KINDS, Kind
from equissl.methods import METHODS, Method
from equissl.runs.config import (
    CollapseConfig,
    MethodConfig,
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    TrainerConfig,
    check_config,
)
from equissl.util.configtree import ConfigError, flatten, merge
from equissl.util.files import write_text
from equissl.util.overrides import parse_overrides
from equissl.util.recipes import find_config, read_yaml
from equissl.util.registry import did_you_mean

SECTIONS = {"optim": OptimConfig, "trainer": TrainerConfig, "probes": ProbeConfig, "collapse": CollapseConfig}


def load_config(path: str | Path | None, overrides: list[str] | None = None) -> PretrainConfig:
    """Read a config file, apply overrides, fill in defaults and check every key and type.

    Args:
        path: a YAML file, or the name of a packaged one (``demo_sie``); None when the overrides say everything.
        overrides: command line words: ``["--trainer.max_steps", "10", "--method.init_args.sim=5"]``.

    Raises:
        ConfigError: unknown key (the nearest match is named), wrong type, missing value or file.
    """
    over = parse_overrides(overrides or [])
    if path is None:
        return resolve_config(over, origin="command line")
    file = find_config(path)
    return resolve_config(merge(read_yaml(file), over), origin=file.name)


def resolve_config(tree: dict[str, Any], origin: str = "config") -> PretrainConfig:
    """Build the typed config of nested dictionaries.

    Args:
        tree: as read from YAML.
        origin: named in errors.

    Raises:
        ConfigError: see `load_config`.
    """
    method_class = find_method(tree, origin)
    kind = find_kind(tree, method_class, origin)
    name = kind_name(tree, method_class)
    parser = config_parser(method_class, kind)
    _check_keys(tree, parser, {"data": kind.data, "method.init_args": method_class}, origin)
    tree = merge(tree, {"data": {"kind": name}})
    precision = tree.get("trainer", {}).get("precision")
    if isinstance(precision, int):  # YAML reads 32 as a number
        tree = merge(tree, {"trainer": {"precision": str(precision)}})
    try:
        parsed = parser.parse_object(copy.deepcopy(tree))
        built = parser.instantiate(parsed)
    except Exception as error:  # jsonargparse raises several types; all of them are about the config
        raise ConfigError(f"{origin}: {error}") from error
    init_args = parsed.as_dict()["method"].get("init_args") or {}
    method = MethodConfig(METHODS.name_of(method_class), _plain(init_args))
    sections = {name: getattr(built, name) for name in SECTIONS}
    config = PretrainConfig(method, built.data, **sections, seed=built.seed, init=built.init)
    check_config(config)
    return config


def build_method(config: MethodConfig) -> Any:
    """Build the method of a config, with freshly drawn weights (seed torch before).

    Returns:
        a `Method`.
    """
    method_class = _method_class(config.class_path, "config")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(method_class, "method")
    if not config.init_args:
        return method_class()  # type: ignore[call-arg]
    origin = f"method {config.class_path}"
    _check_keys({"method": config.init_args}, parser, {"method": method_class}, origin)
    try:
        # a copy: jsonargparse puts its own objects into lists of dataclasses
        parsed = parser.parse_object({"method": copy.deepcopy(config.init_args)})
    except Exception as error:
        raise ConfigError(f"{origin}: {error}") from error
    return parser.instantiate(parsed).method


def config_parser(method_class: type[Method] | None = None, kind: Kind | None = None) -> ArgumentParser:
    """Create the parser whose flags, help and types are those of a config.

    Args:
        method_class: adds its constructor's arguments.
        kind: adds its section ``data``.
    """
    parser = ArgumentParser(prog="equissl pretrain", exit_on_error=False)
    methods = ", ".join(sorted(METHODS.names()))
    parser.add_argument("--method.class_path", type=str, help=f"one of {methods}, or an import path")
    if method_class is not None:
        parser.add_class_arguments(method_class, "method.init_args", instantiate=False)
    if kind is not None:
        parser.add_class_arguments(kind.data, "data")
    for name, section in SECTIONS.items():
        parser.add_class_arguments(section, name)
    parser.add_argument("--seed", type=int, default=0, help="seed of the run")
    parser.add_argument("--init", type=str | None, default=None, help="run or checkpoint whose encoder to take")
    return parser


def find_method(tree: dict[str, Any], origin: str = "config") -> type[Method]:
    """Find the method class of a config.

    Args:
        tree: with ``method.class_path``, a name or import path.
        origin: named in errors.

    Raises:
        ConfigError: naming the nearest known method.
    """
    method = tree.get("method")
    if not isinstance(method, dict) or "class_path" not in method:
        raise ConfigError(f"{origin}: expected method.class_path, one of {sorted(METHODS.names())}")
    return _method_class(str(method["class_path"]), origin)


def kind_name(tree: dict[str, Any], method_class: type[Method]) -> str:
    """Return the name or import path of the kind of data: the one a config gives, or that of its method.

    Args:
        tree: with or without ``data.kind``.
        method_class: of the config.
    """
    return (tree.get("data") or {}).get("kind") or method_class.kind


def find_kind(tree: dict[str, Any], method_class: type[Method], origin: str = "config") -> Kind:
    """Find the kind of data of a config: the one it names, or the one that its method was written for.

    Args:
        tree: with or without ``data.kind``.
        method_class: its batches must be of the kind.
        origin: named in errors.

    Raises:
        ConfigError: unknown kind, or one whose batches the method does not take.
    """
    name = kind_name(tree, method_class)
    try:
        kind = KINDS[name]
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}") from error
    if not issubclass(kind.batch, method_class.batch):
        got = f"data.kind {name!r}, whose batches are {kind.batch.__name__}"
        raise ConfigError(f"{origin}: {method_class.__name__} learns from {method_class.batch.__name__}, got {got}")
    return kind


def save_config(config: PretrainConfig, file: Path) -> None:
    """Write the resolved config; `load_config` reads it back to an equal one.

    Args:
        config: to write.
        file: YAML file.
    """
    write_text(file, dump_config(config))


def dump_config(config: PretrainConfig) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(_plain(config.to_dict()), sort_keys=False)


def _method_class(name: str, origin: str) -> type[Method]:
    try:
        return METHODS[name]
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}") from error


def _check_keys(tree: dict[str, Any], parser: ArgumentParser, owners: dict[str, type], origin: str) -> None:
    """Refuse keys that no argument has; ``owners`` are the classes whose arguments stand below a prefix."""
    known = set(parser.get_defaults().keys())
    for prefix, owner in owners.items():
        for group, keys in _optional_groups(owner, prefix).items():
            known = {key for key in known if not key.startswith(f"{group}.")} | keys
    _refuse_unknown(tree, known, origin)


def _refuse_unknown(tree: dict[str, Any], known: set[str], origin: str) -> None:
    """Raise for unknown keys; below a known key that is no group, a dictionary may hold anything."""
    groups = {dest.rsplit(".", depth)[0] for dest in known for depth in range(1, dest.count(".") + 1)}
    groups |= {"method", "method.init_args"}  # also of a method without arguments
    for key, value in flatten(tree).items():
        above = {".".join(key.split(".")[:depth]) for depth in range(1, key.count(".") + 1)}
        if key in groups and value in ({}, None):
            continue
        if key not in known and not above & (known - groups):
            raise ConfigError(f"{origin}: unknown key {key!r}{_nearest(key, known | groups)}")


def _optional_groups(owner: type, prefix: str) -> dict[str, set[str]]:
    """Return keys below arguments that take a dataclass or None, which the parser's defaults do not name as given."""
    found: dict[str, set[str]] = {}
    for name, hint in typing.get_type_hints(owner.__init__).items():  # type: ignore[misc]
        for option in typing.get_args(hint) if NoneType in typing.get_args(hint) else ():
            if dataclasses.is_dataclass(option):
                group = f"{prefix}.{name}"
                found[group] = {group, *(f"{group}.{field.name}" for field in dataclasses.fields(option))}
    return found


def _nearest(word: str, known: set[str]) -> str:
    """Find the nearest by whole key, then by last part, which finds a key put in the wrong section."""
    last = {key.rsplit(".", 1)[-1]: key for key in sorted(known)}
    tail = word.rsplit(".", 1)[-1]
    if tail in last:
        return f" (did you mean {last[tail]!r}?)"
    return did_you_mean(word, known)


def _plain(value: Any) -> Any:
    """Convert tuples to lists, namespaces and dataclasses to dictionaries, which YAML and a checkpoint can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
