"""STL files, binary and text, with the colours that Magics and VisCAM keep in binary ones."""

from __future__ import annotations

import re

import numpy as np

from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.polygons import triangulate
from equissl.datasets.meshes.text import to_utf8
from equissl.util.numbers import parse_numbers
from equissl.util.srgb import srgb_decode

_HEADER, _COUNT_AT = 84, 80
_FACET = np.dtype([("normal", "<f4", 3), ("vertices", "<f4", (3, 3)), ("attribute", "<u2")])
#: Name of a solid: it may hold any word, and the first facet may follow on its line.
_SOLID = re.compile(rb"^\s*(?:end\s*)?solid\b.*?(?=\bfacet\s+normal\b|$)", re.IGNORECASE | re.MULTILINE)
_CORNER = re.compile(rb"\bvertex\s+(\S+\s+\S+\s+\S+)|\bend\s*(?:loop|facet)\b", re.IGNORECASE)


def decode_stl(data: bytes, name: str) -> Mesh:
    """Decode an STL file, as it is: no turn, no scaling. Faces share no vertices, and their normals are not read.

    Args:
        data: the file's bytes.
        name: For messages.

    Raises:
        MeshError: For a file without faces.
        ValueError: For a file that is cut or not STL.
    """
    warnings: list[str] = []
    if _is_text(data):
        corners, colours = _read_text(to_utf8(data), warnings), None
    else:
        corners, colours = _read_binary(data, warnings)
    if not len(corners):
        raise MeshError(f"{name}: empty mesh (no faces)")
    return Mesh(
        vertices=corners.reshape(-1, 3).astype(np.float64),
        faces=np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3),
        face_material=np.zeros(len(corners), np.int32),
        corner_uv=None,
        corner_normals=None,
        materials=(Material() if colours is None else Material(diffuse=np.ones(3, np.float32)),),
        name=name,
        warnings=tuple(warnings),
        corner_colours=None if colours is None else np.repeat(colours[:, None], 3, axis=1),
    )


def _is_text(data: bytes) -> bool:
    """Tell text from binary, which may begin with "solid" as well: its count of faces has a zero byte, text none."""
    if len(data) >= _HEADER and len(data) == _HEADER + _FACET.itemsize * _count(data):
        return False
    return b"\0" not in to_utf8(data[:512])


def _count(data: bytes) -> int:
    return int.from_bytes(data[_COUNT_AT:_HEADER], "little")


def _read_binary(data: bytes, warnings: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Corners (M, 3, 3), and linear colours (M, 3) where the file has some."""
    count = _count(data)
    expected = _HEADER + _FACET.itemsize * count
    if len(data) < expected:
        raise ValueError(f"expected {expected} bytes for {count} faces, got {len(data)}")
    if extra := len(data) - expected:
        warnings.append(f"{extra} bytes behind the {count} faces of the header are not read")
    facets = np.frombuffer(data, _FACET, count, _HEADER)
    return facets["vertices"], _colours(data[:_COUNT_AT], facets["attribute"].astype(np.int64))


def _colours(header: bytes, attribute: np.ndarray) -> np.ndarray | None:
    """Colours of 5 bits a channel: Magics' (red lowest, bit 15 clear) with COLOR= in the header, else VisCAM's."""
    _, magics, colour = header.partition(b"COLOR=")
    own = attribute & 0x8000 == 0 if magics else attribute & 0x8000 != 0
    if magics and not attribute.any():
        own = np.zeros_like(own)  # no attributes were written: all of the object's colour
    if not magics and not own.any():
        return None
    channels = srgb_decode((attribute[:, None] >> np.array([0, 5, 10] if magics else [10, 5, 0]) & 31) / 31)
    plain = srgb_decode(np.array(list(colour[:3])) / 255) if len(colour) >= 3 else Material().diffuse
    return np.where(own[:, None], channels, plain).astype(np.float32)


def _read_text(data: bytes, warnings: list[str]) -> np.ndarray:
    """Corners (M, 3, 3). Loops of more than three corners are polygons."""
    text = _SOLID.sub(b" ", b"\n".join(data.splitlines()))
    corners, sizes, open_from = list[bytes](), list[int](), 0
    for match in _CORNER.finditer(text):
        if match[1]:
            corners.append(match[1])
        elif len(corners) > open_from:
            sizes.append(len(corners) - open_from)
            open_from = len(corners)
    if open_from < len(corners) or min(sizes, default=3) < 3:
        raise ValueError(f"face {len(sizes)} has fewer than three corners or no end")
    if b"endsolid" not in data[-200:].lower().replace(b" ", b""):
        warnings.append("no endsolid at the end: the file may be cut")
    points = parse_numbers(b" ".join(corners)).reshape(-1, 3)
    return _cut(points, np.asarray(sizes, int))


def _cut(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Triangles (M, 3, 3) of consecutive loops of points (N, 3)."""
    if not len(sizes):
        return np.zeros((0, 3, 3))
    starts = np.cumsum(sizes) - sizes
    groups = [
        ((starts[sizes == n, None] + np.arange(n))[..., None], np.flatnonzero(sizes == n)) for n in np.unique(sizes)
    ]
    return points[triangulate(points, groups)[0][..., 0]]
