"""Label-free scene flow: ego motion for everything, and a rigid motion for each cluster that has moved.

The recipe of ICP-Flow (Lin and Caesar, CVPR 2024): align by ego motion, leave out the ground, cluster, propose
translations by a histogram of displacements, refine them by iterative closest points, keep a motion only where it
explains the next sweep clearly better than standing still does. Own here: a cluster may only become points that nothing
else of the first sweep explains, which keeps it from sliding along walls and onto its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.sweep import Sweep, flow_from_own_motion, invert_pose, move
from equissl.scene_flow.base import FlowError, FlowEstimate, motion_between, seconds_between
from equissl.scene_flow.clusters import cluster_points
from equissl.scene_flow.registration import propose_shifts, refine, truncated_distance


@dataclass(frozen=True)
class _Scene:
    """Both clouds above the ground, ego motion removed, in the frame of the first sweep."""

    source: np.ndarray
    target: np.ndarray
    labels: np.ndarray  # cluster of each source point
    tree: cKDTree  # of target
    owner: np.ndarray  # cluster that explains each target point by standing still; -1: another point; -2: none


class ClusterFlow:
    """Flow by rigid clusters, see the module. Needs poses, no labels; the ground mask is not used either.

    Args:
        speed: fastest thing to look for, m/s over ground.
        link: points closer than this (metres) belong together.
        min_points: smallest cluster that is looked at.
        max_size: largest; longer things (metres) stand still.
        tolerance: points closer than this (metres) to the next sweep have not moved; about the spacing of the points.
        gain: a motion is kept when it lowers the mean distance to the next sweep at least by this factor.
        max_points: most points of a cluster that take part in the search; evenly thinned out.
    """

    name = "icp_cluster"

    def __init__(
        self,
        speed: float = 20.0,
        link: float = 0.5,
        min_points: int = 10,
        max_size: float = 15.0,
        tolerance: float = 0.2,
        gain: float = 0.75,
        max_points: int = 400,
    ) -> None:
        if min(speed, link, min_points, max_size, tolerance, max_points) <= 0 or not 0 < gain <= 1:
            raise FlowError(f"expected settings above 0 and gain in (0, 1], got gain {gain!r} and others {vars()!r}")
        self.speed, self.link, self.min_points, self.max_size = speed, link, min_points, max_size
        self.tolerance, self.gain, self.max_points = tolerance, gain, max_points

    def estimate(self, sweep: Sweep, following: Sweep) -> FlowEstimate:
        """Estimate flow by tracked clusters, see :class:`~equissl.scene_flow.base.FlowProvider`.

        Args:
            sweep: with a pose.
            following: with a pose.
        """
        motion = motion_between(sweep, following, self.name)
        own = np.zeros((len(sweep), 3))
        above = np.flatnonzero(~estimate_ground(sweep.points))
        target = following.points[~estimate_ground(following.points)]
        if len(above) and len(target):
            scene = self._scene(sweep.points[above].astype(np.float64), move(invert_pose(motion), target.astype(float)))
            reach = self.speed * seconds_between(sweep, following)
            for label in range(int(scene.labels.max()) + 1):
                chosen = np.flatnonzero(scene.labels == label)
                found = self._track(scene, chosen, label, reach)
                if found is not None:
                    own[above[chosen]] = move(found, scene.source[chosen]) - scene.source[chosen]
        return FlowEstimate(flow_from_own_motion(sweep.points, own, motion), np.ones(len(sweep), bool))

    def _scene(self, source: np.ndarray, target: np.ndarray) -> _Scene:
        labels = cluster_points(source, self.link, min_points=self.min_points)
        distance, nearest = cKDTree(source).query(target, distance_upper_bound=self.tolerance)
        owner = np.full(len(target), -2)
        explained = np.isfinite(distance)
        owner[explained] = labels[nearest[explained]]
        return _Scene(source, target, labels, cKDTree(target), owner)

    def _track(self, scene: _Scene, chosen: np.ndarray, label: int, reach: float) -> np.ndarray | None:
        """(4, 4) motion over ground of one cluster, or None where it may as well have stood still."""
        points = scene.source[chosen]
        extent = np.ptp(points, axis=0)
        if extent.max() > self.max_size:
            return None
        points = _thin(points, self.max_points)
        stands = truncated_distance(points, scene.tree, np.eye(4), 2 * self.tolerance)
        if stands < 0.25 * self.tolerance:
            return None
        near = self._candidates(scene, points, label, reach)
        if len(near) < max(5, self.min_points // 2):
            return None
        tree = cKDTree(near)
        best, motion = np.inf, None
        for shift in propose_shifts(points, _thin(near, 2 * self.max_points), reach, self.tolerance, 5):
            start = np.eye(4)
            start[:3, 3] = shift
            found = refine(points, tree, start, (0.6, 0.4, 0.3, 0.3, 0.3))
            score = truncated_distance(points, tree, found, 2 * self.tolerance)
            if score < best and np.linalg.norm(move(found, points.mean(axis=0)[None]) - points.mean(axis=0)) <= reach:
                best, motion = score, found
        return motion if best < self.gain * stands else None

    def _candidates(self, scene: _Scene, points: np.ndarray, label: int, reach: float) -> np.ndarray:
        """Points of the next sweep that the cluster may have become."""
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        radius = np.linalg.norm(np.ptp(points, axis=0)) / 2 + reach
        near = np.array(scene.tree.query_ball_point(middle, radius), dtype=np.int64)
        near = near[(scene.owner[near] == label) | (scene.owner[near] == -2)]
        return scene.target[np.sort(near)]


def _thin(points: np.ndarray, most: int) -> np.ndarray:
    return points if len(points) <= most else points[np.linspace(0, len(points) - 1, most).astype(np.int64)]
