"""Captions of images: lists in memory, and CSV files of users.

Rules for bad captions, the same for all formats: white space is made single; an empty caption is left out and counted;
one of more than `MAX_CAPTION` characters is cut before the word that goes beyond, and counted. A CSV file that is not
UTF-8 is refused; of single text files see `equissl.datasets.paired.tar_shards`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

MAX_CAPTION = 4096  # characters
HEADINGS = {
    "image": ("image", "file", "file_name", "filename", "filepath", "path", "object"),
    "text": ("text", "caption", "title"),
    "label": ("label", "class"),
    "split": ("split",),
}
EXPECTED = "a CSV file (or tab-separated) whose header names image and text"


class CaptionError(ValueError):
    """Captions that cannot be read; the message says what was expected and what came."""


@dataclass
class Findings:
    """Number of things of each kind that were found wrong while captions were read, and left out or cut.

    Attributes:
        empty: captions without a word.
        long: captions that were cut.
        undecodable: captions that are not UTF-8, or JSON without a caption.
        without_caption: images that no caption is left for.
        without_image: captions whose image is not there.
    """

    empty: int = 0
    long: int = 0
    undecodable: int = 0
    without_caption: int = 0
    without_image: int = 0

    def lines(self) -> list[str]:
        """Return one line for each kind that was found; none where all is well."""
        texts = {
            "empty": "captions are empty: left out",
            "long": f"captions have more than {MAX_CAPTION} characters: cut",
            "undecodable": "captions are not UTF-8, or no JSON with a caption: left out",
            "without_caption": "images have no caption: left out",
            "without_image": "captions have no image: left out",
        }
        return [f"{n} {texts[each.name]}" for each in fields(self) if (n := getattr(self, each.name))]


def clean_caption(text: str, findings: Findings) -> str | None:
    """Make the white space of a caption single, and cut a long one before the word that goes beyond the limit.

    Args:
        text: as it stands in a file.
        findings: that count.

    Returns:
        the caption; None for an empty one.
    """
    text = " ".join(text.split())
    if not text:
        findings.empty += 1
        return None
    if len(text) > MAX_CAPTION:
        findings.long += 1
        text = text[:MAX_CAPTION].rpartition(" ")[0] or text[:MAX_CAPTION]
    return text


class Captions:
    """Captions of N images, one or more of each, in two arrays.

    Not a list: loader processes would copy millions of texts by counting references to them.

    Args:
        texts: N lists of captions.

    Raises:
        CaptionError: an image without one.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        if (bare := next((i for i, of_image in enumerate(texts) if not of_image), None)) is not None:
            raise CaptionError(f"expected at least one caption of each image, got none of image {bare}")
        encoded = [text.encode() for of_image in texts for text in of_image]
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])
        self._first = np.cumsum([0, *map(len, texts)])

    def __len__(self) -> int:
        return len(self._first) - 1

    def count(self, image: int) -> int:
        """Return the number of captions of an image."""
        return int(self._first[image + 1] - self._first[image])

    def read(self, image: int, number: int) -> str:
        """Return one caption of an image.

        Args:
            image: its position.
            number: of the caption, less than `count`.
        """
        if not 0 <= number < self.count(image):
            raise IndexError(f"expected a caption in 0..{self.count(image) - 1} of image {image}, got {number}")
        place = int(self._first[image]) + number
        return self._bytes[self._ends[place] : self._ends[place + 1]].tobytes().decode()

    def of(self, image: int) -> list[str]:
        """Return all captions of an image."""
        return [self.read(image, number) for number in range(self.count(image))]


@dataclass(frozen=True)
class CaptionTable:
    """Captions of a file by image, in the order in which images first stand there.

    Attributes:
        path: of the file.
        images: names.
        texts: captions of each.
        labels: name of the class of each; empty texts where the file names none.
        splits: ``train`` or ``val`` of each; empty texts where the file names none.
        findings: what was left out or cut.
    """

    path: Path
    images: list[str] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)


def is_caption_file(path: Path) -> bool:
    """Return True for a CSV or tab-separated file whose header names images and texts."""
    try:
        return path.is_file() and path.suffix.lower() in (".csv", ".tsv") and _layout(_first_line(path)) is not None
    except (OSError, UnicodeDecodeError):
        return False


def read_captions(path: Path | str) -> CaptionTable:
    """Read a caption file: a line for each caption, several lines for an image with several.

    Columns ``label`` (name of the class) and ``split`` (``train`` or ``val``) may be there too, the same in all lines
    of an image. Images of which all captions are empty are left out and counted.

    Args:
        path: of the file.

    Raises:
        CaptionError: no such file, another format or encoding, no captions, or a line that cannot be read, which is
            named.
    """
    path = Path(path)
    if not path.is_file():
        raise CaptionError(f"expected {EXPECTED}, found no file at {path}")
    try:
        rows = list(_rows(path))
    except UnicodeDecodeError as error:
        raise CaptionError(f"{path}: expected text in UTF-8, cannot read it: {error}") from error
    table = CaptionTable(path)
    places: dict[str, int] = {}
    for number, (image, text, label, split) in rows:
        if image not in places:
            places[image] = len(places)
            for values, value in ((table.images, image), (table.labels, label), (table.splits, split)):
                values.append(value)
            table.texts.append([])
        place = places[image]
        if (label, split) != (table.labels[place], table.splits[place]):
            raise CaptionError(
                f"{path}, line {number}: expected one label and split of {image!r}, got {(label, split)} after "
                f"{(table.labels[place], table.splits[place])}"
            )
        if (clean := clean_caption(text, table.findings)) is not None:
            table.texts[place].append(clean)
    return _with_captions(table)


def _with_captions(table: CaptionTable) -> CaptionTable:
    """Leave out images without captions."""
    kept = [place for place, texts in enumerate(table.texts) if texts]
    table.findings.without_caption = len(table.images) - len(kept)
    if not kept:
        raise CaptionError(f"{table.path}: expected captions, got none with a word in it")
    names = ("images", "texts", "labels", "splits")
    columns: dict[str, Any] = {name: [getattr(table, name)[i] for i in kept] for name in names}
    return replace(table, **columns)


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as lines:
        return lines.readline(1 << 16).rstrip("\r\n")


def _layout(first_line: str) -> tuple[str, list[int | None]] | None:
    """Return separator, and columns of `HEADINGS`, None for one that is missing; None for another file."""
    separator = "\t" if "\t" in first_line else ","
    try:
        names = [name.strip().lower() for name in next(csv.reader([first_line], delimiter=separator), [])]
    except csv.Error:
        return None
    columns = [next((i for i, name in enumerate(names) if name in known), None) for known in HEADINGS.values()]
    return None if columns[0] is None or columns[1] is None else (separator, columns)


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, str, str, str]]]:
    """Yield the line number of each caption, with image, text, label and split."""
    layout = _layout(_first_line(path))
    if layout is None:
        raise CaptionError(f"{path}: expected {EXPECTED}, got the first line {_first_line(path)[:80]!r}")
    separator, columns = layout
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=separator)
        next(reader)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, _values(row, columns, f"{path}, line {reader.line_num}")
        except csv.Error as error:  # a field of more than 128 kB, or a NUL byte
            raise CaptionError(f"{path}, line {reader.line_num}: cannot read it: {error}") from error


def _values(row: list[str], columns: list[int | None], where: str) -> tuple[str, str, str, str]:
    needed = [column for column in columns if column is not None]
    if len(row) <= max(needed):
        raise CaptionError(f"{where}: expected at least {max(needed) + 1} fields, got {len(row)}: {str(row)[:80]}")
    image, text, label, split = ("" if column is None else row[column] for column in columns)
    if not image.strip():
        raise CaptionError(f"{where}: expected the name of an image, got none")
    if (split := split.strip().lower()) not in ("", "train", "val"):
        raise CaptionError(f"{where}: expected split to be train or val, got {split!r}")
    return image.strip(), text, label.strip(), split
