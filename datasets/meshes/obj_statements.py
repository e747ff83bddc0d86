"""Statements of an OBJ file, sorted by kind in one pass and decoded in bulk with NumPy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from equissl.datasets.meshes.mtl import material_name
from equissl.datasets.meshes.text import decode_name, logical_lines, to_utf8, without_comment
from equissl.util.numbers import parse_numbers

_OPEN_SLASHES = re.compile(rb"/+(?= |$)", re.MULTILINE)
_UNEVEN = re.compile(rb"  |^ | $", re.MULTILINE)
#: Corners v, v/vt, v/vt/vn and v//vn; the keys are the columns of their indices.
_CORNERS = {
    (0,): re.compile(rb"[^/]*+"),
    (0, 1): re.compile(rb"(?: *+[^/ ]++/[^/ ]++)++ *+"),
    (0, 1, 2): re.compile(rb"(?: *+[^/ ]++/[^/ ]++/[^/ ]++)++ *+"),
    (0, 2): re.compile(rb"(?: *+[^/ ]++//[^/ ]++)++ *+"),
}
#: Numbers of Microsoft's C library that are none.
_NOT_A_NUMBER = re.compile(rb"[-+]?(1\.#\w+|nan\(\w*\))", re.IGNORECASE)


@dataclass
class Statements:
    """The statements of a file.

    Attributes:
        v, vt, vn, f: arguments, indices counted from the end made absolute.
        f_material: of each face, the number of its material's name.
        material_names: in the order of their first use, "" before any ``usemtl``.
        libraries: arguments of ``mtllib``.
        paint: ZBrush's colours of the vertices, hexadecimal, eight digits each: mask, red, green, blue.
    """

    v: list[bytes] = field(default_factory=list)
    vt: list[bytes] = field(default_factory=list)
    vn: list[bytes] = field(default_factory=list)
    f: list[bytes] = field(default_factory=list)
    f_material: list[int] = field(default_factory=list)
    material_names: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    paint: list[bytes] = field(default_factory=list)

    def add_face(self, argument: bytes, material: int) -> None:
        """Add a face.

        Args:
            argument: its corners.
            material: number of its material's name.
        """
        self.f.append(self._absolute(argument) if b"-" in argument else argument)
        self.f_material.append(material)

    def _absolute(self, argument: bytes) -> bytes:
        counts = (len(self.v), len(self.vt), len(self.vn))
        words = (word.split(b"/") for word in argument.split())
        return b" ".join(
            b"/".join(b"%d" % (counts[i] + int(t) + 1) if t.startswith(b"-") else t for i, t in enumerate(indices))
            for indices in words
        )


def sort_statements(data: bytes) -> Statements:
    """Sort the statements of a file; indices from the end are made absolute, where the counts are known.

    Raises:
        ValueError: For text in a damaged encoding, or an index that is no number.
    """
    names: dict[str, int] = {}
    found, current = Statements(), -1
    numeric = {b"v": found.v, b"vt": found.vt, b"vn": found.vn}
    for line in logical_lines(to_utf8(data)):
        key, _, argument = line.strip().partition(b" ")
        if b"#" in argument and (key in numeric or key == b"f"):
            argument = without_comment(argument)
        if key in numeric:
            numeric[key].append(argument)
        elif key == b"f":
            current = names.setdefault("", len(names)) if current < 0 else current
            found.add_face(argument, current)
        elif key == b"usemtl":
            current = names.setdefault(material_name(argument), len(names))
        elif key == b"mtllib":
            found.libraries.append(decode_name(argument))
        elif key == b"#MRGB":
            found.paint.append(argument.strip())
    found.material_names = list(names)
    return found


def decode_table(lines: list[bytes], least: int) -> np.ndarray:
    """Decode the numbers of statements of one kind to (N, W) float64; NaN where a statement has fewer than W.

    Args:
        lines: arguments.
        least: numbers that each must have.

    Raises:
        ValueError: For too few numbers, or a word that is none.
    """
    if _UNEVEN.search(b"\n".join(lines)):
        lines = [b" ".join(line.split()) for line in lines]
    widths = np.array([line.count(b" ") + 1 if line else 0 for line in lines], int)
    if len(lines) and widths.min() < least:
        short = lines[int(widths.argmin())]
        raise ValueError(f"expected {least} numbers, got {short.decode('ascii', 'replace')!r}")
    table = np.full((len(lines), widths.max(initial=least)), np.nan)
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        table[members, :width] = _numbers([lines[i] for i in members]).reshape(-1, width)
    return table


def _numbers(lines: list[bytes]) -> np.ndarray:
    joined = b" ".join(lines)
    try:
        return parse_numbers(joined)
    except ValueError:
        words = (np.nan if _NOT_A_NUMBER.fullmatch(word) else float(word) for word in joined.split())
        return np.fromiter(words, float)


@dataclass
class Polygons:
    """Polygons of one corner count: indices (P, n, 3) for v, vt, vn, -1 where absent; ``lines`` (P,) their order."""

    corners: np.ndarray
    lines: np.ndarray


def decode_faces(lines: list[bytes]) -> list[Polygons]:
    """Group face statements by layout and decode each group at once. Points and lines drawn as faces are left out.

    Raises:
        ValueError: For an index that is no number.
    """
    groups: dict[tuple[int, int, int], list[int]] = {}
    if _OPEN_SLASHES.search(b"\n".join(lines)):
        lines = [_OPEN_SLASHES.sub(b"", line) for line in lines]
    for i, line in enumerate(lines):
        groups.setdefault((len(line.split()), line.count(b"/"), line.count(b"//")), []).append(i)
    return [
        Polygons(_corners([lines[i] for i in members], *layout), np.asarray(members))
        for layout, members in groups.items()
        if layout[0] > 2
    ]


def _corners(lines: list[bytes], n: int, slashes: int, doubles: int) -> np.ndarray:
    """Indices (P, n, 3) of statements with as many corners, slashes and double slashes."""
    columns = {(0, 0): (0,), (n, 0): (0, 1), (2 * n, 0): (0, 1, 2), (2 * n, n): (0, 2)}.get((slashes, doubles))
    joined = b" ".join(lines)
    # counts alone would take 1/1/1 2 3/3 for three pairs
    if columns is None or not _CORNERS[columns].fullmatch(joined):
        return _mixed(lines, n)
    values = parse_numbers(joined.replace(b"/", b" "))
    if values.size != n * len(lines) * len(columns):
        raise ValueError(f"expected {n * len(lines) * len(columns)} face indices, got {values.size}")
    if not (np.abs(values) < 2**31).all():
        raise ValueError("a face index is not finite or too large")
    corners = np.full((len(lines), n, 3), -1, np.int64)
    corners[..., columns] = values.reshape(len(lines), n, len(columns)).astype(np.int64) - 1
    return corners


def _mixed(lines: list[bytes], n: int) -> np.ndarray:
    """Indices of statements whose corners differ in layout, one word at a time."""
    corners = np.full((len(lines), n, 3), -1, np.int64)
    for row, line in enumerate(lines):
        for column, word in enumerate(line.split()):
            for kind, index in enumerate(word.split(b"/")[:3]):
                if index:
                    corners[row, column, kind] = int(index) - 1
    return corners
