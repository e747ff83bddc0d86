"""Kind ``drives``: pairs of sweeps of a recorded or simulated drive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from equissl.datasets.drives.config import DrivesData
from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.datasets.drives.pairs.dataset import SweepPairs
from equissl.datasets.drives.store.store import is_drive_store
from equissl.evaluation.drives.config import DriveEvaluateConfig
from equissl.evaluation.drives.evaluate import evaluate_drives
from equissl.kinds.kind import Kind
from equissl.methods import Method
from equissl.reporting.drives.page import page
from equissl.reporting.drives.table import baselines, columns
from equissl.runs.config import PretrainConfig
from equissl.weights.clouds import cloud_card, export_for_openpcdet, no_library_backbone


class Drives(Kind):
    """Pairs of sweeps of one drive, with ego motion and scene flow."""

    name, unit = "drives", "sweeps"
    batch, data, options = ScenePair, DrivesData, DriveEvaluateConfig
    source = "a drive store, which `equissl ingest` writes"
    evaluate = staticmethod(evaluate_drives)
    columns, baselines, page = staticmethod(columns), staticmethod(baselines), staticmethod(page)
    card, library_backbone = staticmethod(cloud_card), staticmethod(no_library_backbone)

    def recognises(self, path: Path) -> bool:
        return is_drive_store(path)

    def open(self, config: PretrainConfig, method: Method, split: str | None = "train") -> SweepPairs:
        seed = config.seed if config.data.seed is None else config.data.seed
        return SweepPairs(split=split, seed=seed, **config.data.settings())

    def export_formats(self) -> Mapping[str, Callable[[Any, Path], Any]]:
        return {"openpcdet": export_for_openpcdet}


DRIVES = Drives()
