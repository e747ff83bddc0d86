"""Docstrings begin as an engineer of the field would say it, and public functions say what they take."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DONE = ["equissl", "datasets", "renderers"]
# Folders that do not keep the rules yet.
NOT_YET: tuple[str, ...] = ()
RIDDLE = re.compile(r"(What|Whether|How|Where|Which|That|Who|Why|When)\b")
THIRD_PERSON = re.compile(
    r"(Adds|Appends|Applies|Closes|Computes|Continues|Copies|Creates|Draws|Drops|Fills|Finds|Forgets|Gives|Hashes|Joins"
    r"|Keeps|Loads|Makes|Moves|Packs|Pretrains|Prints|Puts|Raises|Reads|Renders|Returns|Saves|Says|Sets|Simulates|Takes"
    r"|Trains|Tries|Writes|Yields) "
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sources() -> list[Path]:
    found = [path for name in DONE for path in sorted((ROOT / name).rglob("*.py"))]
    return [path for path in found if not _name(path).startswith(NOT_YET)]


def definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Classes, methods and functions of a module; not those inside of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from definitions(child, f"{prefix}{child.name}.")


def first_lines(path: Path) -> Iterator[tuple[str, str]]:
    module = ast.parse(path.read_text(encoding="utf-8"))
    for name, node in [("module", module), *definitions(module)]:
        if text := ast.get_docstring(node):  # type: ignore[arg-type]
            yield name, text.splitlines()[0]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [a.arg for a in named if a is not None and a.arg not in ("self", "cls")]


def lacks_args(name: str, node: Definition) -> bool:
    """True for a public function of two or more parameters whose docstring does not explain them.

    A method without a docstring overrides one that has it.
    """
    if isinstance(node, ast.ClassDef) or any(part.startswith("_") for part in name.split(".")):
        return False
    text = ast.get_docstring(node)
    return len(parameters(node)) >= 2 and "Args:" not in (text or "") and not (text is None and "." in name)


@pytest.mark.parametrize("folder", DONE)
def test_listed_folders_are_there(folder: str) -> None:
    assert any((ROOT / folder).rglob("*.py"))


def test_first_lines_are_no_riddles() -> None:
    lines = [(path, *line) for path in sources() for line in first_lines(path)]
    assert len(lines) > 1000
    riddles = [f"{_name(path)}: {name}: {text}" for path, name, text in lines if RIDDLE.match(text) or "?" in text]
    assert not riddles, "\n".join(riddles)


def test_first_lines_of_functions_are_imperatives_where_they_begin_with_a_verb() -> None:
    lines = [(path, *line) for path in sources() for line in first_lines(path)]
    found = [f"{_name(path)}: {name}: {text}" for path, name, text in lines if THIRD_PERSON.match(text)]
    assert not found, "\n".join(found)


def test_public_functions_explain_their_parameters() -> None:
    found = [
        f"{_name(path)}:{node.lineno} {name}"
        for path in sources()
        for name, node in definitions(ast.parse(path.read_text(encoding="utf-8")))
        if lacks_args(name, node)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "lacking"),
    [
        ("def f(a, b): ...", ["f"]),
        ("def f(a): ...", []),
        ("def _f(a, b): ...", []),
        ('def f(a, b):\n    """Add.\n\n    Args:\n        a, b: numbers.\n    """', []),
        ('class A:\n    def f(self, a, *b):\n        """Add."""', ["A.f"]),
        ("class A:\n    def f(self, a, b): ...", []),
        ("def f(a):\n    def g(a, b): ...", []),
    ],
)
def test_the_rule_itself(source: str, lacking: list[str]) -> None:
    assert [name for name, node in definitions(ast.parse(source)) if lacks_args(name, node)] == lacking


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
