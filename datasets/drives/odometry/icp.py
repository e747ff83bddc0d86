"""Odometry by generalised ICP (Segal, Haehnel and Thrun, RSS 2009) from each sweep to the one before, with Open3D's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from equissl.datasets.drives.deskew import rotation_vector
from equissl.datasets.drives.odometry.base import Odometry
from equissl.datasets.drives.open3d_library import import_open3d
from equissl.datasets.drives.pairs.finding import FASTEST
from equissl.datasets.drives.sweep import invert_pose

VOXEL = 0.5  # metres; a point each
NEAREST, REACH = 2.5, 80.0  # metres: returns of the car itself, and points too sparse to have a surface
COARSE, FINE = 4.0, (1.5, 0.5)  # metres between points that may be the same; coarse where the motion is not known
ITERATIONS = 40
DIGITS = 7
OVERLAP = 0.55  # share of the points that must have a neighbour within 0.5 m; unrelated sweeps reach 0.4


@dataclass(frozen=True)
class Registration:
    """Motion between two sweeps.

    Attributes:
        motion: (4, 4), frame of the second -> frame of the first.
        overlap: share of the second's points that have a neighbour in the first.
    """

    motion: np.ndarray
    overlap: float


class GeneralisedIcp(Odometry):
    """Poses by registering each sweep to the last one that was placed, from the motion before.

    Both sweeps are thinned out to a point in 0.5 m. Turns of the sensor count as rigid: what the car moves within one
    is nearly the same in the next, and so changes their relative motion little.
    """

    def __init__(self) -> None:
        import_open3d()
        self.cloud: Any = None
        self.pose, self.seconds = np.eye(4), 0.0
        self.velocity: tuple[np.ndarray, np.ndarray] | None = None  # turn and shift of one second

    def place(self, points: np.ndarray, seconds: float) -> np.ndarray | None:
        """Estimate the pose of a sweep, see :class:`Odometry`.

        Args:
            points: (N, 3).
            seconds: time of the sweep.
        """
        cloud = thinned(points)
        if self.cloud is None:
            self.cloud, self.seconds = cloud, seconds
            return self.pose
        past = seconds - self.seconds
        found = register(cloud, self.cloud, self._guess(past))
        if found.overlap < OVERLAP or np.linalg.norm(found.motion[:3, 3]) > FASTEST * past:
            return None
        turn, shift = rotation_vector(found.motion[:3, :3]), found.motion[:3, 3]
        self.velocity = turn / past, shift / past
        self.cloud, self.seconds, self.pose = cloud, seconds, self.pose @ found.motion
        return self.pose

    def _guess(self, past: float) -> np.ndarray | None:
        """Motion (4, 4) within ``past`` seconds at the velocity before; None where that is not known."""
        if self.velocity is None:
            return None
        from scipy.spatial.transform import Rotation

        guess = np.eye(4)
        guess[:3, :3] = Rotation.from_rotvec(past * self.velocity[0]).as_matrix()
        guess[:3, 3] = past * self.velocity[1]
        return guess


def thinned(points: np.ndarray) -> Any:
    """Thin out a sweep to one point in each voxel, as a cloud of Open3D."""
    open3d = import_open3d()
    distance = np.linalg.norm(points, axis=1)
    kept = points[(distance > NEAREST) & (distance < REACH)].astype(np.float64)
    return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(kept)).voxel_down_sample(VOXEL)


def register(source: Any, target: Any, guess: np.ndarray | None = None) -> Registration:
    """Register two clouds of Open3D by generalised ICP, from coarse to fine.

    Args:
        source: thinned out.
        target: thinned out.
        guess: (4, 4) motion to start from; None starts from none, and more coarsely.
    """
    registration = import_open3d().pipelines.registration
    motion, overlap = np.eye(4) if guess is None else guess, 0.0
    if min(len(source.points), len(target.points)) < 10:
        return Registration(motion, overlap)
    estimation = registration.TransformationEstimationForGeneralizedICP()
    stop = registration.ICPConvergenceCriteria(max_iteration=ITERATIONS)
    for distance in (COARSE, *FINE) if guess is None else FINE:
        found = registration.registration_generalized_icp(source, target, distance, motion, estimation, stop)
        motion, overlap = np.array(found.transformation), float(found.fitness)
    return Registration(_orthonormal(motion), overlap)


def _orthonormal(motion: np.ndarray) -> np.ndarray:
    """The rigid motion nearest to one rounded to 0.1 µm: sums in another order, by other threads, change nothing."""
    rigid = motion.round(DIGITS)
    left, _, right = np.linalg.svd(rigid[:3, :3])
    rigid[:3, :3] = left @ right
    return rigid


def relative(poses: np.ndarray, first: int, second: int) -> np.ndarray:
    """Compute the motion (4, 4) from the frame of the second sweep to that of the first.

    Args:
        poses: (T, 4, 4).
        first: place of a sweep.
        second: place of another.
    """
    return invert_pose(poses[first]) @ poses[second]
