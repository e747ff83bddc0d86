"""Examples of the sweeps that detectors were scored on, with their detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import yaml

from equissl.datasets.sweeps.config import SweepsData
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweep
from equissl.detection.sweeps import open_unseen
from equissl.evaluation.sweeps.detecting import DETECTIONS, read_detections
from equissl.reporting.blocks import Picture, data_uri
from equissl.reporting.runs import Run
from equissl.reporting.sweeps.pictures import draw_detections
from equissl.runs.configfile import build_method, resolve_config

SHOWN = 3  # sweeps of each detector


def detection_pictures(run: Run, store: str | Path | None = None) -> list[Picture]:
    """Draw some sweeps that a detector was scored on; none where the run kept no detections.

    Args:
        run: of a detector.
        store: that holds the sweeps; the run's evaluation store where None.
    """
    file = run.file(DETECTIONS)
    if file is None:
        return []
    found = read_detections(file)
    count = min(SHOWN, len(found))
    chosen = [list(found)[i * len(found) // count] for i in range(count)]
    return [
        Picture(data_uri(draw_detections(frame, found[frame.id], point_range)), f"{run.name}: {frame.id}")
        for frame, point_range in _examples(run, store, chosen)
    ]


def _examples(run: Run, store: str | Path | None, ids: Sequence[str]) -> list[tuple[LabelledSweep, Sequence[float]]]:
    """Return the sweeps of these names that the store has, and the detector's range on the ground."""
    training = resolve_config(yaml.safe_load(run.config))
    detector, source = build_method(training.method), store if store is not None else run.results["store"]
    data = open_unseen(detector, cast(SweepsData, training.data), source)
    place = {name: index for index, name in enumerate(data.ids)}
    return [(data.read(place[name]), detector.encoder.config.point_range) for name in ids if name in place]
