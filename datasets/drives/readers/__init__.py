"""Recorded formats, one file each. A module here with a subclass of ``Reader`` is found by itself."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.readers.base import Reader

__all__ = ["Reader", "find_reader", "formats", "open_reader"]


def formats() -> dict[str, type[Reader]]:
    """Readers by the name of their format."""
    found: dict[str, type[Reader]] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Reader) and value.__module__ == module.__name__:
                name = getattr(value, "format", None)
                if name is not None:
                    found[name] = value
    return found


def find_reader(name: str) -> type[Reader]:
    """The reader of a format.

    Raises:
        IngestError: naming the nearest one.
    """
    known = formats()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise IngestError(f"unknown format {name!r}{hint}; expected one of {', '.join(known)}")
    return known[name]


def open_reader(name: str, root: Path | str) -> Reader:
    """The reader of a folder that must be there."""
    reader, root = find_reader(name), Path(root)
    if not root.is_dir():
        raise IngestError(f"expected a folder at {root}, found {'a file' if root.exists() else 'nothing'}")
    return reader(root)
