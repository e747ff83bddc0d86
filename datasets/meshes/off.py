"""OFF files of Geomview, with colours and normals, also as ModelNet and MeshLab write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from equissl.datasets.meshes.colours import linear_colours
from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.parts import unit_normals
from equissl.datasets.meshes.polygons import triangulate_ragged
from equissl.datasets.meshes.text import to_utf8
from equissl.util.numbers import parse_numbers

_KEYWORD = re.compile(rb"\s*((?:ST|[CN4n])*)(?i:OFF)(\s+BINARY\b)?")
_COMMENT = re.compile(rb"(?<!\.)#[^\r\n]*")  # 1.#IND is a number


def decode_off(data: bytes, name: str) -> Mesh:
    """Decode an OFF file, as it is: no turn, no scaling.

    The keyword says what vertices have: ``C`` colours, ``N`` normals, ``ST`` texture coordinates, ``4`` a divisor. A
    face may end with a colour, of 3 or 4 numbers. Colours are sRGB, up to 1 or to 255; those of vertices come first.

    Args:
        data: the file's bytes.
        name: For messages.

    Raises:
        MeshError: For a file without faces.
        ValueError: For a file that is cut or not OFF.
    """
    warnings: list[str] = []
    prefix, vertex_rows, face_rows = _read_rows(to_utf8(data), warnings)
    vertices, normals, colours = _read_vertices(vertex_rows, prefix, warnings)
    sizes, index, face_colours = _read_faces(face_rows, warnings)
    faces, _, polygon = triangulate_ragged(vertices, sizes, index)
    if not len(faces):
        raise MeshError(f"{name}: empty mesh ({len(vertices)} vertices, 0 faces)")
    mesh = Mesh(vertices, faces.astype(np.int32), np.zeros(len(faces), np.int32), None, None, (Material(),), name)
    looks = None if colours is None else colours[faces]
    if colours is None and face_colours is not None:
        looks = np.repeat(face_colours[polygon][:, None], 3, axis=1)
    return Mesh(
        vertices=vertices,
        faces=mesh.faces,
        face_material=mesh.face_material,
        corner_uv=None,
        corner_normals=None if normals is None else unit_normals(normals[faces].astype(np.float32), mesh),
        materials=(Material() if looks is None else Material(diffuse=np.ones(3, np.float32)),),
        name=name,
        warnings=tuple(warnings),
        corner_colours=looks,
    )


@dataclass(frozen=True)
class _Rows:
    """Rows of numbers: all of them, where each row starts (N,), and how many it has (N,)."""

    numbers: np.ndarray
    starts: np.ndarray
    widths: np.ndarray

    def __getitem__(self, rows: slice) -> _Rows:
        return _Rows(self.numbers, self.starts[rows], self.widths[rows])

    def columns(self, first: int, last: int) -> np.ndarray:
        """Numbers of all rows, (N, last - first)."""
        return self.numbers[self.starts[:, None] + np.arange(first, last)]


def _read_rows(text: bytes, warnings: list[str]) -> tuple[str, _Rows, _Rows]:
    """Letters before the keyword, rows of vertices, and rows of faces."""
    text = _COMMENT.sub(b"", text)
    match = _KEYWORD.match(text)
    if match is None and not text.lstrip()[:1].isdigit():
        raise ValueError(f"expected OFF, got {text.lstrip()[:20]!r}")
    if match is not None and match[2]:
        raise ValueError("binary OFF files are not supported; convert it to text or to PLY")
    prefix, text = ("", text) if match is None else (match[1].decode(), text[match.end() :])
    lines = [line for line in text.splitlines() if line.strip()]
    if "n" in prefix:  # the dimension is the first number
        dimension, _, rest = (lines[0] if lines else b"").strip().partition(b" ")
        lines[:1] = [rest] if rest.strip() else []
        if dimension != b"3":
            raise ValueError(f"expected vertices of 3 dimensions, got {dimension!r}")
    counts = [int(word) for word in (lines[0].split() if lines else ())[:2]]
    if len(counts) < 2 or min(counts) < 0:
        raise ValueError(f"expected the numbers of vertices and faces behind OFF, got {counts}")
    rows = _line_rows(lines[1:], sum(counts), warnings)
    if rows is None:
        rows = _stream_rows(b" ".join(lines), counts, prefix)
    return prefix, rows[: counts[0]], rows[counts[0] :]


def _line_rows(lines: list[bytes], count: int, warnings: list[str]) -> _Rows | None:
    """One row a line; None for a file of fewer lines."""
    if len(lines) < count:
        return None
    if len(lines) > count:
        warnings.append(f"{len(lines) - count} lines behind the last face are not read")
    widths = np.array([len(line.split()) for line in lines[:count]], np.int64)
    numbers = parse_numbers(b"\n".join(lines[:count]))
    return _Rows(numbers, np.cumsum(widths) - widths, widths)


def _stream_rows(text: bytes, counts: list[int], prefix: str) -> _Rows:
    """Rows without regard to lines: faces have no colours then, and vertices those of 4 numbers."""
    numbers = parse_numbers(text)[3:]
    width = 3 + ("4" in prefix) + 3 * ("N" in prefix) + 4 * ("C" in prefix) + 2 * ("ST" in prefix)
    place, widths = counts[0] * width, list[int]()
    while len(widths) < counts[1] and place < len(numbers) and 0 <= numbers[place] < len(numbers):
        widths.append(1 + int(numbers[place]))
        place += widths[-1]
    if len(widths) < counts[1] or place != len(numbers):
        raise ValueError(f"expected {counts[0]} vertices and {counts[1]} faces, the file is cut or not one a line")
    sizes = np.array([width] * counts[0] + widths, np.int64)
    return _Rows(numbers, np.cumsum(sizes) - sizes, sizes)


def _read_vertices(
    rows: _Rows, prefix: str, warnings: list[str]
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Positions (N, 3), normals (N, 3) and linear colours (N, 3), as far as the keyword names them."""
    fixed, uv = 3 + ("4" in prefix) + 3 * ("N" in prefix), 2 * ("ST" in prefix)
    width = int(rows.widths.min(initial=rows.widths.max(initial=0)))
    if len(rows.widths) and width < fixed + uv + 3 * ("C" in prefix):
        raise ValueError(f"expected vertices as {prefix}OFF has them, got {width} numbers")
    table = rows.columns(0, width)
    positions, normals = table[:, :3], table[:, fixed - 3 : fixed] if "N" in prefix else None
    if "4" in prefix:
        positions = positions / table[:, 3:4]
    if uv:
        warnings.append("there are texture coordinates, but OFF names no texture")
    colours = linear_colours(table[:, fixed : fixed + 3]) if "C" in prefix else None
    if colours is None and width > fixed + uv:
        warnings.append(f"{width - fixed - uv} further numbers of each vertex are not read: the keyword names none")
    return positions, normals, colours


def _read_faces(rows: _Rows, warnings: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Corners of each polygon, their vertices one behind the other, and linear colours (P, 3) or None."""
    if (rows.widths < 1).any():
        raise ValueError("expected the number of corners of each face")
    sizes = rows.numbers[rows.starts]
    if not ((sizes >= 0) & (sizes < rows.widths)).all():
        bad = int(np.argmin((sizes >= 0) & (sizes < rows.widths)))
        raise ValueError(f"face {bad} has {rows.widths[bad] - 1} numbers for {sizes[bad]:g} corners")
    sizes = sizes.astype(np.int64)
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    index = rows.numbers[np.repeat(rows.starts + 1, sizes) + inside]
    if not (np.abs(index) < 2**31).all() or (index != np.rint(index)).any():
        raise ValueError("expected whole numbers as indices of vertices")
    more = rows.widths - 1 - sizes
    if ((more == 1) | (more == 2)).any():
        warnings.append("colours of faces by their number in a colour map are not read")
    if not (more >= 3).any():
        return sizes, index.astype(np.int64), None
    chosen = np.flatnonzero(more >= 3)
    colours = np.tile(Material().diffuse, (len(sizes), 1))
    colours[chosen] = linear_colours(rows.numbers[(rows.starts + 1 + sizes)[chosen, None] + np.arange(3)])
    return sizes, index.astype(np.int64), colours
