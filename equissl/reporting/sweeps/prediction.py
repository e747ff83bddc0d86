"""Detections of a trained detector, as files that other programs read, and as pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from equissl.datasets.drives.kitti.labels import write_kitti_results
from equissl.datasets.sweeps.config import SweepsData
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweep
from equissl.detection import Detections, Detector
from equissl.detection.sweeps import open_unseen
from equissl.evaluation.drives.encoding import spread
from equissl.evaluation.sweeps.detecting import detect_sweeps
from equissl.reporting.sweeps.pictures import draw_detections
from equissl.runs.checkpoint import load_method
from equissl.util.device import choose_device

RESULTS, PICTURES = "results", "pictures"


@dataclass(frozen=True)
class PredictReport:
    """Summary of a prediction: the folder, sweeps, detections, pictures and the format."""

    folder: Path
    frames: int
    detections: int
    pictures: int
    format: str
    seconds: float


def predict(
    run: str | Path,
    out: str | Path,
    store: str | Path | None = None,
    split: Literal["train", "val", "all"] = "val",
    calib: str | None = None,
    frames: int | None = None,
    pictures: int = 20,
    score: float | None = None,
    batch_size: int = 4,
    device: str = "auto",
    log: Callable[[str], None] = lambda message: None,
) -> PredictReport:
    """Run a detector over the sweeps of a store, labelled or not, and write its detections.

    ``OUT/results/DRIVE/FRAME.txt`` are result files of the KITTI object benchmark where the calibration is known, of
    which only what the picture shows is written; else ``.json`` with boxes, scores and labels in the LiDAR frame, and
    velocities (metres a second along its x and y) of a detector that tells them.
    ``OUT/pictures`` shows sweeps from above with the labels, where there are any, and the detections.

    Args:
        run: folder written by ``finetune``, or a checkpoint of one.
        out: folder to write.
        store: drive store; the one of the run where None.
        split: of the store.
        calib: folder of KITTI calibrations, named by frame or by drive.
        frames: at most so many, evenly spread; None takes all.
        pictures: how many of these to draw, evenly spread.
        score: leave out detections below this score.
        batch_size: clouds at a time.
        device: ``auto`` takes a GPU where there is one.
        log: called with one line per stage.

    Raises:
        ValueError: a run that is not a detector's, or a split that is none.
        IngestError: a calibration that is missing.
    """
    started, out = time.perf_counter(), Path(out)
    if split not in ("train", "val", "all"):
        raise ValueError(f"expected split train, val or all, got {split!r}")
    detector, training = load_method(run)
    if not isinstance(detector, Detector):
        raise ValueError(f"expected a run of a detector in {run}, got one of {type(detector).__name__}")
    section = cast(SweepsData, training.data)
    chosen = section.store if store is None else store
    data = open_unseen(detector, section, chosen, None if split == "all" else split, labelled=False)
    places = spread(len(data), frames or len(data))
    drawn = {places[index] for index in spread(len(places), pictures)}
    log(f"detecting in {len(places)} of {len(data)} sweeps")
    where, total = choose_device(device), 0
    found = detect_sweeps(detector.to(where).eval(), data, places, batch_size, where)
    for place, (frame, detections) in zip(places, found, strict=True):
        if score is not None:
            detections = detections.select(detections.scores >= score)
        total += _write(out / RESULTS, frame, detections, detector, calib)
        if place in drawn:
            _draw(out / PICTURES, frame, detections, detector)
    format = "json" if calib is None else "kitti"
    return PredictReport(out, len(places), total, len(drawn), format, time.perf_counter() - started)


def _write(folder: Path, frame: LabelledSweep, found: Detections, detector: Detector, calib: str | None) -> int:
    names = [detector.classes[label].name for label in found.labels.tolist()]
    path = folder / frame.id
    if calib is not None:
        drive, _, name = frame.id.rpartition("/")
        files = [Path(calib) / f"{stem}.txt" for stem in (name, drive)]
        file = next((file for file in files if file.is_file()), files[0])
        boxes, scores = found.boxes.numpy(), found.scores.numpy()
        return write_kitti_results(path.with_name(f"{path.name}.txt"), boxes, scores, names, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"boxes": found.boxes.tolist(), "scores": found.scores.tolist(), "labels": names}
    if found.velocities is not None:
        content["velocities"] = found.velocities.tolist()
    path.with_name(f"{path.name}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return len(found)


def _draw(folder: Path, frame: LabelledSweep, found: Detections, detector: Detector) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = draw_detections(frame, found, detector.encoder.config.point_range)
    picture.save(folder / f"{frame.id.replace('/', '_')}.png")
