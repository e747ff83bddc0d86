"""Files of interactions: CSV with a header, and MovieLens' three formats; the first line tells which it is."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILES = ("interactions.csv", "ratings.dat", "u.data", "ratings.csv")  # looked for in a folder
HEADINGS = {
    "user": ("user", "userid", "user_id"),
    "item": ("item", "itemid", "item_id", "movieid", "movie_id"),
    "time": ("time", "timestamp"),
}
EXPECTED = (
    "a CSV file whose header names user, item and time, or MovieLens' ratings.dat, u.data or ratings.csv, "
    "or a folder with one of them"
)


class InteractionsError(ValueError):
    """Interactions that cannot be read; the message says what was expected and what came."""


@dataclass(frozen=True)
class Layout:
    """Layout of a file.

    Attributes:
        separator: between the fields of a line.
        columns: of user, item and time.
        header: True where the first line names the columns.
    """

    separator: str
    columns: tuple[int, int, int]
    header: bool = False


@dataclass(frozen=True)
class Table:
    """R interactions as they stand in a file: names of users and items (R,), times (R,) float64."""

    path: Path
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray


def find_file(path: str | Path) -> Path:
    """Return the file of interactions: the path itself, or the first of `FILES` in a folder.

    Raises:
        FileNotFoundError: no such file, or none in the folder.
    """
    path = Path(path)
    found = [path / name for name in FILES if (path / name).is_file()] if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise FileNotFoundError(f"expected {EXPECTED}; got {path}")
    return found[0]


def find_layout(first_line: str) -> Layout | None:
    """Return the layout of a file by its first line; None where it is none of those known."""
    if first_line.count("::") == 3:
        return Layout("::", (0, 1, 3))
    if first_line.count("\t") == 3:
        return Layout("\t", (0, 1, 3))
    names = [name.strip().lower() for name in next(csv.reader([first_line]), [])]
    columns = [next((i for i, name in enumerate(names) if name in known), -1) for known in HEADINGS.values()]
    return None if min(columns) < 0 else Layout(",", (columns[0], columns[1], columns[2]), header=True)


def is_interactions(path: Path) -> bool:
    """Return True for a file of interactions, or a folder with one."""
    try:
        file = find_file(path)
        return file.suffix in (".csv", ".dat", ".data") and find_layout(_first_line(file)) is not None
    except (OSError, UnicodeDecodeError):
        return False


def read_table(path: str | Path) -> Table:
    """Read all interactions of a file, in the order in which they stand there.

    Args:
        path: the file, or its folder.

    Raises:
        FileNotFoundError: no such file.
        InteractionsError: another format, no interactions, or a line that cannot be read, which is named.
    """
    file = find_file(path)
    try:
        layout = find_layout(_first_line(file))
        if layout is None:
            raise InteractionsError(f"{file}: expected {EXPECTED}; got the first line {_first_line(file)[:80]!r}")
        rows = list(_rows(file, layout))
    except UnicodeDecodeError as error:
        raise InteractionsError(f"{file}: expected text in UTF-8, cannot read it: {error}") from error
    if not rows:
        raise InteractionsError(f"{file}: expected interactions, got none")
    users, items, times = zip(*rows, strict=True)
    return Table(file, np.array(users), np.array(items), np.array(times))


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8-sig") as lines:
        return next(lines, "").rstrip("\r\n")


def _rows(file: Path, layout: Layout) -> Iterator[tuple[str, str, float]]:
    user, item, time = layout.columns
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if len(layout.separator) == 1:
            fields: Iterator[list[str]] = csv.reader(lines, delimiter=layout.separator)
        else:
            fields = (line.rstrip("\r\n").split(layout.separator) for line in lines)
        for number, row in enumerate(fields, start=1):
            if (number == 1 and layout.header) or row in ([], [""]):
                continue
            try:
                yield row[user], row[item], float(row[time])
            except (IndexError, ValueError) as error:
                raise InteractionsError(
                    f"{file}, line {number}: expected user, item and a number as time, got {row}"
                ) from error
