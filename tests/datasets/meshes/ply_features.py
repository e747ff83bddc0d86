"""Random PLY files, written with the liberties that programs take, beside the triangles that they state."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

Rng = np.random.Generator
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass
class PlyCase:
    """A file, the textures beside it, and what it states.

    Attributes:
        positions: (N, 3).
        polygons: corners of each polygon, strips cut into triangles among them.
        normals: (N, 3) of vertices, or None.
        uv: (C, 2) of each polygon's corners, or None.
        encoded: (C, 3) sRGB colours in [0, 1] of each polygon's corners, or None for those without.
        texture: number of each polygon's texture, -1 for none.
        pixels: sRGB colour of each texture, which is one everywhere.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    positions: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    polygons: list[np.ndarray] = field(default_factory=list)
    normals: np.ndarray | None = None
    uv: list[np.ndarray | None] = field(default_factory=list)
    encoded: list[np.ndarray | None] = field(default_factory=list)
    texture: list[int] = field(default_factory=list)
    pixels: list[tuple[int, int, int]] = field(default_factory=list)
    features: set[str] = field(default_factory=set)


@dataclass
class Columns:
    """An element: rows of values, each a number or a list, and their types; (type of size, type) for lists."""

    name: str
    count: int
    columns: list[tuple[str, str | tuple[str, str], list]] = field(default_factory=list)

    def add(self, name: str, kind: str | tuple[str, str], values: list | np.ndarray) -> None:
        self.columns.append((name, kind, list(values)))


def make_ply(seed: int) -> PlyCase:
    """Write the case ``seed``, whose main file is ``t.ply``."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x917]))
    case = PlyCase()
    vertex, face, strips = Columns("vertex", 0), Columns("face", 0), Columns("tristrips", 0)
    _shape(rng, case, vertex, face, strips)
    textured = rng.random() < 0.35
    _looks(rng, case, vertex, face, textured)
    elements = [vertex, *([face] if face.count else []), *([strips] if strips.count else [])]
    if rng.random() < 0.3:
        extra = Columns("edge", 3)
        extra.add("vertex1", "int", rng.integers(0, 3, 3))
        extra.add("weights", ("uchar", "float"), [rng.random(rng.integers(0, 4)).round(3) for _ in range(3)])
        elements.insert(int(rng.integers(len(elements) + 1)), extra)
        case.features.add("another element")
    if rng.random() < 0.15:
        case.features.add("strips before faces" if strips.count and face.count else "faces before vertices")
        elements = elements[::-1]
    for element in elements:
        if rng.random() < 0.4:
            rng.shuffle(element.columns)
    comments = ["made by a test", "element vertex 5", *_name_textures(rng, case, textured)]
    case.files["t.ply"] = _encode(rng, case, elements, comments)
    return case


def _take(rng: Rng, case: PlyCase, what: str, options: list) -> object:
    chosen = options[int(rng.integers(len(options)))]
    case.features.add(f"{what}={chosen!r}")
    return chosen


# shape ---------------------------------------------------------------------------------------------------------------
def _shape(rng: Rng, case: PlyCase, vertex: Columns, face: Columns, strips: Columns) -> None:
    """Star-shaped polygons in planes of their own, some concave, and strips along a wave."""
    positions: list[np.ndarray] = []
    sizes = rng.integers(3, 9, int(rng.integers(0, 12)))
    if rng.random() < 0.3:
        sizes[:] = 3
    rows = []
    for number, n in enumerate(sizes):
        start = sum(map(len, positions))
        positions.append(polygon(rng, int(n), number))
        rows.append(np.arange(start, start + n))
    case.polygons = [*rows]
    if len(sizes) == 0 or rng.random() < 0.25:
        start, lists = sum(map(len, positions)), []
        for number in range(int(rng.integers(1, 3))):
            n = int(rng.integers(3, 10))
            t = np.arange(n) // 2 + 0.0
            positions.append(np.stack([t, np.arange(n) % 2 + 20.0 + 3 * number, np.sin(t)], axis=1))
            lists.append(np.arange(start, start + n))
            start += n
        turns = ([0, 1, 2], [1, 0, 2])  # every second triangle of a strip is turned
        case.polygons += [run[k : k + 3][turns[k % 2]] for run in lists for k in range(len(run) - 2)]
        joined = rng.random() < 0.5
        case.features.add("one strip with -1" if joined or len(lists) == 1 else "strips in rows")
        runs = [np.concatenate([np.append(run, -1) for run in lists])] if joined else lists
        strips.count = len(runs)
        strips.add("vertex_indices", ("int", "int"), runs)
    if rng.random() < 0.2:
        rows.insert(int(rng.integers(len(rows) + 1)), np.array([0, 1]))
        case.features.add("a face of two corners")
    case.positions = (np.concatenate(positions) * 10.0 ** rng.integers(-2, 3)).astype(np.float32).astype(float)
    vertex.count, face.count = len(case.positions), len(rows)
    kind = str(_take(rng, case, "positions", ["float", "float32", "double", "float64"]))
    for axis, name in enumerate("xyz"):
        vertex.add(name, kind, case.positions[:, axis])
    name = str(_take(rng, case, "index", ["vertex_indices", "vertex_index"]))
    size = str(_take(rng, case, "size", ["uchar", "uint8", "int", "ushort", "char"]))
    index = str(
        _take(rng, case, "indices", ["int", "uint", "int32", "ushort", "uchar" if vertex.count < 256 else "int"])
    )
    face.add(name, (size, index), rows)


def polygon(rng: Rng, n: int, number: int) -> np.ndarray:
    """A star-shaped polygon (n, 3) in a plane of its own, far from those of other numbers."""
    angle = 2 * np.pi * (np.arange(n) + rng.uniform(0.1, 0.9, n) * 0.8) / n
    radius = rng.uniform(0.35, 1, n) if rng.random() < 0.6 else np.ones(n)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(n)], axis=1)
    return flat @ turn.T + [4.0 * number, 0, 0]


# looks ---------------------------------------------------------------------------------------------------------------
def _looks(rng: Rng, case: PlyCase, vertex: Columns, face: Columns, textured: bool) -> None:
    count = len(case.polygons)
    case.uv, case.encoded, case.texture = [None] * count, [None] * count, [-1] * count
    own = [run for run in face.columns[0][2] if len(run) > 2]
    if rng.random() < 0.4:
        case.features.add("normals")
        normals = rng.normal(size=(vertex.count, 3))
        case.normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
        for axis, name in enumerate(("nx", "ny", "nz")):
            vertex.add(name, "float", case.normals[:, axis])
    if rng.random() < 0.5:
        rows = _colours(rng, case, vertex, "vertices")
        case.encoded = [rows[run] for run in case.polygons]
    elif face.count and rng.random() < 0.4:
        rows = _colours(rng, case, face, "faces")
        kept = rows[[len(run) > 2 for run in face.columns[0][2]]]
        case.encoded[: len(kept)] = [np.repeat(row[None], len(run), axis=0) for row, run in zip(kept, own, strict=True)]
    if textured or rng.random() < 0.15:
        _coordinates(rng, case, vertex, face, textured)
    if rng.random() < 0.3:
        vertex.add("quality", "double", rng.random(vertex.count).round(4))
        vertex.add(
            "neighbours", ("uchar", "int"), [rng.integers(0, 9, rng.integers(0, 4)) for _ in range(vertex.count)]
        )
        case.features.add("a list of vertices")


def _colours(rng: Rng, case: PlyCase, element: Columns, where: str) -> np.ndarray:
    """(N, 3) sRGB."""
    kind = str(_take(rng, case, f"colours of {where}", ["uchar", "uint8", "ushort", "short", "float", "double"]))
    prefix = "diffuse_" if rng.random() < 0.15 else ""
    case.features |= {"diffuse_red"} if prefix else set()
    if kind in ("float", "double"):
        values, full = rng.random((element.count, 3)).astype(np.float32), 1
    else:
        full = np.iinfo(TYPES[kind]).max
        values = rng.integers(0, full, (element.count, 3), endpoint=True)
        values[0] = full
    for channel, name in enumerate(("red", "green", "blue")):
        element.add(prefix + name, kind, values[:, channel])
    if not prefix and rng.random() < 0.5:
        element.add("alpha", kind, np.full(element.count, full))
    return values / full


def _coordinates(rng: Rng, case: PlyCase, vertex: Columns, face: Columns, textured: bool) -> None:
    """Coordinates of vertices, or of the corners of faces; texture numbers where there are several."""
    several = textured and face.count and rng.random() < 0.4
    if textured:
        case.pixels = [tuple(rng.integers(0, 256, 3).tolist()) for _ in range(3 if several else 1)]
    rows = face.columns[0][2]
    kept = [number for number, run in enumerate(rows) if len(run) > 2]
    if face.count and rng.random() < 0.5:
        case.features.add("coordinates of corners")
        lists = [rng.random((len(run), 2)).round(5) for run in rows]
        face.add("texcoord", ("uchar", "float"), [pair.reshape(-1) for pair in lists])
        case.uv[: len(kept)] = [lists[number].astype(np.float32) for number in kept]
    else:
        names = _take(rng, case, "coordinates", [("s", "t"), ("u", "v"), ("texture_u", "texture_v")])
        uv = rng.random((vertex.count, 2)).astype(np.float32)
        for axis, name in enumerate(names):  # type: ignore[arg-type]
            vertex.add(name, "float", uv[:, axis])
        case.uv = [uv[run] for run in case.polygons]
    number = np.zeros(face.count, int)
    if several:
        case.features.add("several textures")
        number = rng.integers(-1, 3, face.count)
        face.add("texnumber", "int", number)
    if textured:
        numbers = [*number[kept].tolist(), *[0] * (len(case.polygons) - len(kept))]
        case.texture = [n if uv is not None else -1 for n, uv in zip(numbers, case.uv, strict=True)]


def _name_textures(rng: Rng, case: PlyCase, textured: bool) -> list[str]:
    if not textured:
        return []
    comments = []
    for number, colour in enumerate(case.pixels):
        name = str(_take(rng, case, "texture", ["t{}.png", "maps/t{}.png", "my t{}.png", "Ünder{}.png"])).format(number)
        data = io.BytesIO()
        Image.new("RGB", (4, 4), colour).save(data, "PNG")
        case.files[name] = data.getvalue()
        stated = name.replace("/", "\\") if rng.random() < 0.3 else name
        stated = f"C:\\work\\{stated}" if rng.random() < 0.2 else stated
        comments.append(f"{_take(rng, case, 'keyword', ['TextureFile', 'TEXTUREFILE'])} {stated}")
    return comments


# bytes ---------------------------------------------------------------------------------------------------------------
def _encode(rng: Rng, case: PlyCase, elements: list[Columns], comments: list[str]) -> bytes:
    form = str(_take(rng, case, "format", ["ascii", "binary_little_endian", "binary_big_endian"]))
    end = str(_take(rng, case, "newline", ["\n", "\n", "\r\n"]))
    lines = ["ply", f"format {form} 1.0"]
    for element in elements:
        if comments and rng.random() < 0.5:
            lines.append(f"{'comment' if rng.random() < 0.8 else 'obj_info'} {comments.pop(0)}")
        lines.append(f"element {element.name} {element.count}")
        for name, kind, _ in element.columns:
            lines.append(
                f"property {kind} {name}" if isinstance(kind, str) else f"property list {' '.join(kind)} {name}"
            )
    lines += [f"comment {comment}" for comment in comments] + ["end_header", ""]
    header = end.join(lines).encode()
    if form == "ascii":
        rows = [_text(rng, element, row) for element in elements for row in range(element.count)]
        if rng.random() < 0.2:
            rows.insert(0, "")
            case.features.add("a blank line")
        return header + (end.join(rows) + (end if rng.random() < 0.8 else "")).encode()
    order = "<" if "little" in form else ">"
    body = b"".join(_bytes(element, row, order) for element in elements for row in range(element.count))
    if rng.random() < 0.1:
        case.features.add("trailing bytes")
        body += b"\0" * 7
    return header + body


def _text(rng: Rng, element: Columns, row: int) -> str:
    words = []
    for _, kind, values in element.columns:
        if not isinstance(kind, str):
            words.append(str(len(values[row])))
        words += [repr(number.item()) for number in np.atleast_1d(np.asarray(values[row]))]
    return ("  " if rng.random() < 0.1 else " ").join(words) + (" " if rng.random() < 0.1 else "")


def _bytes(element: Columns, row: int, order: str) -> bytes:
    parts = []
    for _, kind, values in element.columns:
        size, number = (None, kind) if isinstance(kind, str) else kind
        if size is not None:
            parts.append(np.array(len(values[row])).astype(order + TYPES[size]).tobytes())
        parts.append(np.asarray(values[row]).astype(order + TYPES[number]).tobytes())
    return b"".join(parts)
