"""Random STL files, written with the liberties that programs take, beside what they state."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Rng = np.random.Generator
FACET = np.dtype([("normal", "<f4", 3), ("vertices", "<f4", (3, 3)), ("attribute", "<u2")])
NAMES = ["", " thing", " solid vertex", " vertex 1 2 3", " endloop", " facet", " Möbel", " a\tb"]


@dataclass
class StlCase:
    """File; the corners that it states, (M, 3, 3); linear colours of 5 bits before decoding, (M, 3), or None."""

    data: bytes
    corners: np.ndarray
    colours: np.ndarray | None = None
    features: set[str] = field(default_factory=set)


def make_stl(seed: int) -> StlCase:
    """Write the case ``seed``."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x571]))
    corners = (rng.normal(size=(int(rng.integers(1, 40)), 3, 3)) * 10.0 ** rng.integers(-3, 4)).round(6)
    return _binary(rng, corners.astype(np.float32)) if rng.random() < 0.5 else _text(rng, corners)


def _binary(rng: Rng, corners: np.ndarray) -> StlCase:
    case = StlCase(b"", corners, features={"binary"})
    facets = np.zeros(len(corners), FACET)
    facets["vertices"], facets["normal"] = corners, rng.normal(size=(len(corners), 3))
    headers = {"zeros": b"", "solid": b"solid made by a program", "words": b"facet normal vertex endsolid"}
    header = _take(rng, case, headers)
    if rng.random() < 0.4:
        case.features.add("colours")
        case.colours = rng.integers(0, 32, (len(corners), 3))
        magics = rng.random() < 0.5
        shifts, flag = ([0, 5, 10], 0) if magics else ([10, 5, 0], 0x8000)
        facets["attribute"] = (case.colours << shifts).sum(axis=1) | flag
        header = b"COLOR=\x80\x80\x80\xff" if magics else header
        if magics and not facets["attribute"].any():
            case.colours[:] = 128 / 255 * 31
    padding = b"\0" if rng.random() < 0.5 else b" "
    case.data = header.ljust(80, padding) + len(corners).to_bytes(4, "little") + facets.tobytes()
    if rng.random() < 0.3:
        case.features.add("trailing bytes")
        case.data += rng.bytes(int(rng.integers(1, 200)))
    return case


def _take(rng: Rng, case: StlCase, options: dict[str, bytes]) -> bytes:
    name = str(rng.choice(list(options)))
    case.features.add(f"header={name}")
    return options[name]


def _text(rng: Rng, corners: np.ndarray) -> StlCase:
    case = StlCase(b"", corners, features={"text"})

    def chance(name: str, probability: float) -> bool:
        taken = bool(rng.random() < probability)
        case.features.update([name] * taken)
        return taken

    name = str(rng.choice(NAMES))
    case.features.add(f"name={name.strip()}")
    gap = "\t" if chance("tabs", 0.1) else "  " if chance("double blanks", 0.1) else " "
    blocks = [_facet(rng, facet, gap) for facet in corners]
    middle = int(rng.integers(len(blocks))) if chance("two solids", 0.15) else 0
    lines = [f"solid{name}", *(line for block in blocks[:middle] for line in block)]
    lines += [f"endsolid{name}", f"solid{name}"] * bool(middle)
    lines += [line for block in blocks[middle:] for line in block]
    lines += [f"endsolid{name}"] * (not chance("no endsolid", 0.1))
    newline = str(rng.choice(["\n", "\r\n", "\r"], p=[0.5, 0.35, 0.15]))
    case.features.add(f"newline={newline!r}")
    one = chance("one line", 0.1) and not any(word in name for word in ("vertex", "endloop", "facet"))
    text = (" " if one else newline + " " * int(rng.integers(3))).join(lines) + newline
    if chance("upper case", 0.2):
        text = text.upper()
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "latin-1", "utf-16"], p=[0.6, 0.15, 0.15, 0.1]))
    case.features.add(f"encoding={encoding}")
    case.data = text.encode(encoding)
    return case


def _facet(rng: Rng, facet: np.ndarray, gap: str) -> list[str]:
    form = ("{:.6f}", "{:e}", "{!r}", "{:+.6f}")[int(rng.integers(4))]
    rows = [gap.join(form.format(float(x)) for x in row) for row in facet]
    return [f"facet{gap}normal 0 0 1", f"outer{gap}loop", *(f"vertex{gap}{row}" for row in rows), "endloop", "endfacet"]
