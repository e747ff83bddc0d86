"""Parametric cabinets, bookcases, ovens and stoves. Front along +y, ground at z = 0."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from equissl.datasets.meshes.builder import Builder


def front(
    b: Builder, low: tuple[float, float], high: tuple[float, float], y: float, handle: str, materials: tuple[int, int]
) -> None:
    """Add a door or drawer front between (x, z) corners on the plane y.

    Args:
        b: builder.
        low: lowest corner (x, z).
        high: highest corner (x, z).
        y: of the plane.
        handle: ``left``, ``right`` or ``centre``.
        materials: indices of front and handle.
    """
    panel, grip = materials
    (x0, z0), (x1, z1) = low, high
    gap = 0.006
    b.span((x0 + gap, y, z0 + gap), (x1 - gap, y + 0.018, z1 - gap), panel)
    if handle == "centre":
        half, z = min(0.15, 0.18 * (x1 - x0)), z0 + 0.7 * (z1 - z0)
        b.cylinder(((x0 + x1) / 2 - half, y + 0.035, z), ((x0 + x1) / 2 + half, y + 0.035, z), 0.009, grip, sides=8)
    else:
        x, z, tall = x0 + 0.05 if handle == "left" else x1 - 0.05, z0 + 0.6 * (z1 - z0), min(0.25, 0.3 * (z1 - z0))
        b.cylinder((x, y + 0.035, z - tall / 2), (x, y + 0.035, z + tall / 2), 0.009, grip, sides=8)


def cabinet(b: Builder) -> None:
    """Chest of drawers, sideboard, kitchen unit with sink, or wardrobe."""
    kind = b.pick(["chest", "sideboard", "kitchen", "wardrobe", "tall"])
    low, high = {
        "chest": ((0.6, 0.4, 0.7), (1.3, 0.55, 1.2)),
        "sideboard": ((1.1, 0.38, 0.5), (1.9, 0.55, 0.9)),
        "kitchen": ((0.4, 0.5, 0.78), (1.1, 0.65, 0.95)),
        "wardrobe": ((0.8, 0.5, 1.7), (2.0, 0.65, 2.3)),
        "tall": ((0.4, 0.35, 1.2), (0.7, 0.6, 2.1)),
    }[kind]
    width, depth, height = (b.uniform(a, c) for a, c in zip(low, high, strict=True))
    body, leg = b.material("wood", "wood", "white", "white", "plastic"), b.uniform(0.0, 0.12)
    face = (body if b.chance(0.4) else b.material("wood", "white", "plastic"), b.material("metal", "dark", "brass"))
    b.span((-width / 2, -depth / 2, leg), (width / 2, depth / 2, height), body)
    b.box((0, -0.02, leg / 2), (width * 0.96, depth * 0.9, leg + 0.002), b.material("dark"))
    columns = max(1, round(width / b.uniform(0.4, 0.65)))
    for k in range(columns):
        x0, x1 = -width / 2 + k * width / columns, -width / 2 + (k + 1) * width / columns
        _column(b, x0, x1, leg, height, depth / 2, kind, "right" if k % 2 == 0 else "left", face)
    if kind in ("kitchen", "chest", "sideboard"):
        top = b.material("stone", "wood", "white", "dark")
        b.box((0, 0.01, height + 0.015), (width + 0.03, depth + 0.03, 0.03), top)
        if kind == "kitchen" and b.chance(0.5):
            _sink(b, width, depth, height + 0.03)
        elif kind != "kitchen" and b.chance(0.25):
            _mirror(b, width, depth, height, body)


def _column(
    b: Builder, x0: float, x1: float, z0: float, z1: float, y: float, kind: str, side: str, face: tuple[int, int]
) -> None:
    """One column of fronts: drawers, a door, or drawers over a door."""
    style = b.pick(
        {"chest": ["drawers"], "kitchen": ["door", "both", "drawers"]}.get(kind, ["door", "door", "both", "drawers"])
    )
    if style == "door":
        return front(b, (x0, z0), (x1, z1), y, side, face)
    split = z0 if style == "drawers" else z0 + 0.6 * (z1 - z0)
    if style == "both":
        front(b, (x0, z0), (x1, split), y, side, face)
    count = b.integer(3, 5) if style == "drawers" else b.integer(1, 2)
    edges = np.linspace(split, z1, count + 1)
    for low, high in pairwise(edges):
        front(b, (x0, low), (x1, high), y, "centre", face)
    return None


def _sink(b: Builder, width: float, depth: float, z: float) -> None:
    steel = b.material("metal")
    b.box((0, 0.03, z), (min(0.5, width * 0.7), depth * 0.6, 0.012), steel)
    b.box((0, 0.03, z + 0.004), (min(0.42, width * 0.6), depth * 0.48, 0.012), b.material("dark", "metal"))
    path = [
        (0, -depth * 0.36, z),
        (0, -depth * 0.36, z + 0.25),
        (0, -depth * 0.25, z + 0.3),
        (0, -depth * 0.1, z + 0.24),
    ]
    b.tube(path, 0.014, steel)


def _mirror(b: Builder, width: float, depth: float, z: float, frame: int) -> None:
    height, y = b.uniform(0.5, 0.9), -depth / 2 + 0.03
    b.span((-width * 0.4, y - 0.02, z), (width * 0.4, y, z + height), frame)
    b.span((-width * 0.35, y, z + 0.06), (width * 0.35, y + 0.008, z + height - 0.05), b.material("glass"))


def bookcase_shelf(b: Builder) -> None:
    """Open shelves, partly filled with books; some with doors below."""
    width, depth, height = b.uniform(0.35, 1.6), b.uniform(0.22, 0.4), b.uniform(0.8, 2.2)
    wood, thick = b.material("wood", "wood", "white", "dark", "metal"), b.uniform(0.015, 0.035)
    back = wood if b.chance(0.6) else b.material("wood", "white")
    b.span((-width / 2, -depth / 2, 0), (width / 2, -depth / 2 + 0.012, height), back)
    columns, rows = max(1, round(width / b.uniform(0.45, 0.9))), max(2, round(height / b.uniform(0.28, 0.42)))
    for x in np.linspace(-width / 2, width / 2, columns + 1):
        b.box((x, 0, height / 2), (thick, depth, height), wood)
    levels = np.linspace(0.03 + thick / 2, height - thick / 2, rows + 1)
    for z in levels:
        b.box((0, 0, z), (width, depth, thick), wood)
    doors = b.integer(1, 2) if b.chance(0.35) else 0
    face = (b.material("wood", "white"), b.material("metal", "dark"))
    colours = [b.material("plastic", "fabric", "leather") for _ in range(5)]
    fill = b.uniform(0.2, 0.9)
    for k in range(columns):
        x0, x1 = (-width / 2 + (k + i) * width / columns for i in (0, 1))
        if doors:
            front(b, (x0, levels[0]), (x1, levels[doors]), depth / 2, "right" if k % 2 == 0 else "left", face)
        for row in range(doors, rows):
            if b.chance(fill):
                _books(b, x0 + thick, x1 - thick, levels[row] + thick / 2, levels[row + 1] - thick / 2, depth, colours)


def _books(b: Builder, x0: float, x1: float, z0: float, z1: float, depth: float, colours: list[int]) -> None:
    """A row of up to nine books from one side."""
    x, width = x0, max(0.02, (x1 - x0) / b.uniform(6, 14))
    end = x0 + (x1 - x0) * b.uniform(0.4, 1.0)
    for _ in range(9):
        step = width * b.uniform(0.7, 1.5)
        if x + step > end:
            return
        tall, deep = (z1 - z0) * b.uniform(0.6, 0.92), depth * b.uniform(0.55, 0.8)
        b.span((x, -depth / 2 + 0.02, z0), (x + step * 0.94, -depth / 2 + 0.02 + deep, z0 + tall), b.pick(colours))
        x += step


def oven_stove(b: Builder) -> None:
    """Range with burners, built-in oven (single or double), hob, or a small oven."""
    kind = b.pick(["range", "range", "oven", "double", "hob", "small"])
    body, black, grip = b.material("white", "metal", "dark", "metal"), b.material("dark"), b.material("metal", "dark")
    if kind == "hob":
        return _burners(
            b, b.uniform(0.3, 0.8), b.uniform(0.45, 0.55), 0.02, b.material("dark", "metal", "white"), black, base=True
        )
    if kind == "small":
        return _small_oven(b, body, black, grip)
    width, depth = b.uniform(0.5, 0.95), b.uniform(0.5, 0.65)
    height = {"range": b.uniform(0.8, 0.92), "oven": b.uniform(0.5, 0.65), "double": b.uniform(1.0, 1.3)}[kind]
    b.span((-width / 2, -depth / 2, 0), (width / 2, depth / 2, height), body)
    panel = height - 0.12
    b.span(
        (-width / 2 + 0.01, depth / 2, panel),
        (width / 2 - 0.01, depth / 2 + 0.02, height - 0.01),
        b.material("dark", "metal"),
    )
    for x in np.linspace(-0.4, 0.4, b.integer(4, 7)):
        b.cylinder(
            (x * width, depth / 2 + 0.02, panel + 0.055),
            (x * width, depth / 2 + 0.05, panel + 0.055),
            0.02,
            grip,
            sides=10,
        )
    doors = 2 if kind == "double" else 1
    edges = np.linspace(0.12 if kind == "range" else 0.02, panel - 0.01, doors + 1)
    for low, high in pairwise(edges):
        _oven_door(b, width, depth / 2, low, high, body, grip)
    if kind == "range":
        _burners(b, width, depth, height, b.material("dark", "metal", "white"), black, base=False)
        if b.chance(0.4):
            b.span(
                (-width / 2, -depth / 2, height), (width / 2, -depth / 2 + 0.04, height + b.uniform(0.08, 0.3)), body
            )
    return None


def _oven_door(b: Builder, width: float, y: float, low: float, high: float, body: int, grip: int) -> None:
    b.span((-width * 0.48, y, low), (width * 0.48, y + 0.025, high - 0.01), body)
    b.span(
        (-width * 0.36, y + 0.02, low + 0.18 * (high - low)),
        (width * 0.36, y + 0.03, high - 0.28 * (high - low)),
        b.material("dark", "glass"),
    )
    z = high - 0.12 * (high - low)
    b.cylinder((-width * 0.4, y + 0.06, z), (width * 0.4, y + 0.06, z), 0.012, grip, sides=8)
    for x in (-0.38, 0.38):
        b.box((x * width, y + 0.04, z), (0.015, 0.04, 0.015), grip)


def _burners(b: Builder, width: float, depth: float, z: float, plate: int, black: int, base: bool) -> None:
    thick = b.uniform(0.01, 0.05) if base else 0.012
    b.box((0, 0, z - thick / 2 + 0.006), (width, depth, thick), plate)
    gas, columns = b.chance(0.5), 2 if width > 0.45 else 1
    for column in range(columns):
        for row in (-1, 1):
            x = (column - (columns - 1) / 2) * width * 0.45 - (0.06 * width if base else 0)
            y, radius = row * depth * 0.23, b.uniform(0.06, 0.1) * min(1.0, width / 0.5)
            b.lathe([(0, 0), (radius, 0), (radius, 0.012), (0, 0.012)], black, (x, y, z + 0.004), sides=14)
            if gas:
                for dx, dy in ((2.6 * radius, 0.01), (0.01, 2.6 * radius)):
                    b.box((x, y, z + 0.035), (dx, dy, 0.01), black)
    if base:
        for k in range(4):
            b.cylinder(
                (width * 0.42, depth * (0.12 * k - 0.3), z),
                (width * 0.42, depth * (0.12 * k - 0.3), z + 0.025),
                0.015,
                black,
                sides=8,
            )


def _small_oven(b: Builder, body: int, black: int, grip: int) -> None:
    """Microwave or table oven: window on one side, knobs on the other."""
    width, depth, height = b.uniform(0.42, 0.6), b.uniform(0.3, 0.42), b.uniform(0.24, 0.36)
    b.span((-width / 2, -depth / 2, 0.02), (width / 2, depth / 2, height), body)
    # seen from the front, +x is on the left
    b.span((-width * 0.22, depth / 2, 0.05), (width * 0.47, depth / 2 + 0.015, height - 0.03), black)
    b.span(
        (-width * 0.14, depth / 2 + 0.012, 0.09), (width * 0.4, depth / 2 + 0.018, height - 0.07), b.material("glass")
    )
    b.box((-width * 0.2, depth / 2 + 0.03, height / 2), (0.018, 0.03, height * 0.6), grip)
    for z in np.linspace(0.3, 0.8, b.integer(2, 4)):
        b.cylinder(
            (-width * 0.36, depth / 2, z * height),
            (-width * 0.36, depth / 2 + 0.025, z * height),
            0.022,
            grip,
            sides=10,
        )
