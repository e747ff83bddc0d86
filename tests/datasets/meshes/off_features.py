"""Random OFF files, written with the liberties that programs take, beside what they state."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ply_features import polygon

Rng = np.random.Generator


@dataclass
class OffCase:
    """A file and what it states: polygons by vertex, and sRGB colours in [0, 1].

    Attributes:
        encoded: (C, 3) of each polygon's corners, None for those without.
    """

    data: bytes = b""
    positions: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    polygons: list[np.ndarray] = field(default_factory=list)
    normals: np.ndarray | None = None
    encoded: list[np.ndarray | None] = field(default_factory=list)
    features: set[str] = field(default_factory=set)


def make_off(seed: int) -> OffCase:
    """Write the case ``seed``."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x0FF]))
    case = OffCase()
    sizes = rng.integers(3, 9, int(rng.integers(1, 12)))
    if rng.random() < 0.6:
        sizes[:] = sizes[0]
    case.features |= {"polygons of several sizes"} if len(set(sizes.tolist())) > 1 else set()
    starts = np.cumsum(sizes) - sizes
    points = [polygon(rng, int(n), number) for number, n in enumerate(sizes)]
    case.positions = (np.concatenate(points) * 10.0 ** rng.integers(-2, 3)).round(6)
    case.polygons = [start + np.arange(n) for start, n in zip(starts, sizes, strict=True)]
    case.encoded = [None] * len(sizes)
    rows, prefix = _vertices(rng, case)
    faces = _faces(rng, case)
    _write(rng, case, prefix, rows, faces)
    return case


def _take(rng: Rng, case: OffCase, feature: str, chance: float) -> bool:
    if rng.random() >= chance:
        return False
    case.features.add(feature)
    return True


def _vertices(rng: Rng, case: OffCase) -> tuple[list[list[str]], str]:
    """Words of each vertex, and the letters before the keyword, in any order of those that programs write."""
    count = len(case.positions)
    table, letters = [case.positions], []
    if _take(rng, case, "a divisor", 0.1):
        divisor = rng.choice([1.0, 2.0, 4.0], (count, 1))
        table = [case.positions * divisor, divisor]
        letters.append("4")
    words = [[repr(float(x)) for x in row] for row in np.concatenate(table, axis=1)]
    if _take(rng, case, "normals", 0.25):
        normals = rng.normal(size=(count, 3))
        case.normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).round(6)
        _append(words, [[repr(float(x)) for x in row] for row in case.normals])
        letters.append("N")
    if _take(rng, case, "colours of vertices", 0.35):
        encoded, texts = _colours(rng, case, count)
        case.encoded = [encoded[run] for run in case.polygons]
        _append(words, texts)
        letters.append("C")
    if _take(rng, case, "coordinates", 0.15):
        _append(words, [[repr(float(x)) for x in row] for row in rng.random((count, 2)).round(4)])
        letters.append("ST")
    rng.shuffle(letters)
    case.features.add(f"letters={''.join(letters)}")
    return words, "".join(letters)


def _append(words: list[list[str]], more: list[list[str]]) -> None:
    for row, texts in zip(words, more, strict=True):
        row += texts


def _colours(rng: Rng, case: OffCase, count: int) -> tuple[np.ndarray, list[list[str]]]:
    """sRGB (N, 3), and words: bytes or real numbers, with opacity or without."""
    opaque = not _take(rng, case, "no opacity", 0.4)
    if _take(rng, case, "real colours", 0.5):
        values = rng.random((count, 3)).round(4)
        return values, [[repr(float(x)) for x in row] + ["1.0"] * opaque for row in values]
    values = rng.integers(0, 256, (count, 3))
    values[0] = 255
    return values / 255, [[str(x) for x in row] + ["255"] * opaque for row in values]


def _faces(rng: Rng, case: OffCase) -> list[str]:
    lines = [" ".join(map(str, [len(run), *run])) for run in case.polygons]
    if "colours of vertices" not in case.features and _take(rng, case, "colours of faces", 0.5):
        encoded, texts = _colours(rng, case, len(lines))
        some = _take(rng, case, "some without colour", 0.3)
        for number, run in enumerate(case.polygons):
            if number == 0 or not some or rng.random() < 0.5:
                lines[number] += "  " + " ".join(texts[number])
                case.encoded[number] = np.repeat(encoded[number][None], len(run), axis=0)
    return lines


def _write(rng: Rng, case: OffCase, prefix: str, rows: list[list[str]], faces: list[str]) -> None:
    counts = f"{len(rows)} {len(faces)}" + ("" if _take(rng, case, "no edges", 0.15) else f" {rng.integers(0, 99)}")
    if prefix == "" and _take(rng, case, "no keyword", 0.08):
        head = [counts]
    elif _take(rng, case, "counts behind the keyword", 0.3):
        head = [f"{prefix}OFF{' ' if prefix or rng.random() < 0.5 else ''}{counts}"]
    else:
        head = [f"{prefix}OFF", counts]
    lines = head + [" ".join(row) for row in rows] + faces
    if _take(rng, case, "comments", 0.3):
        lines = [line + (" # 1 2 3" if rng.random() < 0.2 else "") for line in lines]
        lines.insert(0, "# made by a test")
        lines.insert(int(rng.integers(len(lines))), "#4 5 6")
    if _take(rng, case, "blank lines", 0.2):
        for _ in range(3):
            lines.insert(int(rng.integers(len(lines))), "  " if rng.random() < 0.5 else "")
    if _take(rng, case, "leading blanks", 0.2):
        lines = [" \t"[int(rng.integers(2))] * int(rng.integers(0, 3)) + line for line in lines]
    lined = {"colours of vertices", "colours of faces", "no edges", "comments"}  # these need their lines
    if not case.features & lined and _take(rng, case, "one line", 0.4):
        lines = [" ".join(lines)]
    newline = ["\n", "\r\n", "\r"][int(rng.choice(3, p=[0.7, 0.2, 0.1]))]
    case.features.add(f"newline={newline!r}")
    case.data = newline.join(lines).encode() + (newline.encode() if rng.random() < 0.8 else b"")
    if _take(rng, case, "byte order mark", 0.1):
        case.data = b"\xef\xbb\xbf" + case.data
