"""Parametric bottles and cups. Front along +y, ground at z = 0."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder


def bottle(b: Builder) -> None:
    """Body, shoulder, neck and cap, with a label on the front."""
    radius, body = b.uniform(0.03, 0.05), b.uniform(0.08, 0.2)
    neck, shoulder, rise = b.uniform(0.25, 0.7) * radius, b.uniform(0.02, 0.08), b.uniform(0.02, 0.09)
    glass = b.material("bottle", "bottle", "plastic", "white")
    top = body + shoulder + rise
    side = [(radius * b.uniform(0.85, 1.05), z) for z in np.linspace(0.01, body, 4)]
    b.lathe(
        [(0, 0), (radius * 0.92, 0), *_curve([*side, (neck * 1.1, body + shoulder), (neck, top)], 14), (0, top)], glass
    )
    cap = b.material("dark", "plastic", "metal", "red", "white")
    tall = b.uniform(0.012, 0.03)
    b.cylinder((0, 0, top - tall * 0.4), (0, 0, top + tall * 0.6), neck * b.uniform(1.1, 1.35), cap, sides=14)
    low, high, half = body * b.uniform(0.1, 0.3), body * b.uniform(0.65, 0.9), b.uniform(0.5, 1.3)
    label, print_ = radius * 1.07, b.material("paint", "dark", "red")
    arc = (np.pi / 2 - half, np.pi / 2 + half)
    b.lathe([(label, low), (label, high)], b.material("white", "plastic", "light"), sides=10, arc=arc)
    middle = low + (high - low) * b.uniform(0.45, 0.6)
    b.lathe(
        [(label * 1.01, middle), (label * 1.01, middle + (high - low) * 0.25)],
        print_,
        sides=8,
        arc=(arc[0] * 0.6 + 0.628, arc[1] * 0.7 + 0.47),
    )
    if b.chance(0.25):
        b.tube([(0, 0, top), (0, 0, top + 0.03), (0, 0.03, top + 0.035), (0, 0.035, top + 0.02)], 0.006, cap)
    if b.chance(0.2):
        _handle(b, radius * 0.95, body * 0.45, body * 0.3, 0.007, glass, angle=np.pi)


def _curve(profile: list[tuple[float, float]], count: int = 10) -> list[tuple[float, float]]:
    """Smooth a profile of (radius, z) by piecewise cubic interpolation with flat-averaged slopes."""
    points = np.asarray(profile, float)
    slopes, t = np.gradient(points, axis=0), np.linspace(0, len(points) - 1, count)
    k = np.minimum(t.astype(int), len(points) - 2)
    s = (t - k)[:, None]
    a, c = points[k] * (1 + 2 * s) * (1 - s) ** 2, points[k + 1] * s**2 * (3 - 2 * s)
    smooth = a + slopes[k] * s * (1 - s) ** 2 + c + slopes[k + 1] * s**2 * (s - 1)
    return [(max(float(r), 0.0), float(z)) for r, z in smooth]


def _handle(b: Builder, radius: float, z: float, size: float, thick: float, material: int, angle: float) -> None:
    """A C-shaped grip on the side at ``angle`` from +x."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 9)
    out = radius * 0.93 + size * b.uniform(0.7, 1.0) * np.cos(turn)
    path = [(r * np.cos(angle), r * np.sin(angle), z + size * np.sin(a)) for r, a in zip(out, turn, strict=True)]
    b.tube(path, thick, material)


def cup_glass(b: Builder) -> None:
    """Mug, cup on a saucer, beaker, stemmed glass or lidded paper cup."""
    kind = b.pick(["mug", "mug", "mug", "cup", "cup", "stem", "beaker"])
    wall, z = b.uniform(0.003, 0.006), 0.0
    china = (
        b.material("white", "plastic", "clay", "paint")
        if kind in ("mug", "cup", "beaker")
        else b.material("glass", "white")
    )
    radius, height = b.uniform(0.035, 0.05), b.uniform(0.06, 0.14)
    if kind == "cup":
        z, height = 0.012, b.uniform(0.045, 0.07)
        plate = b.uniform(0.065, 0.085)
        b.lathe(
            [(0, 0.003), (plate * 0.5, 0.003), (plate, 0.016), (plate, 0.02), (plate * 0.5, 0.008), (0, 0.008)],
            china,
            sides=24,
        )
    if kind == "stem":
        z = b.uniform(0.05, 0.1)
        b.lathe([(0, 0), (0.035, 0), (0.034, 0.004), (0.005, 0.012), (0.004, z), (0.01, z + 0.006)], china)
    foot, bulge = radius * b.uniform(0.55, 1.0), radius * b.uniform(0.9, 1.1)
    if kind == "stem":
        foot = radius * 0.2
    outer = _curve([(foot, 0), (bulge * (0.85 if kind == "stem" else 1), height * 0.45), (radius, height)], 8)
    inner = [(max(r - wall, 0.001), h + wall * (1 if h < 0.01 else 0)) for r, h in outer[::-1]]
    b.lathe([(0, 0), *outer, *inner, (0, wall)], china, (0, 0, z), sides=24)
    if kind in ("mug", "cup"):
        # seen from the front the grip is at the right, sometimes turned a little
        _handle(
            b,
            radius,
            z + height * 0.5,
            height * b.uniform(0.25, 0.36),
            b.uniform(0.004, 0.007),
            china,
            np.pi + b.uniform(-0.5, 0.5) * b.chance(0.3),
        )
        if b.chance(0.5):
            b.cylinder(
                (0, 0, z + height * 0.8), (0, 0, z + height * 0.82), radius * 0.9, b.material("bark", "dark"), sides=20
            )
    if kind == "beaker" and b.chance(0.6):
        b.lathe(
            [
                (radius * 1.05, height),
                (radius * 1.05, height + 0.008),
                (radius * 0.6, height + 0.014),
                (0, height + 0.014),
            ],
            b.material("white", "dark"),
        )
        b.tube(
            [(0.01, 0.01, height), (0.015, 0.02, height + 0.06), (0.02, 0.035, height + 0.075)],
            0.003,
            b.material("red", "plastic"),
            6,
        )
    if kind in ("mug", "beaker") and b.chance(0.6):
        half, low = b.uniform(0.3, 0.9), b.uniform(0.2, 0.45) * height
        radii, heights = np.transpose(outer)
        print_ = [(float(np.interp(h, heights, radii)) * 1.015, h) for h in np.linspace(low, low + height * 0.35, 4)]
        arc = (np.pi / 2 - half, np.pi / 2 + half)
        b.lathe(print_, b.material("paint", "dark", "red"), (0, 0, z), 8, arc)
