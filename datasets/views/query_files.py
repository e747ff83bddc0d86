"""Similarity queries for a person: a CSV file to fill in, and a picture of each query."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from equissl.datasets.views.queries import Queries, draw_queries, find_odd
from equissl.datasets.views.store.store import ViewStore
from equissl.util.files import atomic_path
from equissl.util.progress import staged

LETTERS = "abc"
COLUMNS = ("query", "odd", *(f"{letter}_{what}" for letter in LETTERS for what in ("object", "name", "view")))
FILE = "queries.csv"
_GAP, _INK, _PAPER = 8, (40, 40, 40), (255, 255, 255)


class QueryFileError(ValueError):
    """A file of answers that cannot be used; the message names the file, the line and what was expected."""


def write_queries(
    store: Path | str, out: Path | str, count: int = 100, about: str | None = None, seed: int = 0, cell: int = 160
) -> Path:
    """Write queries of training views for a person: ``queries.csv`` and a picture of each.

    The person writes into the column ``odd`` of each line the letter of the view that is least like the other two, or
    leaves it empty; training then reads the file (``data.queries.answers``).

    Args:
        store: view store.
        out: folder of the files.
        count: how many queries; more keep the first ones.
        about: fill in what an oracle answers by this attribute, as an example; empty without.
        seed: of the choice of views.
        cell: side of a view in the pictures, in pixels.

    Returns:
        the CSV file.

    Raises:
        ValueError: fewer than three training objects, no queries, or an unknown attribute.
        FileExistsError: the file is there, perhaps with somebody's answers.
    """
    views, folder = ViewStore(store), Path(out)
    if count < 1 or cell < 1:
        raise ValueError(f"expected count and cell of at least 1, got {count} and {cell}")
    queries = draw_queries(views.select("train"), views.num_views, count, seed)
    odd = None if about is None else find_odd(queries, views, about)
    if (folder / FILE).exists():
        raise FileExistsError(f"{folder / FILE} is there already, perhaps with answers: take another --out")
    folder.mkdir(parents=True, exist_ok=True)
    for row in staged(range(count), "pictures", "queries"):
        _draw(views, queries, row, cell).save(folder / picture_name(row))
    with atomic_path(folder / FILE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_line(views, queries, row, "" if odd is None else LETTERS[odd[row]]) for row in range(count))
    return folder / FILE


def read_answers(path: Path | str, store: ViewStore, split: str | None = "train") -> Queries:
    """Read answered queries; those whose ``odd`` is empty are left out.

    Args:
        path: CSV file that `write_queries` wrote and a person filled in.
        store: the one it was written for.
        split: of the objects that may be shown.

    Raises:
        QueryFileError: missing columns, an unknown letter, an object or view that the store does not hold under this
            name, one of another split, or no answers.
        OSError: no such file.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise QueryFileError(f"{path}: expected the columns {', '.join(COLUMNS)}; {', '.join(missing)} are missing")
        lines = [(f"{path}, line {reader.line_num}", line) for line in reader]
    allowed = set(store.select(split).tolist())
    found = [(_shown(line, store, allowed, where), odd) for where, line in lines if (odd := _odd(line, where)) >= 0]
    if not found:
        raise QueryFileError(f"{path}: expected {', '.join(LETTERS)} in the column odd of some lines, all are empty")
    shown = np.array([rows for rows, _ in found])
    return Queries(shown[..., 0], shown[..., 1]).answered(np.array([odd for _, odd in found]))


def picture_name(row: int) -> str:
    """Return the file name of a query's picture."""
    return f"query-{row:04d}.png"


def _line(store: ViewStore, queries: Queries, row: int, odd: str) -> Iterator[object]:
    yield from (row, odd)
    for index, view in zip(queries.objects[row], queries.views[row], strict=True):
        yield from (index, store.object_names[index], view)


def _odd(line: dict[str, str], where: str) -> int:
    """Column of the odd one out; -1 for no answer."""
    letter = (line["odd"] or "").strip().lower()
    if letter and letter not in LETTERS:
        raise QueryFileError(f"{where}: expected odd to be {', '.join(LETTERS)} or empty, got {line['odd']!r}")
    return LETTERS.index(letter) if letter else -1


def _shown(line: dict[str, str], store: ViewStore, allowed: set[int], where: str) -> list[tuple[int, int]]:
    """Object and view of each of the three."""
    shown = []
    for letter in LETTERS:
        index, view = (_number(line[f"{letter}_{what}"], f"{where}: {letter}_{what}") for what in ("object", "view"))
        if not 0 <= index < store.num_objects or not 0 <= view < store.num_views:
            held = f"{store.num_objects} objects of {store.num_views} views"
            raise QueryFileError(f"{where}: {store.path} holds {held}, got object {index}, view {view}")
        if store.object_names[index] != line[f"{letter}_name"]:
            name = store.object_names[index]
            raise QueryFileError(
                f"{where}: object {index} of {store.path} is {name!r}, not {line[f'{letter}_name']!r}: the queries "
                "were written for another store"
            )
        if index not in allowed:
            raise QueryFileError(f"{where}: object {index} is held out, and answers about it would be training on it")
        shown.append((index, view))
    return shown


def _number(text: str | None, where: str) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise QueryFileError(f"{where}: expected a whole number, got {text!r}") from None


def _draw(store: ViewStore, queries: Queries, row: int, cell: int) -> Image.Image:
    """Three views side by side, under their letters."""
    flat = queries.objects[row] * store.num_views + queries.views[row]
    pictures = store.read_images(flat).permute(0, 2, 3, 1).numpy()
    font = ImageFont.load_default(size=16)
    top, step = 28, cell + _GAP
    sheet = Image.new("RGB", (3 * step + _GAP, top + step), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, (letter, picture) in enumerate(zip(LETTERS, pictures, strict=True)):
        left = _GAP + column * step
        draw.text((left + cell / 2, top / 2), letter, fill=_INK, font=font, anchor="mm")
        sheet.paste(Image.fromarray(picture).resize((cell, cell), Image.Resampling.BICUBIC), (left, top))
    return sheet
