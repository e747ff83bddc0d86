"""Kind ``sweeps``: single labelled sweeps, for detection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from equissl.datasets.drives.store.store import is_drive_store
from equissl.datasets.sweeps.config import SweepsData
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweeps, SweepBatch
from equissl.detection import Detector
from equissl.detection.sweeps import open_sweeps
from equissl.encoders.calibrate import calibrate
from equissl.evaluation.sweeps.config import DetectionEvaluateConfig
from equissl.evaluation.sweeps.evaluate import evaluate_detection
from equissl.kinds.kind import Kind
from equissl.methods import Method
from equissl.reporting.sweeps.page import page
from equissl.reporting.sweeps.table import baselines, columns
from equissl.runs.config import PretrainConfig
from equissl.util.ranks import process_rank
from equissl.weights.clouds import cloud_card, export_for_openpcdet, no_library_backbone

LABELS_FILE = "labels.txt"
SETTLING, SETTLING_BATCH = 16, 4  # sweeps that statistics are taken from
logger = logging.getLogger(__name__)


class Sweeps(Kind):
    """Single sweeps with labelled boxes."""

    name, unit = "sweeps", "sweeps"
    batch, data, options = SweepBatch, SweepsData, DetectionEvaluateConfig
    source = "a drive store with labels, which `equissl ingest` writes"
    evaluate = staticmethod(evaluate_detection)
    columns, baselines, page = staticmethod(columns), staticmethod(baselines), staticmethod(page)
    card, library_backbone = staticmethod(cloud_card), staticmethod(no_library_backbone)

    def recognises(self, path: Path) -> bool:
        return is_drive_store(path)

    def open(self, config: PretrainConfig, method: Method, split: str | None = "train") -> LabelledSweeps:
        data, detector = cast(SweepsData, config.data), cast(Detector, method)
        sweeps = open_sweeps(detector, data, split, config.seed if data.seed is None else data.seed)
        if detector.dense_head.velocity:
            sweeps.require_velocities()
        return sweeps

    def prepare(self, config: PretrainConfig, method: Method, dataset: Any, out: Path, fresh: bool) -> dict[str, float]:
        """Write the ids of the labelled sweeps, and cut out the objects to paste, before the workers start.

        A frozen backbone that nothing was handed to takes these sweeps' statistics instead of those of initialisation,
        under which its features fade from layer to layer.

        Args:
            config: of the run.
            method: the detector.
            dataset: labelled sweeps of training.
            out: run folder.
            fresh: False where a run continues, or starts from given weights.
        """
        logger.info("%s: labels of %d of %d sweeps", out, len(dataset.ids), dataset.of)
        if process_rank() == 0:
            dataset.write_ids(out / LABELS_FILE)
        dataset.prepare()
        if fresh and cast(Detector, method).frozen:
            count = min(SETTLING, len(dataset.entries))
            clouds = [torch.from_numpy(dataset.read(place).points) for place in range(count)]
            calibrate(method.encoder, clouds, SETTLING_BATCH)
        return {}

    def export_formats(self) -> Mapping[str, Callable[[Any, Path], Any]]:
        return {"openpcdet": export_for_openpcdet}


SWEEPS = Sweeps()
