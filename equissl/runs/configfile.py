"""Reading configs: YAML files, command line overrides, and errors that name the nearest match.

The types of the config dataclasses and of the method's constructor are the only description of what a config may hold;
jsonargparse reads them.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import SUPPRESS, ArgumentParser

from equissl.datasets.views.live.spec import LiveSpec
from equissl.runs.config import (
    CollapseConfig,
    ConfigError,
    DataConfig,
    FrameConfig,
    MethodConfig,
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    SceneConfig,
    TrainerConfig,
    check_config,
    flatten,
)

SECTIONS = {
    "data": DataConfig,
    "optim": OptimConfig,
    "trainer": TrainerConfig,
    "probes": ProbeConfig,
    "collapse": CollapseConfig,
}
BASE = "base"  # key that names the one file whose values a config starts from


def load_config(path: str | Path | None, overrides: list[str] | None = None) -> PretrainConfig:
    """Reads a config file, applies overrides, fills in defaults and checks every key and type.

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
    return resolve_config(_merge(read_yaml(file), over), origin=file.name)


def resolve_config(tree: dict[str, Any], origin: str = "config") -> PretrainConfig:
    """The typed config of nested dictionaries; ``origin`` is named in errors."""
    method = tree.get("method")
    if not isinstance(method, dict) or "class_path" not in method:
        raise ConfigError(f"{origin}: expected method.class_path, one of {sorted(_methods())}")
    method_class = find_method(str(method["class_path"]), origin)
    parser = config_parser(method_class)
    _check_keys(tree, parser, origin)
    precision = tree.get("trainer", {}).get("precision")
    if isinstance(precision, int):  # YAML reads 32 as a number
        tree = _merge(tree, {"trainer": {"precision": str(precision)}})
    if (data := tree.get("data") or {}).get("live") is not None and "store" not in data:
        tree = _merge(tree, {"data": {"store": ""}})  # views that are rendered need none
    try:
        parsed = parser.parse_object(copy.deepcopy(tree)).as_dict()
        sections: dict[str, Any] = {name: _typed(section, parsed[name]) for name, section in SECTIONS.items()}
    except Exception as error:  # jsonargparse raises several types; all of them are about the config
        raise ConfigError(f"{origin}: {error}") from error
    init_args = parsed["method"].get("init_args") or {}
    method = MethodConfig(_short_name(method_class), _plain(init_args))
    config = PretrainConfig(method, **sections, seed=parsed["seed"], init=parsed["init"])
    check_config(config)
    return config


def build_method(config: MethodConfig) -> Any:
    """The method of a config, with freshly drawn weights (seed torch before).

    Returns:
        an :class:`equissl.methods.base.Method`.
    """
    method_class = find_method(config.class_path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(method_class, "method")
    if not config.init_args:
        return method_class()
    _check_keys({"method": config.init_args}, parser, f"method {config.class_path}")
    try:
        # a copy: jsonargparse puts its own objects into lists of dataclasses
        parsed = parser.parse_object({"method": copy.deepcopy(config.init_args)})
    except Exception as error:
        raise ConfigError(f"method {config.class_path}: {error}") from error
    return parser.instantiate(parsed).method


def config_parser(method_class: type | None = None) -> ArgumentParser:
    """The parser whose flags, help and types are those of a config with this method."""
    parser = ArgumentParser(prog="equissl pretrain", exit_on_error=False)
    parser.add_argument(
        "--method.class_path", type=str, help=f"one of {', '.join(sorted(_methods()))}, or an import path"
    )
    if method_class is not None:
        parser.add_class_arguments(method_class, "method.init_args")
    for name, section in SECTIONS.items():
        parser.add_class_arguments(section, name)
        next(action for action in parser._actions if action.dest == name).help = SUPPRESS  # no file for a section
    parser.add_argument("--seed", type=int, default=0, help="seed of the run")
    parser.add_argument("--init", type=str | None, default=None, help="run or checkpoint whose voxel backbone to take")
    return parser


def find_method(name: str, origin: str = "config") -> type:
    """The method class of that name or import path.

    Raises:
        ConfigError: naming the nearest known method.
    """
    known = _methods()
    if name in known:
        return known[name]
    module, _, attribute = name.rpartition(".")
    if module:
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{origin}: cannot import method {name!r}: {error}") from error
    raise ConfigError(f"{origin}: unknown method {name!r}{_nearest(name, known)}; expected one of {sorted(known)}")


def find_config(path: str | Path) -> Path:
    """The file itself, or the packaged config of that name.

    Raises:
        ConfigError: naming the packaged configs.
    """
    file = Path(path)
    if file.is_file():
        return file
    folder = Path(str(resources.files("equissl.configs")))
    if not file.is_absolute() and (packaged := folder / file.with_suffix(".yaml")).is_file():
        return packaged
    found = (p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml") if p.stem[0] != "_")
    names = sorted(found)
    nearest = _nearest(file.with_suffix("").as_posix(), names)
    raise ConfigError(f"no config file {str(path)!r}{nearest}; packaged configs: {', '.join(names)}")


def read_yaml(file: Path) -> dict[str, Any]:
    """The nested dictionaries of a YAML file, over those of the file that its ``base`` key names (one level)."""
    tree = _load_yaml(file)
    if BASE not in tree:
        return tree
    base = file.parent / str(tree.pop(BASE))
    if not base.is_file():
        raise ConfigError(f"{file.name}: its base {base.name!r} is not in {file.parent}")
    parent = _load_yaml(base)
    if BASE in parent:
        raise ConfigError(f"{base.name}: a base cannot have a base itself (one level only)")
    return _merge(parent, tree)


def parse_overrides(words: list[str]) -> dict[str, Any]:
    """``["--a.b", "1", "--a.c=x"]`` as ``{"a": {"b": 1, "c": "x"}}``; values are read as YAML."""
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
        tree = _merge(tree, _nested(_full_key(key), _yaml_value(value, key)))
    return tree


def save_config(config: PretrainConfig, file: Path) -> None:
    """Writes the resolved config; :func:`load_config` reads it back to an equal one."""
    file.write_text(dump_config(config), encoding="utf-8")


def dump_config(config: PretrainConfig) -> str:
    """The resolved config as YAML."""
    return yaml.safe_dump(config.to_dict(), sort_keys=False)


def _full_key(key: str) -> str:
    """``method`` alone means its class; ``method.sim`` its constructor's argument ``sim``."""
    parts = key.split(".")
    if parts == ["method"]:
        return "method.class_path"
    if parts[0] == "method" and parts[1] not in ("class_path", "init_args"):
        return ".".join(["method", "init_args", *parts[1:]])
    return key


def _typed(section: type, values: dict[str, Any]) -> Any:
    """The dataclass of parsed values, with those inside it."""
    nested: dict[str, type] = {"scenes": SceneConfig, "frames": FrameConfig, "live": LiveSpec}
    inner = nested if section is DataConfig else {}
    return section(**{k: inner[k](**v) if k in inner and v is not None else v for k, v in values.items()})


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``. Another method brings its own arguments: those of the base's are dropped."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if "class_path" in value and value["class_path"] != old.get("class_path"):
                old = {}
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, tail = key.partition(".")
    return {head: _nested(tail, value) if tail else value}


def _check_keys(tree: dict[str, Any], parser: ArgumentParser, origin: str) -> None:
    # an argument that takes a dataclass or None also has a flag that shows the dataclass' help
    known = {action.dest for action in parser._actions if action.dest.rpartition(".")[2] != "help"}
    known |= {f"data.live.{field.name}" for field in dataclasses.fields(LiveSpec)}
    groups = {dest.rsplit(".", depth)[0] for dest in known for depth in range(1, dest.count(".") + 1)}
    groups.add("method.init_args")  # also of a method without arguments
    for key, value in flatten(tree).items():
        above = {".".join(key.split(".")[:depth]) for depth in range(1, key.count(".") + 1)}
        if key in groups and value in ({}, None):
            continue
        if key not in known and not above & (known - groups):
            raise ConfigError(f"{origin}: unknown key {key!r}{_nearest(key, known | groups)}")


def _nearest(word: str, known: Any) -> str:
    """Nearest by whole key, then by last part, which finds a key put in the wrong section."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    if not close:
        last = {key.rsplit(".", 1)[-1]: key for key in known}
        close = [last[k] for k in difflib.get_close_matches(word.rsplit(".", 1)[-1], list(last), n=1, cutoff=0.6)]
    return f" (did you mean {close[0]!r}?)" if close else ""


def _methods() -> dict[str, type]:
    from equissl.detection import DETECTORS
    from equissl.methods import METHODS

    return {**METHODS, **DETECTORS}


def _short_name(method_class: type) -> str:
    name = method_class.__name__
    return name if _methods().get(name) is method_class else f"{method_class.__module__}.{method_class.__qualname__}"


def _plain(value: Any) -> Any:
    """Tuples as lists, namespaces and dataclasses as dictionaries, which YAML and a checkpoint can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _load_yaml(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a YAML file: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected a mapping of keys, got {type(tree).__name__}")
    return tree


def _yaml_value(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{key}: cannot read {text!r}: {error}") from error
