"""One way in which a name gives a thing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FunctionType
from typing import Protocol

import pytest

from equissl.util.registry import Registry, check_options, did_you_mean, is_import_path


class Shape:
    """Base of the things in these tests."""


class Square(Shape):
    """A thing of one's own, found by its import path."""


class Drawing(Protocol):
    """Things that can be drawn."""

    name: str

    def draw(self, size: int) -> str: ...


class Circle:
    """Can be drawn, and derives from nothing."""

    name = "circle"

    def draw(self, size: int) -> str:
        return "o" * size


class ShapeError(Exception):
    """Another error than ValueError."""


def shapes(**options: object) -> Registry[type[Shape]]:
    return Registry("shape", {"square": f"{__name__}:Square"}, **options)  # type: ignore[arg-type]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that is not ours and declares three shapes."""
    info = tmp_path / "roundshapes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: roundshapes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[scratch.shapes]\nround = roundshapes:Round\nmissing = roundshapes:Oval\nodd = roundshapes:Odd\n"
    )
    (tmp_path / "roundshapes.py").write_text(
        f"import sys\nclass Round(sys.modules[{__name__!r}].Shape): pass\nclass Odd: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "roundshapes", raising=False)


def test_built_in_things_are_imported_when_asked_for() -> None:
    known = Registry("module", {"wave": "wave:Wave_read"})
    loaded = sys.modules.pop("wave", None)
    try:
        assert list(known) == ["wave"] and "wave" in known and "wave" not in sys.modules
        assert known["wave"].__name__ == "Wave_read" and "wave" in sys.modules
    finally:
        if loaded:
            sys.modules["wave"] = loaded


def test_a_decorator_registers_once() -> None:
    known = shapes()

    @known.register("mine")
    class Mine(Shape):
        pass

    assert known["mine"] is Mine and list(known) == ["square", "mine"] and len(known) == 2
    assert known.register("mine")(Mine) is Mine
    with pytest.raises(ValueError, match="shape 'mine' is registered already"):
        known.register("mine")(Square)


@pytest.mark.usefixtures("plugin")
def test_entry_points_of_installed_packages_are_found() -> None:
    known = shapes(group="scratch.shapes", base=Shape)
    assert list(known) == ["square", "round", "missing", "odd"] and "round" in known
    assert known["round"].__module__ == "roundshapes"
    assert known.name_of(known["round"]) == "round"
    with pytest.raises(ValueError, match=r"cannot load shape 'missing' of another package: .*Oval"):
        known["missing"]
    with pytest.raises(ValueError, match=r"expected shape 'odd' to be a Shape, got <class 'roundshapes\.Odd'>"):
        known["odd"]
    with pytest.raises(ValueError, match=r"\(did you mean 'round'\?\)"):
        known["roumd"]


@pytest.mark.parametrize("separator", [".", ":"])
def test_things_of_ones_own_are_found_by_import_path(separator: str) -> None:
    path = f"{__name__}{separator}Square"
    known = shapes(base=Shape)
    assert known[path] is Square and path not in known
    assert known.name_of(Square) == "square"
    assert Registry("shape").name_of(Square) == f"{__name__}.Square"


@pytest.mark.parametrize("path", ["no.such.module:Thing", f"{__name__}:Thing", f"{__name__}.Thing"])
def test_import_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(ShapeError, match=f"cannot import shape {path!r}: "):
        shapes(error=ShapeError)[path]


@pytest.mark.parametrize("name", ["squar", "Square", "SQUARE"])
def test_an_unknown_name_says_the_nearest(name: str) -> None:
    expected = rf"unknown shape '{name}' \(did you mean 'square'\?\); expected one of square, or an import path"
    with pytest.raises(ShapeError, match=expected):
        shapes(error=ShapeError)[name]
    assert "did you mean 'squares'?" in str(shapes().unknown("squaress", ["squares"]))


def test_another_sort_of_thing_is_refused() -> None:
    path = f"{__name__}:Circle"
    with pytest.raises(ShapeError, match=f"expected shape {path!r} to be a Shape, got <class"):
        shapes(base=Shape, error=ShapeError)[path]
    with pytest.raises(ValueError, match="to be a Shape or function, got"):
        shapes(base=(Shape, FunctionType))[path]
    assert shapes(base=(Shape, FunctionType))[f"{__name__}:shapes"] is shapes
    assert shapes(base=f"{__name__}:Shape")[f"{__name__}:Square"] is Square
    with pytest.raises(ValueError, match="to be a Shape"):
        shapes(base=f"{__name__}:Shape")[path]


def test_of_a_protocol_the_methods_are_looked_for() -> None:
    known: Registry[type[Drawing]] = Registry("drawing", base=Drawing)
    assert known[f"{__name__}:Circle"] is Circle
    with pytest.raises(ValueError, match="to be a Drawing"):
        known[f"{__name__}:Square"]


@pytest.mark.parametrize(
    ("name", "is_path"),
    [("a.b:C", True), ("a.b.C", True), ("a:b", True), ("a", False), ("a/b.c", False), ("1.5", False), ("a:", False),
     (".a", False), ("a.b:C:D", False), ("", False)],
)  # fmt: skip
def test_import_paths_are_told_from_names(name: str, is_path: bool) -> None:
    assert is_import_path(name) == is_path


def test_nothing_is_meant_where_nothing_is_near() -> None:
    assert did_you_mean("xyz", ["square", "round"]) == ""


def test_unknown_options_are_refused() -> None:
    check_options("shape 'square'", ["side"], {"side": 1, "colour": 2})
    with pytest.raises(
        ShapeError,
        match=r"^shape 'square' has no option 'sid' \(did you mean 'side'\?\); expected one of colour, side$",
    ):
        check_options("shape 'square'", ["side", "sid"], ["side", "colour"], ShapeError)
    with pytest.raises(ValueError, match="has no option 'side'; it has none"):
        check_options("shape 'dot'", ["side"], [])
