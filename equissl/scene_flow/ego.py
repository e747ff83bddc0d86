"""Scene flow of a world in which only the sensor moves."""

from __future__ import annotations

import numpy as np

from equissl.datasets.drives.sweep import Sweep, rigid_flow
from equissl.scene_flow.base import FlowEstimate, motion_between


class EgoFlow:
    """Flow ``T p - p`` with T the change of the sensor's reference frame; needs the poses of both sweeps."""

    name = "ego"

    def estimate(self, sweep: Sweep, following: Sweep) -> FlowEstimate:
        """Estimate flow from ego motion, see :class:`~equissl.scene_flow.base.FlowProvider`.

        Args:
            sweep: with a pose.
            following: with a pose.
        """
        motion = motion_between(sweep, following, self.name)
        return FlowEstimate(rigid_flow(sweep.points, motion), np.ones(len(sweep), bool))
