"""Moving world: vehicles, cyclists and pedestrians on lanes, and the car that carries the sensor.

Every position is a closed form of time, so that any frame of an endless drive can be made alone. The users of a lane
share its mean speed and keep their slots; each swings about its slot, and so speeds up and slows down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from equissl.datasets.drives.simulated.bodies import Body, make_body
from equissl.datasets.drives.simulated.options import CAR, CYCLIST, PEDESTRIAN, TRUCK, DriveOptions, DriveSeed, Stream
from equissl.datasets.drives.simulated.road import CYCLE_LANE, FOOTWAYS, LANE, Road

INSTANT = 1e-3  # seconds: half the time over which a velocity is the difference


@dataclass(frozen=True)
class Path:
    """Motion along the road: x = start + speed t + swing sin(w t + phase), with a slow sideways drift.

    Attributes:
        start, speed: metres and metres per second along x; a negative speed drives towards smaller x.
        swing, swing_rate, phase: of the change of speed; ``swing * swing_rate`` stays below ``|speed|``.
        lateral, weave, weave_rate: metres left of the centre line, and the sideways drift about that.
    """

    start: float
    speed: float
    swing: float
    swing_rate: float
    phase: float
    lateral: float
    weave: float
    weave_rate: float

    def along(self, time: float) -> float:
        """Compute x in metres."""
        return self.start + self.speed * time + self.swing * math.sin(self.swing_rate * time + self.phase)

    def frame(self, road: Road, time: float) -> np.ndarray:
        """Compute the upright reference frame on the ground, facing where it goes, -> world: (4, 4).

        Args:
            road: road of the drive.
            time: seconds.
        """
        wave = self.weave_rate * time + self.phase
        ahead = self.speed + self.swing * self.swing_rate * math.cos(self.swing_rate * time + self.phase)
        aside = self.weave * self.weave_rate * math.cos(wave)
        turn = math.atan2(aside, ahead) if self.speed else 0.0
        return road.frame(self.along(time), self.lateral + self.weave * math.sin(wave), turn)


@dataclass(frozen=True, eq=False)
class Actor:
    """A moving road user: its kind, body and path."""

    track: str
    body: Body
    path: Path

    def frame(self, road: Road, time: float) -> np.ndarray:
        """Compute the pose (4, 4) body -> world.

        Args:
            road: road of the drive.
            time: seconds.
        """
        return self.path.frame(road, time)

    def velocity(self, road: Road, time: float) -> np.ndarray:
        """Compute the velocity (3,) in the world, metres a second.

        Args:
            road: road of the drive.
            time: seconds.
        """
        after, before = (self.frame(road, time + step)[:3, 3] for step in (INSTANT, -INSTANT))
        return (after - before) / (2 * INSTANT)

    def phase(self, time: float, articulated: bool) -> float:
        """Compute the phase of the gait in radians.

        Args:
            time: seconds.
            articulated: False freezes one pose of it.
        """
        travelled = abs(self.path.along(time) - self.path.start) if articulated else 0.0
        return self.path.phase + 2 * math.pi * travelled / self.body.stride


@dataclass(frozen=True)
class Lane:
    """Slots that move with one speed: ``gap`` metres apart, each taken with probability ``taken``."""

    name: str
    category: int
    lateral: float
    speed: float
    gap: float
    taken: float
    weave: float
    free_slot: int | None = None  # the slot of the ego car


class Traffic:
    """All actors of one drive."""

    def __init__(self, seed: DriveSeed, options: DriveOptions) -> None:
        self._seed, self._options = seed, options
        self._actor = lru_cache(maxsize=1024)(self._make_actor)

    @cached_property
    def ego(self) -> Path:
        """Path of the sensor's car; its lane's speed is the ego's."""
        rng = self._seed.generator(Stream.EGO)
        speed = rng.uniform(*self._options.ego_speed)
        rate = 2 * np.pi / rng.uniform(12, 25)
        swing = min(0.45 * speed / rate, 6.0) * rng.uniform(0.3, 1)
        return Path(0.0, speed, swing, rate, rng.uniform(0, 2 * np.pi), -LANE, 0.12, 0.4)

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        rng = self._seed.generator(Stream.LANE)
        share = self._options.traffic
        lanes = [
            Lane("ahead", CAR, -LANE, self.ego.speed, 34.0, 0.6 * share, 0.15, free_slot=0),
            Lane("oncoming", CAR, LANE, -rng.uniform(5, 13), 34.0, 0.65 * share, 0.15),
        ]
        for side in (-1, 1):
            lanes.append(
                Lane(
                    f"cycle{side:+d}", CYCLIST, side * CYCLE_LANE, -side * rng.uniform(3.5, 6.5), 26.0, 0.6 * share, 0.2
                )
            )
            for number, lateral in enumerate(FOOTWAYS):
                speed = rng.uniform(0.9, 1.7) * (-1 if number else 1)
                name = f"walk{side:+d}{'ab'[number]}"
                lanes.append(Lane(name, PEDESTRIAN, side * lateral, speed, 11.0, 0.6 * share, 0.2))
        return tuple(lanes)

    def near(self, x: float, time: float, reach: float) -> Iterator[Actor]:
        """List all actors within ``reach`` metres of ``x`` along the road, in a fixed order.

        Args:
            x: metres along the road.
            time: seconds.
            reach: metres.
        """
        for number, lane in enumerate(self.lanes):
            middle = (x - lane.speed * time) / lane.gap
            # an actor is less than one gap away from its slot
            for slot in range(math.floor(middle - reach / lane.gap) - 1, math.ceil(middle + reach / lane.gap) + 2):
                actor = self._actor(number, slot)
                if actor is not None and abs(actor.path.along(time) - x) <= reach:
                    yield actor

    def _make_actor(self, number: int, slot: int) -> Actor | None:
        lane, rng = self.lanes[number], self._seed.generator(Stream.ACTOR, number, slot)
        if rng.random() >= lane.taken or slot == lane.free_slot:
            return None
        category = TRUCK if lane.category == CAR and rng.random() < 0.15 else lane.category
        body = make_body(category, rng)
        # slots and swings together never let two of a lane touch, nor touch the ego car
        jitter, swing = 0.12 * lane.gap, min(0.18 * lane.gap, 6.0)
        rate = 2 * np.pi / rng.uniform(10, 25)
        swing = min(swing, 0.6 * abs(lane.speed) / rate) * rng.uniform(0.2, 1)
        start = slot * lane.gap + rng.uniform(-jitter, jitter)
        weave = (lane.weave, 2 * np.pi / rng.uniform(5, 12))
        path = Path(start, lane.speed, swing, rate, rng.uniform(0, 2 * np.pi), lane.lateral, *weave)
        return Actor(f"{lane.name}/{slot}", body, path)
