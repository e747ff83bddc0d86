"""Source text of modules, found and parsed without importing them."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Source:
    """Parsed source of one module.

    Attributes:
        name: of the module.
        tree: its syntax tree.
        top: what it defines or imports at its top level, by name.
    """

    name: str
    tree: ast.Module
    top: dict[str, ast.stmt] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "top", {name: node for node in _statements(self.tree) for name in _names(node)})

    def find(self, name: str) -> Definition | None:
        """Find a class, function or value by its name here, through imports; None where the source does not say it."""
        node = self.top.get(name)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            return Definition(self, node)
        if isinstance(node, ast.ImportFrom):
            return self._imported(node, name)
        value = getattr(node, "value", None)
        if isinstance(value, ast.Name) and value.id != name:
            return self.find(value.id)
        return None if value is None else Definition(self, value)

    def _imported(self, node: ast.ImportFrom, name: str) -> Definition | None:
        original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        source = read_source(node.module) if node.module and not node.level else None
        return source.find(original) if source else None


@dataclass(frozen=True)
class Definition:
    """Class, function or value, and the module whose names it uses."""

    source: Source
    node: ast.AST

    @property
    def name(self) -> str:
        """Name of the class or function."""
        return getattr(self.node, "name", "")

    @property
    def path(self) -> str:
        """Import path of the class or function."""
        return f"{self.source.name}:{self.name}"

    @property
    def is_dataclass(self) -> bool:
        """True for a class with the decorator ``dataclass``."""
        marks = [ast.unparse(mark).partition("(")[0] for mark in getattr(self.node, "decorator_list", ())]
        return isinstance(self.node, ast.ClassDef) and any(mark.split(".")[-1] == "dataclass" for mark in marks)

    def lineage(self) -> list[Definition]:
        """Return the class and those it inherits from, nearest first, as far as their source is found."""
        found = [self]
        for base in getattr(self.node, "bases", ()):
            parent = self.source.find(base.id) if isinstance(base, ast.Name) else None
            if parent and isinstance(parent.node, ast.ClassDef):
                found += parent.lineage()
        return found


def find_definition(path: str) -> Definition | None:
    """Find what an import path names, ``package.module:Name`` or ``package.module.Name``; an instance gives its class.

    Args:
        path: of a class, a function, or an instance that a call of a class makes.

    Returns:
        None where the source is not found or does not say it.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    source = read_source(module)
    found = source.find(name) if source else None
    if found and isinstance(found.node, ast.Call) and isinstance(found.node.func, ast.Name):
        made = found.source.find(found.node.func.id)
        return made if made and isinstance(made.node, ast.ClassDef) and made.node.name != "Registry" else found
    return found


@functools.cache
def read_source(module: str) -> Source | None:
    """Parse the source of a module; neither it nor its packages are imported. None where there is no such file."""
    file = _origin(module)
    if file is None or file.suffix != ".py":
        return None
    try:
        return Source(module, ast.parse(file.read_text(encoding="utf-8")))
    except (OSError, SyntaxError, ValueError):
        return None


def _origin(module: str) -> Path | None:
    """Return the file of a module; unlike `importlib.util.find_spec` without running its packages."""
    path, origin, whole = None, None, ""
    for part in module.split("."):
        whole = f"{whole}.{part}" if whole else part
        spec = next(
            (found for finder in sys.meta_path if (found := finder.find_spec(whole, path)) is not None),
            None,
        )
        if spec is None:
            return None
        path, origin = spec.submodule_search_locations, spec.origin
    return Path(origin) if origin else None


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements at the top level, and those under an ``if`` such as ``if TYPE_CHECKING``."""
    for node in getattr(tree, "body", ()):
        yield node
        if isinstance(node, ast.If):
            yield from _statements(node)


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]
