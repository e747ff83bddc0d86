"""Arguments of functions and classes, and names in registries, read from source text alone.

The program checks its words and shows its help with these before anything heavy is imported. What the source does not
say, such as a value that is computed, is left open: the check after the import is the strict one.
"""

from __future__ import annotations

import ast
import functools
import typing
from dataclasses import dataclass
from importlib.metadata import entry_points

from equissl.util.sources import Definition, find_definition

SIMPLE = {"int": int, "float": float, "bool": bool, "str": str, "Path": str, "None": type(None)}
UNKNOWN = typing.Any


@dataclass(frozen=True)
class Argument:
    """One argument of a function or class.

    Attributes:
        name: of the argument.
        hint: its annotation.
        default: source text of its default; None for an argument that has to be given.
        help: from the docstring.
        type: plain type of the annotation, `typing.Any` where it is not plain.
        group: dataclass that it takes, as its definition.
        open: True where keys below its name may be anything: dictionaries, and what the source does not say.
    """

    name: str
    hint: str
    default: str | None
    help: str
    type: typing.Any
    group: Definition | None
    open: bool


def arguments_of(definition: Definition) -> list[Argument]:
    """Return the arguments of a function, of a dataclass, or of a class's constructor, in order."""
    if definition.is_dataclass:
        return _fields(definition)
    for owner in definition.lineage() if isinstance(definition.node, ast.ClassDef) else ():
        found = [n for n in owner.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]  # type: ignore
        if found:
            return _parameters(Definition(owner.source, found[0]), docs_of(owner))[1:]
    return _parameters(definition, docs_of(definition)) if isinstance(definition.node, ast.FunctionDef) else []


def docs_of(definition: Definition) -> dict[str, str]:
    """Return what a docstring says about each argument."""
    import docstring_parser

    text = ast.get_docstring(definition.node) or ""  # type: ignore[arg-type]
    found = {}
    for entry in docstring_parser.parse(text).params:
        for name in entry.arg_name.split(","):
            found[name.strip().lstrip("*")] = " ".join((entry.description or "").split())
    return found


def attribute_of(path: str, name: str) -> Definition | str | None:
    """Return what a class, or the class of an instance, has as a class attribute: a text, or the class it names.

    Args:
        path: import path.
        name: of the attribute.
    """
    definition = find_definition(path)
    for owner in definition.lineage() if definition else ():
        for node in getattr(owner.node, "body", ()):
            for target, value in _assigned(node):
                if target == name:
                    return _text(value) or owner.source.find(ast.unparse(value))
    return None


@functools.cache
def registry_of(path: str) -> dict[str, str | None]:
    """Return the names in a registry, with import paths where these are known; those of other packages last."""
    definition = find_definition(path)
    if definition is None or not isinstance(definition.node, ast.Call):
        return {}
    names: dict[str, str | None] = {}
    for table in definition.node.args[1:2]:
        for key, value in zip(getattr(table, "keys", ()), getattr(table, "values", ()), strict=True):
            names[str(_literal(definition, key))] = _literal(definition, value)
    groups = [_literal(definition, word.value) for word in definition.node.keywords if word.arg == "group"]
    return names | {point.name: point.value for group in groups for point in entry_points(group=group)}


def _text(node: ast.AST) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _literal(definition: Definition, node: ast.AST | None) -> typing.Any:
    """Return the value of a constant, or of a name of one; None for anything else."""
    if isinstance(node, ast.Name) and (found := definition.source.find(node.id)):
        node = found.node
    return node.value if isinstance(node, ast.Constant) else None


def _assigned(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """Return names and values of an assignment, of ``a, b = 1, 2`` too."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        return [(node.target.id, node.value)]
    if not isinstance(node, ast.Assign):
        return []
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return [(ast.unparse(name), item) for name, item in zip(target.elts, value.elts, strict=False)]
    return [(ast.unparse(target), value)]


def _fields(definition: Definition) -> list[Argument]:
    found: dict[str, Argument] = {}
    for owner in reversed(definition.lineage()):
        docs = docs_of(owner)
        for node in owner.node.body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                hint = ast.unparse(node.annotation)
                if not hint.startswith(("ClassVar", "typing.ClassVar")) and not _is_derived(node.value):
                    name = node.target.id
                    found[name] = _argument(owner, name, node.annotation, _default_of(node.value), docs.get(name, ""))
    return list(found.values())


def _is_derived(value: ast.AST | None) -> bool:
    """Return True for ``field(init=False)``."""
    words = value.keywords if isinstance(value, ast.Call) else []
    return any(word.arg == "init" and ast.unparse(word.value) == "False" for word in words)


def _default_of(value: ast.AST | None) -> str | None:
    """Return the default of a field; ``field(default_factory=list)`` is ``list()``."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "field":
        given = {word.arg: word.value for word in value.keywords}
        if "default_factory" in given:
            made = given["default_factory"]
            return ast.unparse(made.body) if isinstance(made, ast.Lambda) else f"{ast.unparse(made)}()"
        value = given.get("default")
    return None if value is None else ast.unparse(value)


def _parameters(definition: Definition, docs: dict[str, str]) -> list[Argument]:
    given = definition.node.args  # type: ignore[attr-defined]
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults + given.kw_defaults
    return [
        _argument(definition, arg.arg, arg.annotation, None if value is None else ast.unparse(value),
                  docs.get(arg.arg, ""))
        for arg, value in zip([*plain, *given.kwonlyargs], defaults, strict=True)
    ]  # fmt: skip


def _argument(owner: Definition, name: str, hint: ast.AST | None, default: str | None, text: str) -> Argument:
    kind = UNKNOWN if hint is None else _plain(owner, hint)
    groups = [] if hint is None else [found for part in _options(hint) if (found := _dataclass(owner, part))]
    group = groups[0] if len(groups) == 1 else None
    shown = "" if hint is None else ast.unparse(hint)
    return Argument(name, shown, default, text, kind, group, open=kind is UNKNOWN and group is None)


def _dataclass(owner: Definition, hint: ast.AST) -> Definition | None:
    found = owner.source.find(hint.id) if isinstance(hint, ast.Name) else None
    return found if found and found.is_dataclass else None


def _options(hint: ast.AST) -> list[ast.AST]:
    """Return the parts of ``A | B``."""
    if isinstance(hint, ast.BinOp) and isinstance(hint.op, ast.BitOr):
        return _options(hint.left) + _options(hint.right)
    return [hint]


def _plain(owner: Definition, hint: ast.AST) -> typing.Any:
    """Return the plain type of an annotation: numbers, texts, ``Literal``, and unions of these."""
    text = ast.unparse(hint)
    if text in SIMPLE:
        return SIMPLE[text]
    if isinstance(hint, ast.Subscript) and ast.unparse(hint.value) == "Literal":
        values = ast.literal_eval(hint.slice)
        return typing.Literal[values]
    if isinstance(hint, ast.Name) and (alias := owner.source.find(hint.id)) and isinstance(alias.node, ast.Subscript):
        return _plain(alias, alias.node)
    if isinstance(hint, ast.BinOp):
        parts = [_plain(owner, part) for part in _options(hint)]
        return UNKNOWN if UNKNOWN in parts else typing.Union[tuple(parts)]  # noqa: UP007
    return UNKNOWN


def summary_of(path: str) -> str:
    """Return the first line of the docstring of what an import path names; empty where it is not found."""
    definition = find_definition(path)
    text = ast.get_docstring(definition.node) if definition else None  # type: ignore[arg-type]
    return (text or "").partition("\n")[0]
