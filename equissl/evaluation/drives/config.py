"""Settings of an evaluation on pairs of sweeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class DriveEvaluateConfig:
    """Diagnostics of an encoder of sweeps.

    Attributes:
        pairs: pairs of sweeps of unseen drives (or of the end of the only one) that equivariance is measured on, spread
            evenly over them.
        sweeps: sweeps of training drives that the rotation probe learns from, spread evenly; as many of unseen drives
            score it.
        rotations: random rotations of each of these sweeps.
        bins: rotation classes, of equal width from -90° to 90°.
        angles: degrees about z at which the rotation error is measured.
        flow: ``stored``, the name of a flow provider, or ``auto``: stored flow where there is any, else that of boxes,
            else that of poses (a static world), else ``none``: all but the errors of flow.
        wedge: field of view in degrees of the crop whose shortcut is measured; the front camera's on KITTI is about 90.
        calibrate: sweeps of training drives from which batch norm's statistics are taken anew before measuring, of the
            trained encoder and the initial one alike. A short run's running statistics lag behind its weights, and
            those of an untrained encoder were never taken. 0 leaves both as they are.
        slowest: motion over ground, in metres between two sweeps, from which a point counts as moving.
        batch_size: clouds encoded at a time.
        maps: sweeps whose features are kept for the pictures of the report.
        device: ``auto`` takes a GPU where there is one.
        seed: of the rotations.
    """

    pairs: int = 48
    sweeps: int = 64
    rotations: int = 4
    bins: int = 10
    angles: tuple[float, ...] = (30.0, 60.0, 90.0)
    flow: str = "auto"
    wedge: float = 90.0
    calibrate: int = 16
    slowest: float = 0.05
    batch_size: int = 4
    maps: int = 2
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("pairs", "sweeps", "rotations", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.bins < 2 or not 0 < self.wedge <= 360 or self.calibrate < 0 or self.maps < 0:
            raise ValueError(f"expected at least 2 bins, a wedge in (0, 360], and counts of at least 0, got {self}")
