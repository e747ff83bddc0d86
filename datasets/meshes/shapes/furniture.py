"""Parametric beds and tables. Front along +y, ground at z = 0."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder


def four_legs(b: Builder, width: float, depth: float, height: float, material: int, inset: float = 0.03) -> None:
    """Add legs under the corners of a rectangle: square, round or tapered, straight or splayed.

    Args:
        b: builder.
        width: along x.
        depth: along y.
        height: height of the legs.
        material: index.
        inset: from the corners.
    """
    style, thick = b.pick(["square", "round", "taper"]), b.uniform(0.012, 0.035)
    splay = b.uniform(0.02, 0.09) if b.chance(0.35) else 0.0
    for x in (-1, 1):
        for y in (-1, 1):
            top = (x * (width / 2 - inset - thick), y * (depth / 2 - inset - thick), height)
            foot = (top[0] + x * splay, top[1] + y * splay, 0.0)
            if style == "square" and not splay:
                b.span((top[0] - thick, top[1] - thick, 0), (top[0] + thick, top[1] + thick, height), material)
            else:
                b.cylinder(foot, top, thick * (0.5 if style == "taper" else 1), material, thick, sides=10)


def bed(b: Builder) -> None:
    """Single or double, with headboard, pillows and blanket; sometimes a bunk bed."""
    width, length = b.pick([b.uniform(0.8, 1.05), b.uniform(1.3, 1.9)]), b.uniform(1.85, 2.15)
    frame, sheet = b.material("wood", "wood", "white", "metal", "fabric", "dark"), b.material("white", "fabric")
    blanket = b.material("fabric")
    height = b.uniform(0.18, 0.42)
    bunk = width < 1.1 and b.chance(0.3)
    levels = [height, height + b.uniform(0.85, 1.05)] if bunk else [height]
    for z in levels:
        _mattress(b, width, length, z, frame, sheet, blanket)
    if bunk:
        _bunk_frame(b, width, length, levels[1] + 0.45, levels[1], frame)
        return
    four_legs(b, width, length, height, frame)
    head = height + b.uniform(0.25, 0.75)
    if b.chance(0.92):
        _board(b, width, -length / 2, head, frame)
    if b.chance(0.45):
        _board(b, width, length / 2, b.uniform(0.5, 0.85) * head, frame)


def _mattress(b: Builder, width: float, length: float, z: float, frame: int, sheet: int, blanket: int) -> None:
    thick = b.uniform(0.14, 0.26)
    b.box((0, 0, z - 0.05), (width + 0.04, length + 0.02, b.uniform(0.08, 0.16)), frame)
    b.cushion((-width / 2, -length / 2, z), (width / 2, length / 2, z + thick), sheet, 0.15)
    reach, over = b.uniform(0.55, 0.78), b.uniform(0.0, 0.03)
    start = length / 2 - reach * length
    drop = b.uniform(0.02, 0.9) * thick
    b.cushion(
        (-width / 2 - over, start, z + drop * 0.5),
        (width / 2 + over, length / 2 + over, z + thick + 0.035),
        blanket,
        0.12,
    )
    pillow, count = b.material("white", "fabric"), 2 if width > 1.2 else 1
    for k in range(count):
        x = (k - (count - 1) / 2) * width / 2
        b.blob((x, -length / 2 + 0.25, z + thick + 0.05), (width / count * 0.42, 0.19, 0.08), pillow, 0.55)


def _board(b: Builder, width: float, y: float, top: float, material: int) -> None:
    style = b.pick(["panel", "panel", "bars", "arch"])
    if style == "panel":
        return b.box((0, y, top / 2), (width + 0.06, b.uniform(0.03, 0.1), top), material)
    if style == "arch":
        angle = np.linspace(0, np.pi, 13)
        arch = [((width / 2 + 0.03) * np.cos(a), top * (0.78 + 0.22 * np.sin(a))) for a in angle]
        return b.prism([(-width / 2 - 0.03, 0), (width / 2 + 0.03, 0), *arch], y - 0.025, y + 0.025, "y", material)
    for x in np.linspace(-width / 2, width / 2, b.integer(5, 11)):
        b.cylinder((x, y, 0 if abs(x) > 0.49 * width else top * 0.3), (x, y, top), 0.014, material, sides=8)
    for z in (top * 0.3, top):
        b.cylinder((-width / 2, y, z), (width / 2, y, z), 0.02, material, sides=8)
    return None


def _bunk_frame(b: Builder, width: float, length: float, top: float, upper: float, material: int) -> None:
    for x in (-width / 2, width / 2):
        for y in (-length / 2, length / 2):
            b.box((x, y, top / 2), (0.06, 0.06, top), material)
        b.box((x, 0, upper + 0.35), (0.025, length, 0.06), material)
    for y in (-length / 2, length / 2):
        for z in np.linspace(upper + 0.1, top - 0.03, 3):
            b.box((0, y, z), (width, 0.025, 0.05), material)
    side = b.pick([-1, 1])
    for y in (0.2, 0.55):
        b.box((side * (width / 2 + 0.05), y, top / 2), (0.03, 0.04, top), material)
    for z in np.linspace(0.2, upper, 5):
        b.box((side * (width / 2 + 0.05), 0.375, z), (0.025, 0.35, 0.03), material)


def table(b: Builder) -> None:
    """Dining, coffee, round or bedside table, or a desk with drawers on one side."""
    kind = b.pick(["dining", "dining", "coffee", "round", "desk", "desk", "bedside"])
    top, frame = (
        b.material("wood", "wood", "white", "glass", "dark", "plastic"),
        b.material("wood", "metal", "dark", "white"),
    )
    thick = b.uniform(0.015, 0.05)
    if kind == "round":
        return _round_table(b, top, frame, thick)
    if kind == "bedside":
        return _bedside(b, top, frame)
    height = b.uniform(0.28, 0.48) if kind == "coffee" else b.uniform(0.68, 0.8)
    width, depth = b.uniform(0.9, 1.9), b.uniform(0.55, 0.95)
    b.box((0, 0, height - thick / 2), (width, depth, thick), top)
    side = b.pick([-1, 1])
    if kind == "desk":
        _desk_body(b, width, depth, height - thick, side, frame)
    elif b.chance(0.2):
        _trestles(b, width, depth, height - thick, frame)
    else:
        four_legs(b, width, depth, height - thick, frame, inset=b.uniform(0, 0.08))
        if b.chance(0.5):
            b.box((0, 0, height - thick - 0.04), (width * 0.88, depth * 0.84, 0.08), frame)
        if b.chance(0.4):
            _knob_drawer(b, b.uniform(-0.25, 0.25) * width, depth * 0.43, height - thick - 0.05, 0.35, 0.08, top)
        if kind == "coffee" and b.chance(0.5):
            b.box((0, 0, height * 0.35), (width * 0.9, depth * 0.85, 0.02), top)
    return None


def _round_table(b: Builder, top: int, frame: int, thick: float) -> None:
    radius, height = b.uniform(0.3, 0.65), b.uniform(0.45, 0.78)
    b.lathe([(0, height - thick), (radius, height - thick), (radius, height), (0, height)], top, sides=28)
    if b.chance(0.5):
        b.cylinder((0, 0, 0), (0, 0, height - thick), b.uniform(0.025, 0.06), frame)
        b.lathe([(0, 0), (radius * 0.6, 0), (radius * 0.6, 0.02), (0, 0.06)], frame)
    else:
        count, spread = b.integer(3, 4), b.uniform(0.7, 1.0)
        for k in range(count):
            angle = np.pi / 2 + 2 * np.pi * k / count
            direction = np.array([np.cos(angle), np.sin(angle), 0]) * radius
            b.cylinder((direction * spread).tolist(), (direction * 0.6 + [0, 0, height - thick]).tolist(), 0.02, frame)


def _bedside(b: Builder, top: int, frame: int) -> None:
    width, depth, height = b.uniform(0.35, 0.6), b.uniform(0.32, 0.5), b.uniform(0.4, 0.62)
    leg, count = b.uniform(0.03, 0.25), b.integer(1, 3)
    b.span((-width / 2, -depth / 2, leg), (width / 2, depth / 2, height), frame)
    b.box((0, 0, height + 0.01), (width + 0.03, depth + 0.03, 0.025), top)
    four_legs(b, width, depth, leg, frame)
    step = (height - leg) / count
    for k in range(count):
        _knob_drawer(b, 0, depth / 2, leg + (k + 0.5) * step, width * 0.9, step * 0.88, top)


def _knob_drawer(b: Builder, x: float, y: float, z: float, width: float, height: float, material: int) -> None:
    b.box((x, y + 0.008, z), (width, 0.016, height), material)
    b.box((x, y + 0.03, z), (b.uniform(0.1, 0.4) * width, 0.025, 0.015), b.material("metal", "dark", "brass"))


def _desk_body(b: Builder, width: float, depth: float, height: float, side: int, frame: int) -> None:
    chest, count, front = width * b.uniform(0.25, 0.36), b.integer(2, 4), b.material("wood", "white")
    x = side * (width / 2 - chest / 2 - 0.01)
    low = b.uniform(0.02, 0.12)
    b.span((x - chest / 2, -depth * 0.46, low), (x + chest / 2, depth * 0.44, height), frame)
    step = (height - low) / count
    for k in range(count):
        _knob_drawer(b, x, depth * 0.44, low + (k + 0.5) * step, chest * 0.92, step * 0.88, front)
    b.box((-side * (width / 2 - 0.03), 0, height / 2), (0.035, depth * 0.9, height), frame)
    b.box((0, -depth * 0.42, height * 0.65), (width * 0.94, 0.02, height * 0.6), frame)
    if b.chance(0.25):
        b.span((-width / 2, -depth / 2, height), (width / 2, -depth / 2 + 0.25, height + b.uniform(0.2, 0.5)), frame)


def _trestles(b: Builder, width: float, depth: float, height: float, frame: int) -> None:
    for x in (-0.38 * width, 0.38 * width):
        b.box((x, 0, height - 0.03), (0.06, depth * 0.8, 0.05), frame)
        for y in (-1, 1):
            for lean in (-0.13, 0.13):
                b.cylinder((x + lean, y * depth * 0.38, 0), (x, y * depth * 0.34, height - 0.03), 0.018, frame, sides=8)
