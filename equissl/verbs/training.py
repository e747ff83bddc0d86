"""Keys of a training run's config as flags, known before anything heavy is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from equissl.util.configtree import ConfigError, flatten
from equissl.util.signatures import arguments_of, attribute_of
from equissl.util.sources import Definition, find_definition
from equissl.verbs.check import WordError
from equissl.verbs.options import Option, Options
from equissl.verbs.runs import kind_attribute, kind_class, kind_of, method_path
from equissl.verbs.values import NAMES, wrong_value

CONFIG = "equissl.runs.config:PretrainConfig"
DATA = "equissl.datasets.config:DataConfig"


def config_options(tree: dict[str, Any], own: Iterable[Option] = ()) -> Options:
    """Return the flags of a config: those of every section, of its kind of data and of its method's constructor.

    Args:
        tree: config, as far as it is known.
        own: flags of the verb that are no keys of a config.
    """
    options = Options()
    for option in own:
        options.add(option)
    _add_method(options, (tree.get("method") or {}).get("class_path"))
    _add_data(options, tree)
    whole = find_definition(CONFIG)
    assert whole is not None
    for argument in arguments_of(whole):
        if argument.name in ("method", "data"):
            continue
        if argument.group:
            options.add_source(argument.group.path, argument.name)
        else:
            options.add(Option(argument.name, argument.help, "Run", argument.hint, argument.type, argument.default))
    return options


def check_tree(tree: dict[str, Any], options: Options, origin: str) -> None:
    """Refuse keys that no section has, unknown names, and values of the wrong plain type.

    Args:
        tree: config.
        options: of the config.
        origin: named in errors.

    Raises:
        ConfigError: naming the nearest known key or name.
    """
    if not (tree.get("method") or {}).get("class_path"):
        raise ConfigError(f"{origin}: expected method.class_path, one of {sorted(NAMES['method.class_path'].known())}")
    for key, value in flatten(tree).items():
        option = options.find(key)
        if option is None and not options.loose:
            raise ConfigError(f"{origin}: unknown key {key!r}{options.nearest(key)}")
        if option is not None and value is not None and (problem := wrong_value(option, key, value)):
            raise ConfigError(f"{origin}: {key}: {problem}")


def check_kind(tree: dict[str, Any], origin: str) -> None:
    """Refuse a kind of data whose batches the method does not take.

    Args:
        tree: config.
        origin: named in errors.

    Raises:
        ConfigError: naming both types of batches.
    """
    kind, name = (tree.get("data") or {}).get("kind"), (tree.get("method") or {}).get("class_path")
    has, takes = kind_attribute(kind, "batch"), attribute_of(method_path(str(name)), "batch")
    if not isinstance(has, Definition) or not isinstance(takes, Definition):
        return  # the check after the import is the strict one
    if not any(batch.node is takes.node for batch in has.lineage()):
        got = f"data.kind {kind!r}, whose batches are {has.name}"
        raise ConfigError(f"{origin}: {name} learns from {takes.name}, got {got}")


def check_method(tree: dict[str, Any]) -> None:
    """Refuse an unknown method.

    Raises:
        WordError: naming the nearest known one.
    """
    name, option = (tree.get("method") or {}).get("class_path"), Option("method.class_path")
    if name and (problem := wrong_value(option, option.key, name)):
        raise WordError(problem)


def check_names(keys: Iterable[str], options: Options, verb: str) -> None:
    """Refuse flags that no section has.

    Args:
        keys: whole keys of the flags given.
        options: of the config.
        verb: named in errors.

    Raises:
        WordError: naming the nearest known flag.
    """
    for key in keys:
        if options.find(key) is None and not options.loose:
            raise WordError(
                f"unknown flag --{key}{options.nearest(key, '--')}; `equissl {verb} --help` lists the flags"
            )


def _add_method(options: Options, name: Any) -> None:
    text = "what to train: a name, or an import path; `--method.help NAME` lists its arguments"
    options.add(Option("method.class_path", text, "Method", "str", default=None))
    if not name:
        options.add(Option("method.init_args", open=True))
        return
    path = method_path(str(name))
    definition = find_definition(path)
    summary = ast.get_docstring(definition.node) if definition else None  # type: ignore[arg-type]
    first = (summary or "").partition("\n")[0].rstrip(".")
    options.add_source(path, "method.init_args", heading=f"Method {name}: {first}")


def _add_data(options: Options, tree: dict[str, Any]) -> None:
    """Add the section of the kind of data; of an unknown kind those that all share, and any other."""
    path = kind_class(kind_of(tree), "data")
    options.add_source(path or DATA, "data")
    if path is None:
        options.add(Option("data", open=True))
