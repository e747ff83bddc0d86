"""Road: an endless gently winding line with hills, known in closed form at every place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equissl.datasets.drives.simulated.options import DriveSeed, Stream

# metres to either side of the centre line
LANE = 1.7
CYCLE_LANE = 4.1
PARKING = 5.9
KERB = 7.0
FOOTWAYS = (8.3, 9.5)
FOOTWAY_END = 10.6
GROUND_END = 70.0
_KERB_HEIGHT = 0.13


@dataclass(frozen=True)
class Road:
    """Winding road: y = line(x) in plan and z = hill(x) along it, both sums of sines.

    Attributes:
        line, hill: (K, 3) rows of amplitude (m), wave number (1/m) and phase.
    """

    line: np.ndarray
    hill: np.ndarray

    @classmethod
    def draw(cls, seed: DriveSeed) -> Road:
        rng = seed.generator(Stream.ROAD)

        def waves(amplitudes: tuple[float, ...], lengths: tuple[float, ...]) -> np.ndarray:
            scale = rng.uniform(0.3, 1.0, len(lengths)) * amplitudes
            numbers = 2 * np.pi / (np.array(lengths) * rng.uniform(0.8, 1.3, len(lengths)))
            return np.column_stack([scale, numbers, rng.uniform(0, 2 * np.pi, len(lengths))])

        return cls(waves((12.0, 2.0), (450.0, 170.0)), waves((2.0, 0.4), (400.0, 130.0)))

    def heading(self, x: np.ndarray | float) -> np.ndarray:
        """Compute the direction of the road in radians."""
        amplitude, number, phase = self.line.T
        return np.arctan((amplitude * number * np.cos(np.multiply.outer(x, number) + phase)).sum(-1))

    def position(self, x: np.ndarray | float, lateral: np.ndarray | float) -> np.ndarray:
        """Compute world positions (..., 3) on the ground.

        Args:
            x: (...) metres along the road.
            lateral: (...) metres to the left of the centre line.
        """
        heading, (amplitude, number, phase) = self.heading(x), self.line.T
        centre = (amplitude * np.sin(np.multiply.outer(x, number) + phase)).sum(-1)
        return np.stack(
            np.broadcast_arrays(
                x - lateral * np.sin(heading), centre + lateral * np.cos(heading), self.height(x, lateral)
            ),
            axis=-1,
        )

    def height(self, x: np.ndarray | float, lateral: np.ndarray | float) -> np.ndarray:
        """Compute the ground height: cambered road, kerb, level footway, rising ground behind it.

        Args:
            x: (...) metres along the road.
            lateral: (...) metres to the left of the centre line.
        """
        amplitude, number, phase = self.hill.T
        hill = (amplitude * np.sin(np.multiply.outer(x, number) + phase)).sum(-1)
        aside = np.abs(lateral)
        camber = -0.015 * np.minimum(aside, KERB) + _KERB_HEIGHT * np.clip((aside - KERB) / 0.02, 0, 1)
        return hill + camber + 0.02 * np.maximum(aside - FOOTWAY_END, 0)

    def frame(self, x: float, lateral: float, turn: float = 0.0) -> np.ndarray:
        """Compute an upright reference frame on the ground -> world, (4, 4).

        Args:
            x: metres along the road.
            lateral: metres to the left of the centre line.
            turn: radians from the direction of the road.
        """
        angle = float(self.heading(x)) + turn
        matrix = np.eye(4)
        matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix[:3, 3] = self.position(x, lateral)
        return matrix
