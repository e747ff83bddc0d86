"""Section ``data`` of runs on pairs of sweeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from equissl.datasets.config import DataConfig


@dataclass(kw_only=True)
class DrivesData(DataConfig):
    """Pairs of sweeps of a drive store, see `SweepPairs`.

    Attributes:
        store: drive store (.h5).
        gap: turns of the sensor between the two sweeps.
        flow: ``stored``, ``none``, or the provider that computes it while loading: ego, icp_cluster, nsfp, file, boxes.
        flow_options: of the provider; ``{drive}`` in a text becomes the name of the drive.
        max_points: of a cloud, a random choice of a larger one; None takes all.
        crop: keep only points within this many degrees in front of the sensor; None takes the whole turn. A wedge shows
            the angle it is turned by, which spoils learning from rotations.
        drives: only these drives; None takes all.
        val_fraction: share of the drives, or of the only drive, that is held out.
        val_drives: hold out these drives instead.
    """

    store: str
    gap: int = 1
    flow: str = "stored"
    flow_options: dict[str, Any] = field(default_factory=dict)
    max_points: int | None = None
    crop: float | None = None
    drives: list[str] | None = None
    val_fraction: float = 0.2
    val_drives: list[str] | None = None
