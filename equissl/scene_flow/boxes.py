"""Scene flow from tracked boxes, true as far as things are rigid. Uses labels: for tests and upper bounds only."""

from __future__ import annotations

import numpy as np

from equissl.datasets.drives.box_points import points_in_box
from equissl.datasets.drives.sweep import Boxes, Sweep, invert_pose, rigid_flow
from equissl.scene_flow.base import FlowError, FlowEstimate, motion_between


class BoxFlow:
    """Flow of points that move with their box, others with the static world, as Argoverse 2's labels are made.

    A box that has no successor of the same track makes its points invalid. Where boxes overlap, the last one counts.

    Args:
        margin: metres added to length and width (not to the height) before points are counted in; Argoverse 2 adds 0.2.
        skip_ground: points marked as ground stay with the static world even in a box. Simulated drives need it: points
            of the road below a moving car do not move.
    """

    name = "boxes"

    def __init__(self, margin: float = 0.2, skip_ground: bool = False) -> None:
        if not margin >= 0:
            raise FlowError(f"expected a margin >= 0, got {margin!r}")
        self.margin, self.skip_ground = margin, skip_ground

    def estimate(self, sweep: Sweep, following: Sweep) -> FlowEstimate:
        """Estimate flow from labelled boxes, see :class:`~equissl.scene_flow.base.FlowProvider`.

        Args:
            sweep: with boxes and tracks.
            following: with boxes and tracks.

        Raises:
            FlowError: without boxes or poses, without tracks, or without the ground mask that ``skip_ground`` needs.
        """
        flow = rigid_flow(sweep.points, motion_between(sweep, following, self.name))
        valid = np.ones(len(sweep), bool)
        boxes, later = self._tracked(sweep), self._tracked(following)
        successor = {track: index for index, track in enumerate(later.tracks)}
        movable = self._movable(sweep)
        for box, track in zip(boxes.boxes, boxes.tracks, strict=True):
            inside = points_in_box(sweep.points, box, (self.margin, self.margin, 0.0))
            inside = inside[movable[inside]]
            valid[inside] = track in successor
            if track in successor:
                motion = box_frame(later.boxes[successor[track]]) @ invert_pose(box_frame(box))
                flow[inside] = rigid_flow(sweep.points[inside], motion)
        return FlowEstimate(flow, valid)

    def _tracked(self, sweep: Sweep) -> Boxes:
        where = f"frame {sweep.frame or sweep.timestamp}"
        if sweep.boxes is None:
            raise FlowError(f"flow provider 'boxes' expected boxes in both sweeps, {where} has none")
        if len(set(sweep.boxes.tracks)) < len(sweep.boxes) or "" in sweep.boxes.tracks:
            raise FlowError(f"flow provider 'boxes' expected a track of its own for each box of {where}")
        return sweep.boxes

    def _movable(self, sweep: Sweep) -> np.ndarray:
        if not self.skip_ground:
            return np.ones(len(sweep), bool)
        if sweep.ground is None:
            raise FlowError(f"skip_ground expected a ground mask, frame {sweep.frame or sweep.timestamp} has none")
        return ~sweep.ground


def box_frame(box: np.ndarray) -> np.ndarray:
    """Compute the reference frame (4, 4) of a box (7,), origin at the centre, x along the heading, -> the sweep's."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    frame = np.eye(4)
    frame[:2, :2] = [[cos, -sin], [sin, cos]]
    frame[:3, 3] = box[:3]
    return frame
