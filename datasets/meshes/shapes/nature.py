"""Parametric plants and trees. Ground at z = 0; their front is by chance."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder


def plant(b: Builder) -> None:
    """A pot with blades, stems with leaves, flowers or a cactus."""
    radius, height = b.uniform(0.08, 0.16), b.uniform(0.1, 0.26)
    pot = b.material("clay", "white", "plastic", "dark")
    foot = radius * b.uniform(0.6, 1.0)
    if b.chance(0.2):
        b.span((-radius * 2, -radius, 0), (radius * 2, radius, height), pot)
    else:
        b.lathe(
            [
                (0, 0),
                (foot, 0),
                (radius, height * 0.9),
                (radius * 1.1, height * 0.9),
                (radius * 1.1, height),
                (radius * 0.9, height),
                (0, height * 0.93),
            ],
            pot,
        )
    b.blob((0, 0, height * 0.93), (radius * 0.9, radius * 0.9, 0.02), b.material("bark"), sides=10)
    leaves = [b.material("leaf"), b.material("leaf")]
    b.pick([_blades, _stems, _stems, _cactus])(b, height, radius, leaves)


def _direction(b: Builder, low: float, high: float) -> np.ndarray:
    """A random unit vector with elevation between two angles."""
    azimuth, up = b.uniform(0, 2 * np.pi), b.uniform(low, high)
    return np.array([np.cos(azimuth) * np.cos(up), np.sin(azimuth) * np.cos(up), np.sin(up)])


def _blades(b: Builder, z: float, radius: float, leaves: list[int]) -> None:
    long, wide, droop = b.uniform(0.25, 0.6), b.uniform(0.03, 0.08), b.uniform(0.0, 0.6)
    for _ in range(b.integer(18, 60)):
        direction = _direction(b, 0.3, 1.45)
        base = (*(direction[:2] * radius * 0.3), z * 0.95)
        b.leaf(base, direction.tolist(), long * b.uniform(0.6, 1.1), wide, droop * b.uniform(0.3, 1), b.pick(leaves))


def _stems(b: Builder, z: float, radius: float, leaves: list[int]) -> None:
    stem, flower = b.material("leaf", "bark"), b.material("flower", "white", "light")
    long, bloom = b.uniform(0.25, 0.7), b.chance(0.45)
    for _ in range(b.integer(3, 8)):
        direction = _direction(b, 0.9, 1.5)
        end = np.array([0, 0, z]) + direction * long * b.uniform(0.6, 1.0)
        b.cylinder((0, 0, z * 0.9), end.tolist(), 0.007, stem, 0.004, sides=5)
        for t in np.linspace(0.35, 1.0, b.integer(5, 10)):
            at = np.array([0, 0, z]) * (1 - t) + end * t
            b.leaf(
                at.tolist(),
                _direction(b, -0.2, 0.9).tolist(),
                b.uniform(0.1, 0.2),
                b.uniform(0.05, 0.11),
                0.3,
                b.pick(leaves),
            )
        if bloom:
            b.blob(end.tolist(), (0.04, 0.04, 0.03), flower, sides=8)
            for k in range(6):
                angle = k * np.pi / 3
                b.leaf(end.tolist(), [np.cos(angle), np.sin(angle), 0.5], 0.08, 0.05, 0.2, flower)


def _cactus(b: Builder, z: float, radius: float, leaves: list[int]) -> None:
    tall, thick = b.uniform(0.2, 0.45), radius * b.uniform(0.3, 0.5)
    b.tube([(0, 0, z * 0.9), (0, 0, z + tall * 0.9), (0, 0, z + tall)], [thick, thick, thick * 0.3], leaves[0], 12)
    for _ in range(b.integer(1, 4)):
        way, low = _direction(b, 0, 0), z + tall * b.uniform(0.2, 0.6)
        out, arm = way * thick * b.uniform(1.8, 2.8), thick * b.uniform(0.4, 0.7)
        rise = tall * b.uniform(0.2, 0.5)
        path = [(0, 0, low), np.add(out, [0, 0, low]).tolist(), np.add(out, [0, 0, low + rise]).tolist()]
        b.tube(path, [arm, arm, arm * 0.5], b.pick(leaves), 8)


def tree(b: Builder) -> None:
    """Conifer, broadleaf or palm."""
    b.pick([_conifer, _broadleaf, _broadleaf, _palm])(
        b, b.material("bark"), [b.material("leaf"), b.material("leaf", "leaf", "flower")]
    )


def _conifer(b: Builder, bark: int, leaves: list[int]) -> None:
    height, radius, tiers = b.uniform(1.5, 3.0), b.uniform(0.4, 0.9), b.integer(4, 8)
    b.cylinder((0, 0, 0), (0, 0, height * 0.9), 0.06, bark, 0.02, sides=8)
    base = b.uniform(0.1, 0.3)
    for k in range(tiers):
        t = k / tiers
        low, wide = base + (height - base) * t, radius * (1 - t) ** 0.8
        lean = (b.uniform(-0.04, 0.04), b.uniform(-0.04, 0.04), 0)
        rim = (wide * b.uniform(0.8, 1.1), low)
        b.lathe(
            [(0.02, low + wide * 0.15), rim, (0.01, low + (height - base) / tiers * 1.8)],
            b.pick(leaves),
            lean,
            sides=11,
        )
    if b.chance(0.3):
        for _ in range(12):
            t, way = b.uniform(0.05, 0.9), _direction(b, 0, 0)
            at = way * radius * (1 - t) * 0.85 + [0, 0, base + (height - base) * t]
            b.blob(at.tolist(), (0.05, 0.05, 0.05), b.material("red", "brass"), sides=6)


def _broadleaf(b: Builder, bark: int, leaves: list[int]) -> None:
    trunk, spread, size = b.uniform(0.5, 1.2), b.uniform(0.4, 0.8), b.uniform(0.1, 0.22)
    bend = _direction(b, 0.9, 1.5) * trunk
    b.tube([(0, 0, 0), (0, 0, trunk * 0.4), (bend * 0.8).tolist()], [0.08, 0.06, 0.05], bark)
    for _ in range(b.integer(4, 8)):
        way = _direction(b, 0.0, 1.3) * spread * b.uniform(0.6, 1.2)
        end = bend * 0.8 + way
        b.cylinder((bend * 0.7).tolist(), end.tolist(), 0.03, bark, 0.012, sides=6)
        colour = b.pick(leaves)
        if b.chance(0.4):
            b.blob(end.tolist(), [spread * b.uniform(0.3, 0.55) for _ in range(3)], colour, sides=10)
        for _ in range(b.integer(25, 45)):
            at = end + _direction(b, -1.5, 1.5) * spread * b.uniform(0.1, 0.5)
            b.leaf(at.tolist(), _direction(b, -1.0, 1.0).tolist(), size, size * 0.6, 0.2, colour)


def _palm(b: Builder, bark: int, leaves: list[int]) -> None:
    height, lean = b.uniform(1.2, 2.8), _direction(b, 0, 0) * b.uniform(0, 0.4)
    top = np.add(lean, [0, 0, height])
    b.tube([(0, 0, 0), (lean * 0.3 + [0, 0, height * 0.5]).tolist(), top.tolist()], [0.1, 0.07, 0.06], bark)
    long = b.uniform(0.6, 1.1)
    for _ in range(b.integer(12, 24)):
        way = _direction(b, -0.1, 0.9)
        for t in np.linspace(0.15, 0.9, 6):
            at = top + way * long * t - [0, 0, 0.5 * long * t**2]
            for side in (-1, 1):
                across = side * np.array([-way[1], way[0], 0.0]) + way * 0.8 - [0, 0, 0.3]
                b.leaf(at.tolist(), across.tolist(), long * 0.3 * (1.1 - t), 0.035, 0.2, leaves[0])
