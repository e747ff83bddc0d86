"""Road users: solids in a frame with x ahead, z up and the origin on the ground below their middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equissl.datasets.drives.simulated.options import CAR, CYCLIST, PEDESTRIAN, TRUCK
from equissl.datasets.drives.simulated.shapes import Solid, block, disc, ellipsoid, extrusion, join, post

_GLASS, _RUBBER = 0.06, 0.05


@dataclass(frozen=True)
class Limb:
    """A rigid part that may swing about an axis along y.

    Attributes:
        solid: in the body's frame, at swing angle zero.
        pivot: (3,) point on the axis.
        swing: amplitude in radians; negative: against the others; zero: fixed to the body.
    """

    solid: Solid
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    swing: float = 0.0

    def transform(self, phase: float) -> np.ndarray:
        """Compute (4, 4) limb -> body at a phase of the gait, in radians."""
        angle = self.swing * np.sin(phase)
        matrix = np.eye(4)
        matrix[0, 0] = matrix[2, 2] = np.cos(angle)
        matrix[0, 2], matrix[2, 0] = np.sin(angle), -np.sin(angle)
        pivot = np.asarray(self.pivot)
        matrix[:3, 3] = pivot - matrix[:3, :3] @ pivot
        return matrix


@dataclass(frozen=True)
class Body:
    """A road user.

    Attributes:
        category: index into ``CATEGORIES``.
        size: length, width and height of the box, which stands on z = 0 and holds the limbs at every phase.
        limbs: at least one.
        stride: metres a full cycle of the gait moves the body.
    """

    category: int
    size: tuple[float, float, float]
    limbs: tuple[Limb, ...]
    stride: float = 1.0


def make_body(category: int, rng: np.random.Generator) -> Body:
    """Make a body with dimensions, shape and reflectivity drawn from ``rng``.

    Args:
        category: category of the body.
        rng: generator of the draws.
    """
    return {CAR: _car, TRUCK: _truck, CYCLIST: _cyclist, PEDESTRIAN: _pedestrian}[category](rng)


def _wheels(length: float, width: float, radius: float) -> list[Solid]:
    places = [(x * length, y * (width / 2 - 0.11)) for x in (-0.31, 0.31) for y in (-1, 1)]
    return [disc(radius, 0.2, _RUBBER).shifted(x, y, radius) for x, y in places]


def _car(rng: np.random.Generator) -> Body:
    length, width, height = rng.uniform(3.7, 4.9), rng.uniform(1.65, 1.9), rng.uniform(1.4, 1.75)
    paint, waist = rng.uniform(0.1, 0.7), 0.56 * height
    half = length / 2
    hull = [(-half, 0.25), (half, 0.25), (half, 0.65 * waist), (0.9 * half, 0.93 * waist), (0.4 * half, waist)]
    lower = extrusion([*hull, (-0.97 * half, waist)], width, paint)
    rear = rng.uniform(-0.95, -0.7) * half  # hatchback to saloon
    cabin = [(rear, waist), (0.5 * half, waist), (0.12 * half, height - 0.04), (rear + 0.22 * half, height - 0.04)]
    roof = block((0.6 * half, 0.8 * width, 0.05), (-0.22 * half, 0, height - 0.025), paint)
    parts = [lower, extrusion(cabin, 0.84 * width, _GLASS), roof, *_wheels(length, width, 0.32)]
    return Body(CAR, (length, width, height), (Limb(join(parts)),))


def _truck(rng: np.random.Generator) -> Body:
    length, width, height = rng.uniform(5.5, 8.5), rng.uniform(2.0, 2.4), rng.uniform(2.5, 3.4)
    paint, half, cab = rng.uniform(0.2, 0.8), length / 2, 1.7
    cargo = block((length - cab - 0.15, width, height - 0.6), (-(cab + 0.15) / 2, 0, 0.3 + height / 2), paint)
    front = [(half - cab, 0.4), (half, 0.4), (half, 1.2), (half - 0.35, 2.1), (half - cab, 2.1)]
    cabin = extrusion(front, 0.95 * width, rng.uniform(0.2, 0.6))
    return Body(TRUCK, (length, width, height), (Limb(join([cargo, cabin, *_wheels(length, width, 0.42)])),))


def _pedestrian(rng: np.random.Generator) -> Body:
    height, clothes, swing = rng.uniform(1.55, 1.95), rng.uniform(0.15, 0.7), rng.uniform(0.35, 0.5)
    hip, shoulder, girth = 0.5 * height, 0.8 * height, rng.uniform(0.13, 0.17)
    torso = ellipsoid((girth, 0.21, 0.2 * height), (0, 0, 0.66 * height), clothes)
    head = ellipsoid((0.1, 0.09, 0.075 * height), (0, 0, 0.925 * height), 0.5)
    limbs = [Limb(join([torso, head]))]
    for side in (-1, 1):
        leg = post(0.065, hip - 0.1, clothes * 0.7, top=0.085).shifted(0, side * 0.1, 0.1)
        foot = block((0.25, 0.09, 0.09), (0.05, side * 0.1, 0.075), 0.1)
        limbs.append(Limb(join([leg, foot]), (0.0, side * 0.1, hip), side * swing))
        arm = post(0.045, 0.38 * height, clothes).shifted(0, side * 0.25, shoulder - 0.38 * height)
        limbs.append(Limb(arm, (0.0, side * 0.25, shoulder), -side * 0.8 * swing))
    # a swinging leg turns its foot about the hip: half the length is at most the foot's tip at full swing
    reach = hip * np.sin(swing) + 0.2 * np.cos(swing)
    return Body(PEDESTRIAN, (2 * reach, 0.64, height), tuple(limbs), stride=4.0 * hip * np.sin(swing))


def _cyclist(rng: np.random.Generator) -> Body:
    clothes, height = rng.uniform(0.15, 0.7), rng.uniform(1.6, 1.85)
    saddle, lean = 0.95, rng.uniform(0.2, 0.45)
    wheels = [disc(0.34, 0.04, 0.15, sides=14).shifted(x, 0, 0.34) for x in (-0.52, 0.52)]
    frame = [block((0.95, 0.04, 0.06), (0, 0, 0.62), 0.4), block((0.05, 0.5, 0.05), (0.45, 0, 1.02), 0.3)]
    posts = [post(0.025, saddle - 0.35, 0.4).shifted(-0.18, 0, 0.35), post(0.025, 0.7, 0.4).shifted(0.45, 0, 0.34)]
    chest = ellipsoid((0.15, 0.2, 0.33), (0, 0, 0.3), clothes).moved(_pitch(lean)).shifted(-0.18, 0, saddle)
    neck = (-0.18 + 0.68 * np.sin(lean), 0.0, height - 0.13)
    head = ellipsoid((0.11, 0.09, 0.13), neck, 0.5)
    limbs = [Limb(join([*wheels, *frame, *posts, chest, head]))]
    for side in (-1, 1):
        arm = block((0.5, 0.07, 0.07), (0.2, side * 0.22, 1.15), clothes)
        leg = post(0.06, 0.62, clothes * 0.7, top=0.08).shifted(-0.02, side * 0.12, saddle - 0.65)
        limbs += [Limb(arm), Limb(leg, (-0.1, side * 0.12, saddle), side * 0.3)]
    return Body(CYCLIST, (1.8, 0.62, height), tuple(limbs), stride=5.0)


def _pitch(angle: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 0] = matrix[2, 2] = np.cos(angle)
    matrix[0, 2], matrix[2, 0] = np.sin(angle), -np.sin(angle)
    return matrix
