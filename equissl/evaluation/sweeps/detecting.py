"""Detections of a trained detector on sweeps of a store, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equissl.datasets.sweeps.labelled_sweeps import LabelledSweep, LabelledSweeps
from equissl.detection import Detections, Detector
from equissl.util.files import atomic_path
from equissl.util.progress import staged

DETECTIONS = "detections.npz"


def detect_sweeps(
    detector: Detector, frames: LabelledSweeps, places: Sequence[int], batch_size: int, device: torch.device
) -> Iterator[tuple[LabelledSweep, Detections]]:
    """Yield each sweep with its detections, on the CPU.

    Args:
        detector: in eval mode on ``device``.
        frames: to read from.
        places: of the frames.
        batch_size: clouds at a time.
        device: to compute on.
    """
    for start in staged(range(0, len(places), batch_size), "detecting", "batches"):
        batch = [frames.read(place) for place in places[start : start + batch_size]]
        with torch.inference_mode():
            found = detector.detect([torch.from_numpy(frame.points).to(device) for frame in batch])
        yield from ((frame, detections.to("cpu")) for frame, detections in zip(batch, found, strict=True))


def write_detections(path: Path, ids: Sequence[str], found: Sequence[Detections], names: Sequence[str]) -> None:
    """Write ``ids``, ``counts`` (F,), ``names`` (C,), and ``boxes``, ``scores``, ``labels`` of all sweeps to one file.

    And their ``velocities``, of a detector that tells them.

    Args:
        path: of the file (.npz).
        ids: of the F sweeps.
        found: detections of each sweep.
        names: of the C classes.
    """
    velocities = [detections.velocities.numpy() for detections in found if detections.velocities is not None]
    moving: dict[str, Any] = {"velocities": np.concatenate(velocities)} if velocities else {}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            ids=np.array(ids),
            names=np.array(names),
            counts=np.array([len(detections) for detections in found]),
            boxes=np.concatenate([np.zeros((0, 7), np.float32), *(d.boxes.numpy() for d in found)]),
            scores=np.concatenate([np.zeros(0, np.float32), *(d.scores.numpy() for d in found)]),
            labels=np.concatenate([np.zeros(0, np.int64), *(d.labels.numpy() for d in found)]),
            **moving,
        )


def read_detections(path: Path) -> dict[str, Detections]:
    """Read detections by sweep."""
    with np.load(path) as arrays:
        ends = arrays["counts"].cumsum()[:-1]
        names = [name for name in ("boxes", "scores", "labels", "velocities") if name in arrays]
        parts = [np.split(arrays[name], ends) for name in names]
        return {
            str(name): Detections(*(torch.from_numpy(part) for part in columns))
            for name, *columns in zip(arrays["ids"], *parts, strict=True)
        }
