"""Errors about a recorded drive, always with the file and the sweep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 12  # entries of a folder that a message lists


class IngestError(ValueError):
    """A folder, or a whole drive, that cannot be read; the message says what was expected and what was found."""


class SweepError(ValueError):
    """One damaged sweep. The others of its drive can still be used.

    Args:
        file: the file at fault.
        frame: the frame it spoils.
        reason: what was expected and what came.
    """

    def __init__(self, file: Path | str, frame: str, reason: str) -> None:
        super().__init__(f"{file}: frame {frame}: {reason}")
        self.file, self.frame, self.reason = str(file), frame, reason

    def __reduce__(self) -> tuple:
        return type(self), (self.file, self.frame, self.reason)


@dataclass(frozen=True)
class Problem:
    """Problem of a recording, left out or suspect, for the report and the store.

    Attributes:
        drive, frame, file: where; empty where it does not apply.
        reason: what was expected and what came.
    """

    drive: str
    frame: str
    file: str
    reason: str

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.drive, self.frame and f"frame {self.frame}", self.file) if part)
        return f"{place}: {self.reason}" if place else self.reason


def wrong_folder(root: Path, format_name: str, tree: str, detail: str) -> IngestError:
    """Create the error for a folder in another layout: the tree expected, and what is there.

    Args:
        root: the folder.
        format_name: expected format.
        tree: its layout.
        detail: what is missing.
    """
    expected = "\n".join(f"  {line}" for line in tree.strip("\n").splitlines())
    return IngestError(
        f"expected {root} to be in the {format_name} layout: {detail}\nexpected:\n{expected}\nfound:\n{describe(root)}"
    )


def describe(root: Path) -> str:
    """Describe two levels of a folder, shortened."""
    if not root.is_dir():
        return f"  {root} is {'a file' if root.exists() else 'not there'}"
    lines = []
    for entry in _shorten(sorted(root.iterdir())):
        lines.append(f"  {_show(entry)}")
        if isinstance(entry, Path) and entry.is_dir():
            inside = [_show(item) for item in _shorten(sorted(entry.iterdir()), 4)]
            lines.append(f"    {'  '.join(inside) or '(empty)'}")
    return "\n".join(lines) or "  (an empty folder)"


def _show(entry: Path | str) -> str:
    return entry if isinstance(entry, str) else entry.name + "/" * entry.is_dir()


def _shorten(paths: Iterable[Path], most: int = _SHOWN) -> list[Path | str]:
    listed = list(paths)
    return [*listed[:most], f"... and {len(listed) - most} more"] if len(listed) > most else [*listed]
