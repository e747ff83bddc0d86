"""Static world: ground, buildings, poles, plants and parked cars, block by block along the road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equissl.datasets.drives.simulated.bodies import make_body
from equissl.datasets.drives.simulated.options import (
    BUILDING,
    CAR,
    CLUTTER,
    GROUND,
    PEDESTRIAN,
    POLE,
    TRUCK,
    VEGETATION,
    DriveSeed,
    Stream,
)
from equissl.datasets.drives.simulated.road import FOOTWAY_END, GROUND_END, KERB, PARKING, Road
from equissl.datasets.drives.simulated.shapes import Solid, block, foliage, join, lattice_faces, post

BLOCK = 20.0  # metres of road a block covers
_STATIONS = (0.0, 3.5, KERB, KERB + 0.02, FOOTWAY_END, 24.0, GROUND_END)


@dataclass(frozen=True)
class Parked:
    """A road user that stands still over the whole drive.

    Attributes:
        track: its identity.
        category: index into ``CATEGORIES``.
        size: length, width, height.
        pose: (4, 4) box frame (origin on the ground) -> world.
    """

    track: str
    category: int
    size: tuple[float, float, float]
    pose: np.ndarray


@dataclass(frozen=True)
class Block:
    """One piece of street, in world axes about ``origin``.

    Attributes:
        origin: (3,) float64 in the world; offsets from it are small, so that float32 holds them.
        solid: all triangles.
        categories: (F,) uint8 index into ``CATEGORIES`` per triangle.
        parked: road users that stand here.
    """

    origin: np.ndarray
    solid: Solid
    categories: np.ndarray
    parked: tuple[Parked, ...]


def block_origin(road: Road, number: int) -> np.ndarray:
    """Compute the world position (3,) that a block is measured from.

    Args:
        road: road of the street.
        number: number of the block.
    """
    return road.position(number * BLOCK, 0.0)


class _Builder:
    def __init__(self, road: Road, seed: DriveSeed, number: int) -> None:
        self.road, self.number, self.origin = road, number, block_origin(road, number)
        self.rng = seed.generator(Stream.BLOCK, number)
        self.solids: list[Solid] = []
        self.categories: list[np.ndarray] = []
        self.parked: list[Parked] = []

    def frame(self, along: float, lateral: float, turn: float = 0.0) -> np.ndarray:
        """World frame at a place of this block, ``along`` metres into it."""
        return self.road.frame(self.number * BLOCK + along, lateral, turn)

    def put(self, category: int, solid: Solid, frame: np.ndarray) -> None:
        local = frame.copy()
        local[:3, 3] -= self.origin
        self.solids.append(solid.moved(local))
        self.categories.append(np.full(len(solid.faces), category, np.uint8))

    def park(self, category: int, slot: str, frame: np.ndarray) -> None:
        body = make_body(category, self.rng)
        self.put(category, join([limb.solid for limb in body.limbs]), frame)
        self.parked.append(Parked(f"parked/{self.number}/{slot}", category, body.size, frame))

    def finish(self) -> Block:
        return Block(self.origin, join(self.solids), np.concatenate(self.categories), tuple(self.parked))


def build_block(road: Road, seed: DriveSeed, number: int) -> Block:
    """Build a block of the street; the same whatever was built before.

    Args:
        road: road of the street.
        seed: seed of the drive.
        number: number of the block, any integer.
    """
    builder = _Builder(road, seed, number)
    _ground(builder)
    for side in (-1, 1):
        _frontage(builder, side)
        _furniture(builder, side)
        _parking(builder, side)
    return builder.finish()


def _ground(builder: _Builder) -> None:
    lateral = np.array([*(-s for s in _STATIONS[:0:-1]), *_STATIONS])
    along = builder.number * BLOCK + np.linspace(0, BLOCK, 11)
    grid = builder.road.position(along[:, None], lateral[None]) - builder.origin
    faces = lattice_faces(len(along), len(lateral))
    paved = np.abs(lateral[faces % len(lateral)]).max(axis=1) <= FOOTWAY_END
    solid = Solid(grid.reshape(-1, 3), faces, np.where(paved, 0.22, 0.35).astype(np.float32))
    builder.solids.append(solid)
    builder.categories.append(np.full(len(faces), GROUND, np.uint8))


def _frontage(builder: _Builder, side: int) -> None:
    """A building with doors and bays, or a garden."""
    rng = builder.rng
    if rng.random() < 0.7:
        length, depth, height = rng.uniform(9, 19), rng.uniform(8, 14), rng.uniform(4, 16)
        front, wall = FOOTWAY_END + rng.uniform(0.2, 5.0), rng.uniform(0.2, 0.7)
        frame = builder.frame(BLOCK / 2, side * front)
        parts = [block((length, depth, height + 3), (0, side * depth / 2, height / 2 - 1.5), wall)]
        for _ in range(rng.integers(1, 5)):
            size = (rng.uniform(0.8, 2.5), rng.uniform(0.3, 1.0), rng.uniform(1.5, 3.0))
            place = (rng.uniform(-0.4, 0.4) * length, 0.0, rng.uniform(0.5, max(1.0, height - 2)))
            parts.append(block(size, place, wall * 0.8))
        builder.put(BUILDING, join(parts), frame)
        return
    for _ in range(rng.integers(2, 5)):
        frame = builder.frame(rng.uniform(2, BLOCK - 2), side * rng.uniform(FOOTWAY_END + 3, FOOTWAY_END + 14))
        _tree(builder, frame, rng.uniform(4, 9))
    hedge = foliage(rng, 350, (BLOCK * 0.42, 0.4, 0.8), 0.45).shifted(z=0.75)
    builder.put(VEGETATION, hedge, builder.frame(BLOCK / 2, side * (FOOTWAY_END + 0.8)))


def _tree(builder: _Builder, frame: np.ndarray, height: float) -> None:
    rng = builder.rng
    stem = 0.4 * height
    builder.put(VEGETATION, post(rng.uniform(0.1, 0.2), stem + 0.5, 0.3, top=0.08), frame)
    width = rng.uniform(0.2, 0.32) * height
    builder.put(VEGETATION, foliage(rng, 260, (width, width, 0.33 * height), 0.45).shifted(z=0.68 * height), frame)


def _furniture(builder: _Builder, side: int) -> None:
    """Lamps, trees, signs, bollards and bins along the kerb."""
    rng, edge = builder.rng, side * (KERB + 0.45)
    lamp = join([post(0.1, 6.5, 0.5, top=0.06), block((0.12, 1.6, 0.1), (0, -side * 0.8, 6.5), 0.5)])
    builder.put(POLE, lamp, builder.frame(rng.uniform(0, 3), edge))
    if rng.random() < 0.6:
        _tree(builder, builder.frame(rng.uniform(6, 9), edge), rng.uniform(4, 6.5))
    if rng.random() < 0.5:
        sign = join([post(0.04, 2.6, 0.5), block((0.04, 0.6, 0.6), (0, 0, 2.4), 0.95)])
        builder.put(POLE, sign, builder.frame(rng.uniform(11, 13), edge))
    for _ in range(rng.integers(0, 4)):
        builder.put(CLUTTER, post(0.09, 0.95, 0.4), builder.frame(rng.uniform(14, 19.5), edge))
    if rng.random() < 0.4:
        size = (rng.uniform(0.5, 1.6), 0.55, rng.uniform(0.5, 1.2))
        place = builder.frame(rng.uniform(2, 18), side * (FOOTWAY_END - 0.35))
        builder.put(CLUTTER, block(size, (0, 0, size[2] / 2), 0.3), place)
    if rng.random() < 0.35:
        place = builder.frame(rng.uniform(1, 19), side * (FOOTWAY_END - 0.5), rng.uniform(-np.pi, np.pi))
        builder.park(PEDESTRIAN, f"standing{side:+d}", place)


def _parking(builder: _Builder, side: int) -> None:
    rng = builder.rng
    turn = 0.0 if side < 0 else np.pi  # cars park in the direction of their side's traffic
    for slot in range(3):
        if rng.random() < 0.55:
            along, lateral = (slot + 0.5) * BLOCK / 3, side * (PARKING + rng.uniform(-0.1, 0.1))
            frame = builder.frame(along + rng.uniform(-0.5, 0.5), lateral, turn + rng.uniform(-0.04, 0.04))
            builder.park(CAR, f"slot{slot}{side:+d}", frame)
    if rng.random() < 0.08:
        builder.park(TRUCK, f"delivery{side:+d}", builder.frame(BLOCK / 2, side * (FOOTWAY_END + 4), turn))
