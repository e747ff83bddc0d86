"""No module imports another that imports it, imports inside of functions included; few of those there are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"equissl": "equissl", "datasets": "equissl.datasets", "renderers": "equissl.renderers"}
LAZY = 20  # imports of our own modules inside of functions, all for start-up time


def sources() -> dict[str, Path]:
    """Files by module."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if folder == "equissl" and path.relative_to(ROOT / folder).parts[0] in ("datasets", "renderers", "configs"):
                continue  # links of a checkout that is used without installing it
            parts = [*path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Imports that are run, and True for those inside of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, lazy
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imports(node, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def targets(node: ast.Import | ast.ImportFrom, modules: dict[str, Path]) -> set[str]:
    """Our modules that an import names: ``from package import module`` names the module."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & modules.keys()
    inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
    return inner or ({node.module} & modules.keys())  # type: ignore[arg-type]


def graph() -> tuple[dict[str, set[str]], list[str]]:
    """Modules that each module imports, and the lazy imports of our own ones."""
    modules, lazy = sources(), []
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        edges[name] = set()
        for node, inside in imports(ast.parse(path.read_text(encoding="utf-8"))):
            found = targets(node, modules) - {name}
            edges[name] |= found
            lazy += [f"{name}:{node.lineno} -> {target}" for target in sorted(found) if inside]
    return edges, lazy


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of modules, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(edges[name]):
            if found := visit(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in edges if (found := visit(name, []))), [])


def test_the_search_finds_a_circle() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_one_that_imports_it() -> None:
    edges, _ = graph()
    assert len(edges) > 400 and sum(map(len, edges.values())) > 1500
    assert circle(edges) == []


def test_imports_of_our_own_inside_of_functions_are_few() -> None:
    _, lazy = graph()
    assert len(lazy) <= LAZY, "\n".join(lazy)


def test_help_starts_without_heavy_libraries() -> None:
    heavy = ("torch", "numpy", "h5py", "jsonargparse", "open3d", "e3nn")
    code = (
        f"import sys; from equissl.cli import main; main(['--help']); print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
