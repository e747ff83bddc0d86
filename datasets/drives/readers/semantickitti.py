"""SemanticKITTI (Behley et al., ICCV 2019): KITTI odometry with loop-closed poses and a class for every point."""

from __future__ import annotations

from pathlib import Path

from equissl.datasets.drives.readers.kitti_odometry import KittiOdometry


class SemanticKitti(KittiOdometry):
    """Reader of the odometry layout, with the poses of ``sequences/NN/poses.txt`` first."""

    format = "semantickitti"

    def _pose_files(self, name: str) -> list[Path]:
        return super()._pose_files(name)[::-1]
