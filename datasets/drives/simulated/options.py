"""Settings of a simulated drive, and the random streams behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np

# what a point lies on: `Sweep.semantic` of simulated drives is an index into this
CATEGORIES = ("ground", "building", "pole", "vegetation", "clutter", "car", "truck", "cyclist", "pedestrian")
GROUND, BUILDING, POLE, VEGETATION, CLUTTER, CAR, TRUCK, CYCLIST, PEDESTRIAN = range(len(CATEGORIES))


class SimulationError(ValueError):
    """A setting or a request that the simulator cannot fulfil."""


@dataclass(frozen=True)
class DriveOptions:
    """Settings of a simulated drive; the defaults resemble a Velodyne HDL-64E at 10 Hz on a car in a town.

    Attributes:
        beams: rows of the sensor, spread as the 64 beams of the HDL-64E are.
        columns: directions a turn (0.1728 degrees apart by default).
        max_range: metres; also how far around the car the world is built.
        min_range: metres; closer returns are left out.
        noise: standard deviation of the range, metres.
        dropout: share of returns lost at random, on top of those too weak to be seen.
        rate: sweeps a second.
        sensor_height: metres above the road.
        ego_speed: lowest and highest mean speed of the car, m/s; each drive draws its own.
        traffic: scales how many moving road users there are, 0..1.
        articulated: pedestrians and riders move arms and legs. Flow then follows each limb, and so differs from the
            motion of their boxes; without it (the default) everything moves rigidly and the two are equal.
    """

    beams: int = 64
    columns: int = 2083
    max_range: float = 100.0
    min_range: float = 2.0
    noise: float = 0.02
    dropout: float = 0.02
    rate: float = 10.0
    sensor_height: float = 1.73
    ego_speed: tuple[float, float] = (4.0, 12.0)
    traffic: float = 1.0
    articulated: bool = False

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = np.asarray(getattr(self, setting.name), dtype=np.float64)
            if not np.isfinite(value).all() or (value < 0).any():
                raise SimulationError(f"expected {setting.name} finite and >= 0, got {getattr(self, setting.name)!r}")
        for name in ("dropout", "traffic"):
            if getattr(self, name) > 1:
                raise SimulationError(f"expected {name} in 0..1, got {getattr(self, name)!r}")
        if self.beams < 1 or self.columns < 1 or not math.isfinite(self.rate) or self.rate == 0:
            got = (self.beams, self.columns, self.rate)
            raise SimulationError(f"expected beams, columns and rate above 0, got {got}")
        if not self.min_range < self.max_range:
            raise SimulationError(f"expected min_range < max_range, got {self.min_range} and {self.max_range}")
        low, high = self.ego_speed
        if low > high:
            raise SimulationError(f"expected ego_speed as (lowest, highest), got {self.ego_speed}")


class Stream(IntEnum):
    """Independent random streams of one drive."""

    ROAD = 0
    EGO = 1
    BLOCK = 2
    LANE = 3
    ACTOR = 4
    NOISE = 5


@dataclass(frozen=True)
class DriveSeed:
    """Name of one drive: dataset seed and number of the drive."""

    seed: int
    number: int

    def generator(self, stream: Stream, *place: int) -> np.random.Generator:
        """Create the random generator of one thing, whatever was made before it.

        Args:
            stream: kind of thing.
            *place: whole numbers that name it; may be negative.
        """
        # SeedSequence takes no negative numbers: 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
        folded = [2 * k if k >= 0 else -2 * k - 1 for k in place]
        return np.random.default_rng(np.random.SeedSequence([self.seed, self.number, int(stream), *folded]))
