"""Odometry: the pose of one sweep after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

LOST = 10  # sweeps in a row that cannot be placed, after which none of the rest is


class Odometry(ABC):
    """Estimator of poses, which is given the sweeps of one drive in their order."""

    @abstractmethod
    def place(self, points: np.ndarray, seconds: float) -> np.ndarray | None:
        """Estimate the pose (4, 4) of a sweep: its frame -> that of the first sweep; None where it cannot be placed.

        Args:
            points: (N, 3) of the sweep, in metres.
            seconds: time of the sweep.
        """
