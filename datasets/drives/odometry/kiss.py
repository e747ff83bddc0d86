"""Odometry by KISS-ICP (Vizzo et al., RA-L 2023), an extra: ``pip install 'equissl[kiss]'``."""

from __future__ import annotations

import numpy as np

from equissl.datasets.drives.odometry.base import Odometry
from equissl.datasets.drives.odometry.icp import NEAREST
from equissl.datasets.drives.pairs.finding import FASTEST
from equissl.datasets.drives.rigid import check_pose


class KissIcp(Odometry):
    """Poses by registering each sweep to a map of those before; with its own settings, and sweeps as they are.

    It assumes that the car stands or drives slowly at the first sweep.
    """

    def __init__(self) -> None:
        try:
            from kiss_icp.config import KISSConfig
            from kiss_icp.kiss_icp import KissICP
        except ImportError as error:
            raise ImportError("odometry kiss is KISS-ICP's: install it (pip install 'equissl[kiss]')") from error
        config = KISSConfig()
        config.data.deskew, config.data.min_range = False, NEAREST
        config.mapping.voxel_size = config.data.max_range / 100
        self.pipeline = KissICP(config)
        self.last: tuple[np.ndarray, float] | None = None

    def place(self, points: np.ndarray, seconds: float) -> np.ndarray | None:
        """Estimate the pose of a sweep, see :class:`Odometry`.

        Args:
            points: (N, 3).
            seconds: time of the sweep.
        """
        self.pipeline.register_frame(points.astype(np.float64), np.zeros(0))
        pose = np.array(self.pipeline.last_pose)
        if check_pose(pose) or (self.last is not None and self._too_fast(pose, seconds)):
            return None
        self.last = pose, seconds
        return pose

    def _too_fast(self, pose: np.ndarray, seconds: float) -> bool:
        assert self.last is not None
        return bool(np.linalg.norm(pose[:3, 3] - self.last[0][:3, 3]) > FASTEST * (seconds - self.last[1]))
