"""Parametric cars and people. Front along +y, ground at z = 0."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder

Vector = tuple[float, float, float]


def car(b: Builder) -> None:
    """A body lofted along its length, glazed cabin, four wheels, lights."""
    length, width, height = b.uniform(3.4, 4.9), b.uniform(1.55, 1.9), b.uniform(1.25, 1.7)
    paint, glass, black = (
        b.material("paint", "paint", "metal", "white", "dark"),
        b.material("dark", "glass"),
        b.material("dark"),
    )
    wheel, clear = b.uniform(0.28, 0.36), b.uniform(0.15, 0.25)
    belt, hood, tail = height * 0.6, height * b.uniform(0.46, 0.56), height * b.uniform(0.48, 0.6)
    front, back = length / 2, -length / 2
    bonnet, boot = front - length * b.uniform(0.16, 0.3), back + length * b.uniform(0.0, 0.2)
    stations = [
        (back, 0.82, clear + 0.15, tail * 0.92), (back + 0.12, 0.96, clear, tail), (boot, 1.0, clear, belt),
        (0.0, 1.0, clear, belt), (bonnet, 1.0, clear, belt), (front - 0.35, 0.96, clear, hood),
        (front - 0.08, 0.88, clear, hood * 0.88), (front, 0.75, clear + 0.12, hood * 0.72),
    ]  # fmt: skip
    stations.sort(key=lambda s: s[0])
    hub = b.material("metal")
    b.loft(np.array([_section(y, width * w / 2, low, high) for y, w, low, high in stations]), paint)
    _cabin(b, (boot, bonnet), width, (belt, height), paint, glass)
    for y in (front - length * 0.19, back + length * 0.19):
        for side in (-1, 1):
            x = side * width / 2
            b.cylinder((x - side * 0.2, y, wheel), (x + side * 0.02, y, wheel), wheel, black, sides=18)
            b.cylinder((x, y, wheel), (x + side * 0.03, y, wheel), wheel * 0.6, hub, sides=12)
    _car_details(b, front, back, width, hood, tail, clear, black)


def _section(y: float, half: float, low: float, high: float) -> list[Vector]:
    shoulder = low + (high - low) * 0.62
    return [
        (-half * 0.9, y, low), (half * 0.9, y, low), (half, y, low + 0.12), (half, y, shoulder),
        (half * 0.9, y, high), (-half * 0.9, y, high), (-half, y, shoulder), (-half, y, low + 0.12),
    ]  # fmt: skip


def _cabin(
    b: Builder, ends: tuple[float, float], width: float, levels: tuple[float, float], paint: int, glass: int
) -> None:
    (back, front), (belt, top) = ends, levels
    rake, rear = b.uniform(0.4, 0.75), b.uniform(0.08, 0.6)
    lower, upper, half = belt - 0.03, top - 0.06, width / 2
    if b.chance(0.1):  # open top: a low windscreen and seats
        b.span((-half * 0.8, front - 0.15, belt), (half * 0.8, front - 0.1, belt + 0.35), glass)
        for x in (-0.35, 0.35):
            b.cushion((x - 0.22, -0.3, belt - 0.1), (x + 0.22, -0.1, belt + 0.3), b.material("leather"), 0.4)
        return
    ring = [
        [
            (-half * 0.88, back, lower),
            (half * 0.88, back, lower),
            (half * 0.88, front, lower),
            (-half * 0.88, front, lower),
        ],
        [
            (-half * 0.7, back + rear, upper),
            (half * 0.7, back + rear, upper),
            (half * 0.7, front - rake, upper),
            (-half * 0.7, front - rake, upper),
        ],
    ]
    b.loft(np.array(ring), glass)
    roof = np.array(ring[1])
    crown = roof * [0.92, 0.94, 1] + [0, 0.03 * (front + back), top - upper]
    b.loft(np.array([roof * [1.02, 1, 1], crown]), paint)
    for start, end in zip(ring[0], ring[1], strict=True):
        b.cylinder(start, end, 0.045, paint, sides=6)
    middle = (back + rear + front - rake) / 2
    for side in (-1, 1):
        b.cylinder((side * half * 0.885, middle, lower), (side * half * 0.705, middle, upper), 0.04, paint, sides=6)


def _car_details(
    b: Builder, front: float, back: float, width: float, hood: float, tail: float, clear: float, black: int
) -> None:
    lights, red, plate = b.material("light"), b.material("red"), b.material("white", "light")
    for side in (-1, 1):
        b.blob((side * width * 0.33, front - 0.08, hood * 0.72), (0.17, 0.1, 0.09), lights, 0.6, 10)
        b.box((side * width * 0.36, back + 0.03, tail * 0.78), (0.2, 0.1, 0.13), red)
        b.blob((side * (width / 2 + 0.08), front * 0.38, hood * 1.15), (0.1, 0.06, 0.07), black, 0.6, 8)
    b.box((0, front + 0.005, clear + 0.2), (width * 0.5, 0.06, 0.14), black)
    b.box((0, front + 0.03, clear + 0.33), (0.42, 0.03, 0.1), plate)
    b.box((0, back - 0.01, clear + 0.35), (0.42, 0.04, 0.1), plate)
    b.box((0, front - 0.03, clear + 0.06), (width * 0.8, 0.1, 0.1), black)


def person(b: Builder) -> None:
    """Standing, walking or sitting; feet, nose and hair show the front."""
    skin, hair, shoes = b.material("skin"), b.material("hair"), b.material("dark", "leather")
    shirt, trousers = b.material("fabric", "fabric", "white"), b.material("fabric", "dark")
    pose, build = b.pick(["stand", "stand", "walk", "sit"]), b.uniform(0.85, 1.2)
    hip = 0.46 if pose == "sit" else b.uniform(0.82, 0.95)
    torso = b.uniform(0.48, 0.58)
    chest, waist = 0.17 * build, 0.135 * build
    rings = [
        (waist * 1.1, hip - 0.06),
        (waist, hip + 0.15),
        (chest, hip + torso * 0.75),
        (chest * 0.9, hip + torso),
        (0.06, hip + torso + 0.04),
    ]
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    b.loft(np.array([[(r * np.cos(a), 0.62 * r * np.sin(a), z) for a in angle] for r, z in rings]), shirt)
    _head(b, hip + torso, skin, hair)
    skirt = pose != "sit" and b.chance(0.2)
    if skirt:
        b.lathe(
            [(waist, hip + 0.1), (waist * 1.2, hip - 0.05), (waist * b.uniform(1.3, 1.9), hip - 0.4)],
            trousers,
            sides=14,
        )
    stride = b.uniform(0.15, 0.35) if pose == "walk" else b.uniform(0.0, 0.06)
    for side in (-1, 1):
        _leg(b, side, hip, pose, side * stride, skin if skirt else trousers, shoes)
        _arm(b, side, hip + torso, chest, pose, -side * stride, shirt, skin)


def _head(b: Builder, shoulder: float, skin: int, hair: int) -> None:
    z = shoulder + 0.2
    b.cylinder((0, 0, shoulder), (0, 0.01, z), 0.05, skin, sides=8)
    b.blob((0, 0.015, z), (0.078, 0.095, 0.115), skin)
    b.blob((0, 0.115, z - 0.01), (0.014, 0.022, 0.022), skin, sides=6)
    b.blob((0, -0.015, z + 0.035), (0.088, 0.1, 0.1), hair)
    for side in (-1, 1):
        b.blob((side * 0.032, 0.098, z + 0.018), (0.012, 0.012, 0.01), b.material("dark"), sides=6)
    if b.chance(0.35):
        b.blob((0, -0.06, z - 0.07), (0.085, 0.06, b.uniform(0.12, 0.25)), hair)


def _leg(b: Builder, side: int, hip: float, pose: str, step: float, cloth: int, shoes: int) -> None:
    x = side * 0.085
    if pose == "sit":
        knee, foot = (x * 1.3, 0.42, hip), (x * 1.3, 0.42 + step, 0.07)
    else:
        knee, foot = (x * 1.1, step * 0.6 + 0.02, hip * 0.52), (x * 1.15, step, 0.07)
    b.tube([(x, 0, hip), knee, foot], [0.088, 0.065, 0.048], cloth, 10)
    b.blob((foot[0], foot[1] + 0.06, 0.035), (0.045, 0.125, 0.042), shoes, 0.7, 10)


def _arm(b: Builder, side: int, shoulder: float, chest: float, pose: str, swing: float, cloth: int, skin: int) -> None:
    start = (side * chest * 0.95, 0.0, shoulder - 0.03)
    out, bend = b.uniform(0.03, 0.16), b.uniform(0.0, 0.25) + (0.15 if pose == "sit" else 0)
    elbow = (side * (chest + out), swing * 0.4 - 0.02, shoulder - 0.3)
    hand = (side * (chest + out * b.uniform(0.0, 1.2)), swing + bend, shoulder - 0.54 + bend * 0.7)
    b.tube([start, elbow, hand], [0.052, 0.042, 0.033], cloth, 8)
    b.blob(hand, (0.036, 0.04, 0.06), skin, sides=8)
