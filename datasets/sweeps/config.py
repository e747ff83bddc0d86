"""Section ``data`` of detectors."""

from __future__ import annotations

from dataclasses import dataclass

from equissl.datasets.config import DataConfig


@dataclass(kw_only=True)
class SweepsData(DataConfig):
    """Labelled sweeps of a drive store, see `LabelledSweeps`.

    Attributes:
        store: drive store (.h5).
        labels: share of the training sweeps whose labels are used, or a file of their ids, one a line.
        label_seed: seed of the share.
        max_points: of a cloud, a random choice of a larger one; None takes all.
        crop: keep only points within this many degrees in front of the sensor, for labels that end where the camera's
            view does; None takes the whole turn.
        min_points: leave boxes with fewer points inside aside.
        sweeps: join so many sweeps by their poses; the encoder's fifth column is then the points' age.
        rotation, scale, flip, flip_x: augmentation, see `TransformRanges`.
        paste: ground-truth sampling, from the labelled sweeps alone; the classes say how many objects.
        augment: False leaves out all of it.
        drives: only these drives; None takes all.
        val_fraction: share of the drives, or of the only drive, that is held out, where the data set has no lists.
        val_drives: hold out these drives instead.
    """

    store: str
    labels: float | str = 1.0
    label_seed: int = 0
    max_points: int | None = None
    crop: float | None = None
    min_points: int = 1
    sweeps: int = 1
    rotation: tuple[float, float] = (-0.7853981633974483, 0.7853981633974483)
    scale: tuple[float, float] = (0.95, 1.05)
    flip: float = 0.5
    flip_x: float = 0.0
    paste: bool = True
    augment: bool = True
    drives: list[str] | None = None
    val_fraction: float = 0.2
    val_drives: list[str] | None = None
