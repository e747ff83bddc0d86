"""Arguments read from source text are those that Python itself reports after an import."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from pathlib import Path

import pytest

from equissl.bench import BENCHES
from equissl.kinds import KINDS
from equissl.methods import METHODS
from equissl.objectives.create import OBJECTIVES
from equissl.renderers.base import RENDERERS
from equissl.runs.config import PretrainConfig
from equissl.training.loggers import LOGGERS
from equissl.util.signatures import UNKNOWN, arguments_of, attribute_of, registry_of
from equissl.util.sources import find_definition

CLASSES = [METHODS[name] for name in METHODS]
SECTIONS = [cls for kind in KINDS.values() for cls in (kind.data, kind.options)]
FUNCTIONS = [BENCHES[name] for name in BENCHES]


def path(thing: typing.Any) -> str:
    return f"{thing.__module__}:{thing.__qualname__}"


@pytest.mark.parametrize("thing", [*CLASSES, *SECTIONS, *FUNCTIONS, PretrainConfig], ids=path)
def test_names_and_required_ones(thing: typing.Any) -> None:
    definition = find_definition(path(thing))
    assert definition is not None
    expected = inspect.signature(thing).parameters
    found = {argument.name: argument for argument in arguments_of(definition)}
    assert set(found) == set(expected)
    for name, parameter in expected.items():
        assert (found[name].default is None) == (parameter.default is parameter.empty), name


@pytest.mark.parametrize("thing", [*CLASSES, *SECTIONS, PretrainConfig], ids=path)
def test_plain_types_and_groups(thing: typing.Any) -> None:
    definition = find_definition(path(thing))
    assert definition is not None
    hints = typing.get_type_hints(thing if dataclasses.is_dataclass(thing) else thing.__init__)
    for argument in arguments_of(definition):
        hint = hints[argument.name]
        if argument.type is not UNKNOWN:
            # a path is typed as a text
            assert argument.type == hint or "Path" in str(hint), argument.name
        if argument.group:
            inner = [part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)]
            assert [path(part) for part in inner] == [argument.group.path]


def test_docstrings_of_arguments() -> None:
    definition = find_definition("equissl.methods.views.sie:SIE")
    assert definition is not None
    texts = {argument.name: argument.help for argument in arguments_of(definition)}
    assert texts["std"] == "weight of the variance hinge."
    assert texts["action"].startswith("what the predictor is told:") and "  " not in texts["action"]
    assert all(texts.values())


@pytest.mark.parametrize(
    ("where", "registry"),
    [
        ("equissl.methods:METHODS", METHODS),
        ("equissl.kinds:KINDS", KINDS),
        ("equissl.objectives.create:OBJECTIVES", OBJECTIVES),
        ("equissl.renderers:RENDERERS", RENDERERS),
        ("equissl.training.loggers:LOGGERS", LOGGERS),
    ],
)
def test_names_in_registries(where: str, registry: typing.Any) -> None:
    assert list(registry_of(where)) == registry.names()


def test_every_list_of_names_is_found() -> None:
    from equissl.verbs.values import NAMES

    assert all(len(names.known()) > 1 for names in NAMES.values())


def test_kinds_of_methods() -> None:
    for name in METHODS:
        assert attribute_of(METHODS.path_of(name), "kind") == METHODS[name].kind
    for name in KINDS:
        for attribute in ("data", "options", "batch"):
            found = attribute_of(KINDS.path_of(name), attribute)
            assert getattr(found, "path", None) == path(getattr(KINDS[name], attribute))


def test_sources_are_parsed_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bombs").mkdir()
    (tmp_path / "bombs" / "__init__.py").write_text("raise SystemError\n")
    (tmp_path / "bombs" / "bomb.py").write_text(
        "from dataclasses import dataclass\nfrom typing import Literal\nColour = Literal['red', 'blue']\n"
        "def f(a: int, *, b: Colour = 'red', c: 'Missing' = None):\n"
        "    '''Do.\n\n    Args:\n        a, b: both.\n    '''\n"
        "raise SystemError\n"
    )
    (tmp_path / "bombs" / "broken.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    definition = find_definition("bombs.bomb.f")
    assert definition is not None
    first, second, third = arguments_of(definition)
    assert (first.name, first.type, first.default, first.help) == ("a", int, None, "both.")
    assert (second.name, second.type, second.default) == ("b", typing.Literal["red", "blue"], "'red'")
    assert (third.name, third.type, third.open) == ("c", UNKNOWN, True)
    assert find_definition("bombs.broken:f") is None
    assert find_definition("nowhere.at.all:f") is None
    assert find_definition("bombs.bomb:missing") is None
    assert "bombs" not in sys.modules
