"""Parametric hand tools, upright or lying as the real ones do."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder


def hand_tool(b: Builder) -> None:
    """Drill, hammer, screwdriver, pliers, cutlery, shovel or broom."""
    b.pick([_drill, _drill, _hammer, _screwdriver, _pliers, _cutlery, _shovel, _broom])(
        b, b.material("metal"), b.material("paint", "wood", "dark", "plastic")
    )


def _drill(b: Builder, steel: int, grip: int) -> None:
    black, long = b.material("dark"), b.uniform(0.14, 0.2)
    lean, tall = b.uniform(0.0, 0.3), b.uniform(0.12, 0.17)
    b.cylinder((0, -long / 2, tall), (0, long / 2, tall), 0.032, grip, 0.028, sides=14)
    b.cylinder((0, long / 2, tall), (0, long / 2 + 0.04, tall), 0.024, black, 0.012, sides=12)
    b.cylinder((0, long / 2 + 0.04, tall), (0, long / 2 + b.uniform(0.06, 0.14), tall), 0.004, steel, sides=6)
    with b.placed((0, -long * 0.3, tall - 0.02), pitch=-lean):
        b.cushion((-0.018, -0.025, -tall + 0.03), (0.018, 0.025, 0), grip, 0.3)
        b.box((0, 0.03, -0.035), (0.012, 0.02, 0.03), b.material("red", "dark"))
        if b.chance(0.7):
            b.cushion((-0.03, -0.045, -tall), (0.03, 0.055, -tall + 0.045), black, 0.2)


def _hammer(b: Builder, steel: int, grip: int) -> None:
    long, head = b.uniform(0.24, 0.36), b.uniform(0.05, 0.08)
    b.tube([(0, 0, 0), (0, 0, long * 0.4), (0, 0, long)], [0.014, 0.016, 0.01], grip)
    b.box((0, 0, long), (0.026, head, 0.026), steel)
    b.cylinder((0, head / 2, long), (0, head / 2 + 0.03, long), 0.016, steel, sides=12)
    b.prism(
        [(-head / 2, long - 0.013), (-head / 2, long + 0.013), (-head, long - b.uniform(0.005, 0.03))],
        -0.012,
        0.012,
        "x",
        steel,
    )


def _screwdriver(b: Builder, steel: int, grip: int) -> None:
    long, shaft = b.uniform(0.08, 0.12), b.uniform(0.08, 0.2)
    b.tube(
        [(-long, 0, 0), (-long * 0.9, 0, 0), (-long * 0.4, 0, 0), (-long * 0.15, 0, 0), (0, 0, 0)],
        [0.01, 0.017, 0.015, 0.011, 0.013],
        grip,
        8,
    )
    b.cylinder((0, 0, 0), (shaft, 0, 0), 0.004, steel, sides=8)
    b.box((shaft + 0.006, 0, 0), (0.014, 0.01, 0.002), steel)
    b.cylinder((-long * 0.9, 0, 0), (-long * 0.8, 0, 0), 0.0176, b.material("dark", "red"), sides=8)


def _pliers(b: Builder, steel: int, grip: int) -> None:
    """Pliers or scissors lying along x, handles towards -x."""
    open_, long, jaw = b.uniform(0.08, 0.3), b.uniform(0.1, 0.16), b.uniform(0.05, 0.13)
    ring = b.chance(0.4)
    for side in (-1, 1):
        tip = (jaw, 0, side * open_ * jaw * 0.5)
        b.cylinder((0, 0, 0), tip, 0.01, steel, 0.003, sides=6)
        end = np.array([-long, 0, -side * (open_ * long * 0.5 + 0.012)])
        if ring:
            b.cylinder((0, 0, 0), (end * 0.6).tolist(), 0.006, steel, sides=6)
            angle = np.linspace(0, 2 * np.pi, 13)
            size = (0.035, 0.024 + 0.008 * (side > 0))
            b.tube(
                [(end[0] * 0.85 + size[0] * np.cos(a), 0, end[2] - side * 0.008 + size[1] * np.sin(a)) for a in angle],
                0.006,
                grip,
                6,
            )
        else:
            b.tube([(0, 0, 0), (end * [0.4, 1, 1.2]).tolist(), end.tolist()], [0.008, 0.01, 0.008], grip)
    b.cylinder((0, -0.012, 0), (0, 0.012, 0), 0.011, steel, sides=10)


def _cutlery(b: Builder, steel: int, grip: int) -> None:
    """Spoon, fork, knife, ladle or spatula, lying with its head away."""
    kind, long = b.pick(["spoon", "fork", "knife", "spatula"]), b.uniform(0.1, 0.25)
    handle = grip if b.chance(0.5) else steel
    b.tube([(0, 0.0, 0.004), (0, -long * 0.5, 0.006), (0, -long, 0.003)], [0.004, 0.006, 0.008], handle)
    if kind == "spoon":
        b.blob((0, 0.025, 0), (0.02, 0.032, 0.006), steel)
    elif kind == "knife":
        b.prism(
            [(-0.009, 0), (0.01, 0), (0.011, long * 0.6), (0.004, long * 0.85), (-0.009, long * 0.9)],
            0.002,
            0.005,
            "z",
            steel,
        )
    else:
        count, wide = b.integer(3, 4), 0.012 if kind == "fork" else b.uniform(0.025, 0.04)
        b.box((0, 0.01, 0.003), (2 * wide, 0.025, 0.003), steel)
        for x in np.linspace(-wide, wide, count):
            b.box((x, 0.045, 0.003), (wide * 0.35, 0.05, 0.003), steel)
        if kind == "spatula":
            b.box((0, 0.072, 0.003), (2.3 * wide, 0.012, 0.003), steel)


def _shovel(b: Builder, steel: int, grip: int) -> None:
    long, wide = b.uniform(0.4, 1.1), b.uniform(0.09, 0.16)
    blade, tall = b.material("metal", "paint", "dark"), b.uniform(0.2, 0.3)
    b.cylinder((0, 0, tall * 0.9), (0, -0.04, tall + long), 0.016, grip, sides=8)
    outline = [
        (-wide, tall),
        (-wide * 0.95, tall * 0.3),
        (0, b.uniform(0, tall * 0.3)),
        (wide * 0.95, tall * 0.3),
        (wide, tall),
    ]
    with b.placed(pitch=-0.12):
        b.prism(outline, 0.03, 0.036, "y", blade)
        for side in (-1, 1):
            b.box((side * wide, 0.045, tall * 0.6), (0.004, 0.03, tall * 0.6), blade)
    if b.chance(0.6):
        z = tall + long
        b.tube(
            [
                (0, -0.04, z),
                (-0.05, -0.04, z + 0.04),
                (-0.05, -0.04, z + 0.09),
                (0.05, -0.04, z + 0.09),
                (0.05, -0.04, z + 0.04),
                (0, -0.04, z),
            ],
            0.01,
            grip,
            6,
        )


def _broom(b: Builder, steel: int, grip: int) -> None:
    long, wide = b.uniform(0.8, 1.4), b.uniform(0.12, 0.25)
    b.cylinder((0, 0, 0.1), (0, -b.uniform(0.0, 0.25), long), 0.012, grip, sides=8)
    b.box((0, 0.0, 0.1), (2 * wide, 0.05, 0.035), b.material("wood", "plastic"))
    brush = b.material("dark", "light", "plastic")
    for x in np.linspace(-0.92, 0.92, 12) * wide:
        b.cylinder((x, 0, 0.09), (x * 1.08, 0.02, 0), 0.011, brush, 0.017, sides=5)
