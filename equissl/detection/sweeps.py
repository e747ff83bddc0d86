"""Labelled sweeps as a detector needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equissl.datasets.sweeps.config import SweepsData
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweeps
from equissl.detection.detector import Detector


def open_sweeps(
    detector: Detector, data: SweepsData, split: str | None, seed: int = 0, **options: Any
) -> LabelledSweeps:
    """Open the sweeps that a detector learns from, or those it is scored on.

    Args:
        detector: its classes, range and input columns decide what is read.
        data: section ``data`` of its run.
        split: ``train``, ``val``, or None for all.
        seed: of augmentation and of the choice of points.
        options: other arguments of `LabelledSweeps`, in place of those of ``data``.

    Raises:
        ValueError: an encoder of more columns than the sweeps have.
        LabelledSweepsError: a store without labelled sweeps, or without the velocities that the detector learns.
    """
    config = detector.encoder.config
    columns = 5 if data.sweeps > 1 else 4
    if config.in_channels > columns:
        got = f"{config.in_channels} with data.sweeps {data.sweeps}"
        raise ValueError(f"expected an encoder of at most {columns} columns, got {got}")
    arguments = {**data.settings(), "at_least": data.batch_size, "seed": seed, **options}
    return LabelledSweeps(split=split, classes=detector.classes, point_range=config.point_range, **arguments)


def open_unseen(
    detector: Detector, data: SweepsData, store: str | Path, split: str | None = "val", labelled: bool = True
) -> LabelledSweeps:
    """Open sweeps to score or run a detector on: not augmented, with all their labels.

    Args:
        detector: its classes, range and input columns decide what is read.
        data: section ``data`` of its run.
        store: drive store; the run's choice of drives holds for the run's own alone.
        split: ``train``, ``val``, or None for all.
        labelled: False also takes sweeps without labels.
    """
    same = str(Path(store).resolve()) == data.store
    drives: dict[str, Any] = {} if same else {"drives": None, "val_drives": None}
    every: dict[str, Any] = {"labels": 1.0, "augment": False, "at_least": 1, "labelled": labelled, "store": store}
    return open_sweeps(detector, data, split, **every, **drives)
