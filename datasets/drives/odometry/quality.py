"""Errors of estimated poses: against sweeps registered over two turns at once, and against true poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from equissl.datasets.drives.deskew import rotation_vector
from equissl.datasets.drives.odometry.icp import OVERLAP, register, relative, thinned
from equissl.datasets.drives.sweep import invert_pose

SAMPLES = 8  # pairs of sweeps two turns apart


@dataclass(frozen=True)
class PoseErrors:
    """Errors of the motions between pairs of sweeps.

    Attributes:
        shift: (P,) metres.
        turn: (P,) degrees.
        distance: (P,) metres driven, by the true poses.
    """

    shift: np.ndarray
    turn: np.ndarray
    distance: np.ndarray

    def per_metre(self) -> tuple[float, float]:
        """Sum of the errors over the metres driven: translation (a share) and rotation (degrees a metre)."""
        driven = float(self.distance.sum())
        return (float(self.shift.sum()) / driven, float(self.turn.sum()) / driven) if driven else (np.nan, np.nan)


def pose_errors(poses: np.ndarray, true: np.ndarray, gap: int = 1) -> PoseErrors:
    """Compute the relative pose errors of Sturm et al. (IROS 2012): of the motion from each sweep to one ``gap`` later.

    Args:
        poses: (T, 4, 4) estimated; pairs without two known ones are left out.
        true: (T, 4, 4), in a world of their own.
        gap: sweeps between the two of a pair.
    """
    known = np.isfinite(poses).all(axis=(1, 2)) & np.isfinite(true).all(axis=(1, 2))
    pairs = [(i, i + gap) for i in range(len(poses) - gap) if known[i] and known[i + gap]]
    wanted = [relative(true, *pair) for pair in pairs]
    errors = [difference(motion, relative(poses, *pair)) for motion, pair in zip(wanted, pairs, strict=True)]
    shift, turn = np.array(errors).reshape(-1, 2).T
    return PoseErrors(shift, turn, np.array([np.linalg.norm(motion[:3, 3]) for motion in wanted]))


def difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Compute the metres and the degrees between two rigid motions.

    Args:
        first: (4, 4).
        second: (4, 4).
    """
    between = invert_pose(first) @ second
    return float(np.linalg.norm(between[:3, 3])), float(np.rad2deg(np.linalg.norm(rotation_vector(between[:3, :3]))))


@dataclass(frozen=True)
class Agreement:
    """Agreement of poses with sweeps two turns apart that were registered at once.

    Attributes:
        shift, turn: median difference, metres and degrees; NaN without samples.
        worst: largest difference, metres.
        samples: number of pairs.
    """

    shift: float
    turn: float
    worst: float
    samples: int


def agreement(poses: np.ndarray, read: Callable[[int], np.ndarray | None]) -> Agreement:
    """Compare poses with direct registrations of sweeps two apart, of a few places spread evenly.

    Errors that add up from turn to turn show here; those that both share do not.

    Args:
        poses: (T, 4, 4), NaN where unknown.
        read: place of a sweep -> points (N, 3), None where they cannot be read.
    """
    known = np.isfinite(poses).all(axis=(1, 2))
    places = [i for i in range(len(poses) - 2) if known[i] and known[i + 2]]
    chosen = [places[k] for k in np.unique(np.linspace(0, len(places) - 1, SAMPLES).astype(int))] if places else []
    found = []
    for place in chosen:
        clouds = [read(place), read(place + 2)]
        if clouds[0] is None or clouds[1] is None:
            continue
        motion = relative(poses, place, place + 2)
        direct = register(thinned(clouds[1]), thinned(clouds[0]), motion)
        if direct.overlap >= OVERLAP:
            found.append(difference(direct.motion, motion))
    shift, turn = np.array(found).reshape(-1, 2).T
    if not found:
        return Agreement(np.nan, np.nan, np.nan, 0)
    return Agreement(float(np.median(shift)), float(np.median(turn)), float(shift.max()), len(found))
