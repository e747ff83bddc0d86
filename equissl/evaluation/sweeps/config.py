"""Settings of an evaluation of a detector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DetectionEvaluateConfig:
    """Average precision on sweeps that the detector was not trained on.

    Attributes:
        frames: at most so many of the split, evenly spread; None takes all.
        min_points: labels with fewer points inside are passed over, found or missed.
        kitti: folder of the KITTI object benchmark with ``calib`` and ``label_2``; average precision by the
            benchmark's own rules is then given too, from these labels.
        nuscenes: also the metric of nuScenes, for a detector of its classes. How far away a class counts is measured
            from the vehicle's own frame where the store has it (nuScenes: above the rear axle, as the benchmark does),
            else from the sensor.
        batch_size: clouds at a time.
        device: ``auto`` takes a GPU where there is one.
    """

    frames: int | None = None
    min_points: int = 1
    kitti: str | None = None
    nuscenes: bool = False
    batch_size: int = 4
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.min_points < 0 or (self.frames is not None and self.frames < 1):
            raise ValueError(f"expected frames and batch_size of at least 1 and min_points of at least 0, got {self}")
