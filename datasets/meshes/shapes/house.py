"""Parametric doors and windows. Front along +y."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder


def _frame(
    b: Builder, width: float, height: float, depth: float, bar: float, material: int, sill: bool, y: float = 0.0
) -> None:
    """A rectangular frame of square bars around the opening."""
    for x in (-width / 2 - bar / 2, width / 2 + bar / 2):
        b.box((x, y, height / 2), (bar, depth, height), material)
    b.box((0, y, height + bar / 2), (width + 2 * bar, depth, bar), material)
    if sill:
        b.box((0, y, -bar / 2), (width + 2 * bar, depth, bar), material)


def door(b: Builder) -> None:
    """One or two leaves with panels or glass, handle away from the hinges, in a frame."""
    leaves = 2 if b.chance(0.25) else 1
    width, height = leaves * b.uniform(0.7, 0.95), b.uniform(1.95, 2.25)
    leaf = b.material("wood", "white", "white", "paint", "dark")
    frame = leaf if b.chance(0.4) else b.material("wood", "white", "dark")
    depth = b.uniform(0.08, 0.2)
    _frame(b, width, height, depth, b.uniform(0.04, 0.1), frame, sill=False)
    hinge = b.pick([-1, 1])
    panels = b.integer(0, 3), b.integer(1, 2), b.chance(0.35)
    opened = b.uniform(0.2, 1.0) if leaves == 1 and b.chance(0.12) else 0.0
    recess = 0.02 - depth / 2  # the leaf lies flush with the back of its frame
    for k in range(leaves):
        side = hinge if leaves == 1 else 2 * k - 1
        with b.placed((side * width / 2, recess, 0), yaw=side * opened):
            _leaf(b, side, width / leaves, height, leaf, panels)


def _leaf(b: Builder, side: int, width: float, height: float, material: int, panels: tuple[int, int, bool]) -> None:
    """A leaf that reaches from its hinge at x = 0 towards -side."""
    rows, columns, glazed = panels
    b.span((0, -0.02, 0), (-side * width, 0.02, height), material)
    glass = b.material("glass") if glazed else material
    edges = np.linspace(0.05, 0.95, rows + 1)
    for row in range(rows):
        for column in range(columns):
            x0, x1 = (-side * width * (0.12 + 0.76 * (column + d) / columns) for d in (0.06, 0.94))
            z0, z1 = height * (edges[row] + 0.02), height * (edges[row + 1] - 0.02)
            upper = row == rows - 1
            b.span((x0, -0.03, z0), (x1, 0.03, z1), glass if upper else material)
    steel, x = b.material("metal", "brass", "dark"), -side * width * 0.92
    for y in (-1, 1):
        b.cylinder((x, 0, height * 0.48), (x, y * 0.06, height * 0.48), 0.012, steel, sides=8)
        b.cylinder((x, y * 0.06, height * 0.48), (x + side * 0.12, y * 0.06, height * 0.48), 0.011, steel, sides=8)
        b.box((x, y * 0.024, height * 0.47), (0.04, 0.01, 0.2), steel)


def window(b: Builder) -> None:
    """Sashes with bars and a handle on the inner side (front), sill, sometimes an arch or a shutter box."""
    sashes = b.pick([1, 2, 2, 2, 3])
    width, height = sashes * b.uniform(0.4, 0.7), b.uniform(0.8, 2.0)
    frame, glass = b.material("white", "white", "wood", "dark"), b.material("glass")
    bar, depth = b.uniform(0.04, 0.08), b.uniform(0.08, 0.2)
    arched = b.chance(0.25)
    _frame(b, width, height, depth, bar, frame, sill=True)
    if arched:
        _arch(b, width / 2 + bar, height, depth, bar, frame, glass, b.uniform(0.3, 1.0))
    rows, columns = b.integer(1, 4), b.integer(1, 2)
    step = width / sashes
    for k in range(sashes):
        with b.placed((-width / 2 + (k + 0.5) * step, 0, 0)):
            _sash(b, step, height, rows, columns, frame, glass)
    grip = b.material("metal", "white", "brass", "dark")
    x = 0.0 if sashes == 2 else b.pick([-1, 1]) * (step / 2 - 0.03)
    b.box((x, 0.045, height * 0.45), (0.03, 0.03, 0.12), grip)
    b.cylinder((x, 0.07, height * 0.45), (x, 0.07, height * 0.45 - 0.1), 0.012, grip, sides=8)
    if b.chance(0.5):
        b.box((0, -depth / 2 - 0.05, -bar), (width + 2 * bar + 0.1, 0.2, 0.03), b.material("stone", "white"))
    if not arched and b.chance(0.3):
        b.box((0, -0.02, height + bar + 0.09), (width + 2 * bar, depth + 0.08, 0.18), frame)


def _sash(b: Builder, width: float, height: float, rows: int, columns: int, frame: int, glass: int) -> None:
    rail = 0.05
    b.box((0, 0, height / 2), (width, 0.012, height), glass)
    for x in (-width / 2 + rail / 2, width / 2 - rail / 2):
        b.box((x, 0.01, height / 2), (rail, 0.05, height), frame)
    for z in (rail / 2, height - rail / 2):
        b.box((0, 0.01, z), (width, 0.05, rail), frame)
    for z in np.linspace(0, height, rows + 1)[1:-1]:
        b.box((0, 0, z), (width, 0.03, 0.022), frame)
    for x in np.linspace(-width / 2, width / 2, columns + 1)[1:-1]:
        b.box((x, 0, height / 2), (0.022, 0.03, height), frame)


def _arch(b: Builder, radius: float, z: float, depth: float, bar: float, frame: int, glass: int, rise: float) -> None:
    angle = np.linspace(0, np.pi, 15)
    outer = [(radius * np.cos(a), z + radius * rise * np.sin(a)) for a in angle]
    inner = [((radius - bar) * np.cos(a), z + (radius * rise - bar) * np.sin(a)) for a in angle[::-1]]
    b.prism(outer + inner, -depth / 2, depth / 2, "y", frame)
    b.prism(inner, -0.006, 0.006, "y", glass)
