"""Text files of other programs: encodings, comments, headers and damaged lines.

A row has its place among the rows, not among the lines: comments, blank lines and headers move nothing.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

COMMENTS = ("#", "%", "//")
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_text(path: Path) -> str:
    """Decode a file: UTF-8, with or without a byte order mark, or UTF-16 with one; other bytes are replaced."""
    data = path.read_bytes()
    mark, encoding = next(((mark, name) for mark, name in BOMS if data.startswith(mark)), (b"", "utf-8"))
    return data[len(mark) :].decode(encoding, errors="replace")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """List the lines that say something, stripped, each with its number in the file; comments do not."""
    lines = ((number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1))
    return [(number, line) for number, line in lines if line and not line.startswith(COMMENTS)]


def read_words(path: Path) -> list[str]:
    """List the words of a file without its comments, such as the ids of a split."""
    return [word for _, line in read_lines(path) for word in line.split()]


@dataclass(frozen=True)
class Rows:
    """Rows of numbers, as words.

    Attributes:
        words: of each row; none where the line cannot be used.
        lines: number of each row's line in the file, from 1.
        problems: what is wrong with a row, by its place.
        header: comments and headings in front of the first row.
    """

    words: list[list[str]]
    lines: list[int]
    problems: dict[int, str]
    header: str

    def __len__(self) -> int:
        return len(self.words)

    def numbers(self, columns: int) -> np.ndarray:
        """Convert to (T, columns) float64, NaN for rows that cannot be used."""
        values = np.full((len(self), columns), np.nan)
        for place, words in enumerate(self.words):
            if words:
                values[place] = [float(word) for word in words[:columns]]
        return values


def read_rows(path: Path, columns: int = 1, expected: int | None = None) -> Rows:
    """Read rows of at least ``columns`` finite numbers, separated by blanks, commas or semicolons.

    A blank line or a line of text amid the rows may stand in for a row or not. It does where that makes ``expected``
    rows; it does not where the others are as many. Where neither holds, no row from there on can be used.

    Args:
        path: path of the file.
        columns: numbers of a row.
        expected: number of rows, where it is known.
    """
    return parse_rows(read_text(path), columns, expected)


def parse_rows(text: str, columns: int = 1, expected: int | None = None) -> Rows:
    """Parse the text of a file, see `read_rows`.

    Args:
        text: of the file.
        columns: numbers of a row.
        expected: number of rows, where it is known.
    """
    header, lines = _split_header(text.splitlines())
    usual = _usual_width([words for _, words in lines])
    is_row = [_is_row(words, usual) for _, words in lines]
    doubtful = is_row.count(False)
    if expected == len(lines) - doubtful:
        lines, doubtful = [line for line, known in zip(lines, is_row, strict=True) if known], 0
    first = is_row.index(False) if doubtful and expected not in (None, len(lines)) else len(lines)
    kept: list[list[str]] = []
    problems = {}
    for place, (number, words) in enumerate(lines):
        reason = _problem(words, columns) if place <= first else _misplaced(lines[first][0], expected)
        kept.append([] if reason else words)
        if reason:
            problems[place] = f"line {number}: {reason}"
    return Rows(kept, [number for number, _ in lines], problems, header)


def read_number_lines(path: Path, columns: int, expected: int | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """Read (T, columns) numbers, NaN for rows that cannot be used, and why by their place; see `read_rows`.

    Args:
        path: path of the file.
        columns: numbers of a row.
        expected: number of rows, where it is known.
    """
    rows = read_rows(path, columns, expected)
    return rows.numbers(columns), rows.problems


def _split_header(lines: list[str]) -> tuple[str, list[tuple[int, list[str]]]]:
    """Comments and headings in front of the first numbers; and number and words of the lines from there to the last."""
    header: list[str] = []
    found: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, 1):
        line, words = line.strip(), re.split(r"[\s,;]+", line.strip().strip(",;"))
        if line.startswith(COMMENTS) or (not found and not any(map(_is_number, words))):
            header += [line] if not found else []
        else:
            found.append((number, words if line else []))
    while found and not found[-1][1]:
        found.pop()
    return "\n".join(header), found


def _usual_width(lines: list[list[str]]) -> int:
    widths = [len(words) for words in lines if words and all(map(_is_number, words))]
    return max(set(widths), key=widths.count, default=0)


def _is_row(words: list[str], usual: int) -> bool:
    numbers = sum(map(_is_number, words))
    return numbers > 0 and (numbers == len(words) or len(words) == usual)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


def _problem(words: list[str], columns: int) -> str | None:
    if strange := [word for word in words if not _is_number(word)]:
        return f"expected {columns} finite numbers, found {strange[0]!r}"
    finite = int(np.isfinite([float(word) for word in words[:columns]]).sum())
    return None if finite == columns else f"expected {columns} finite numbers, found {finite}"


def _misplaced(line: int, expected: int | None) -> str:
    return f"expected {expected} rows; line {line} is none, so that the place of those after it is not known"
