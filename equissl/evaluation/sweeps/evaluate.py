"""Evaluation of a detector."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.drives.box_points import count_points_in_boxes
from equissl.datasets.drives.kitti.labels import KittiCamera, read_kitti_labels
from equissl.datasets.drives.sweep import Boxes, level_vehicle
from equissl.datasets.sweeps.clean_boxes import LabelCounts
from equissl.datasets.sweeps.config import SweepsData
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweep, LabelledSweeps
from equissl.datasets.sweeps.object_classes import class_indices, neighbour_indices
from equissl.detection import Detections, Detector
from equissl.detection.sweeps import open_unseen
from equissl.evaluation.diagnostics import collapse_scores
from equissl.evaluation.drives.encoding import batches, spread
from equissl.evaluation.initial import starting_point
from equissl.evaluation.sweeps.config import DetectionEvaluateConfig
from equissl.evaluation.sweeps.detecting import DETECTIONS, detect_sweeps, write_detections
from equissl.geometry.rigid import transform_points
from equissl.metrics.detection import (
    DetectedBoxes,
    KittiAP,
    LabelledBoxes,
    NuScenesDetection,
    RangeAP,
    kitti_labels,
)
from equissl.runs.checkpoint import read_saved
from equissl.runs.config import PretrainConfig
from equissl.runs.results import flat_config, result_folder, write_results
from equissl.util.device import choose_device
from equissl.util.progress import Log, staged

COLLAPSE_SWEEPS = 64  # whose representations RankMe is measured of, at most
BoxRows = TypeVar("BoxRows", DetectedBoxes, LabelledBoxes)


def evaluate_detection(
    run_dir: str | Path,
    method: Detector,
    training: PretrainConfig,
    options: DetectionEvaluateConfig | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Average precision of a detector on the held-out frames; writes the results and ``detections.npz``.

    ``detection/CLASS/3d_ap`` and so on are those of `RangeAP`: all labels in range with enough points count, neighbours
    of a class are passed over. With ``config.kitti`` there is also ``kitti/CLASS/3d_r40_moderate``, with
    ``config.nuscenes`` ``nuscenes/mean/ap``; of ``nuscenes/sweeps_ranged_from_sensor`` frames the store does not say
    where the vehicle's own frame is, and ranges are measured from the sensor.

    Args:
        run_dir: folder written by ``finetune``.
        method, training: as `equissl.training.load_method` gives them.
        options: what to measure.
        store: drive store to evaluate on; the one of the run where None.
        log: called with one line per stage.

    Returns:
        the flat results, as written. A value is None where there was nothing to find.

    Raises:
        LabelledSweepsError: a store without labelled sweeps that were held out.
        IngestError: ``config.kitti`` lacks a frame.
    """
    run_dir, config, started = Path(run_dir), options or DetectionEvaluateConfig(), time.perf_counter()
    device = choose_device(config.device)
    data = cast(SweepsData, training.data)
    path = Path(data.store if store is None else store)
    frames = open_unseen(method, data, path)
    places = spread(len(frames), config.frames or len(frames))
    log(f"detecting in {len(places)} of {len(frames)} held-out frames")
    detector = method.to(device).eval()
    metrics = _Metrics(detector, config)
    counts, ids, found = LabelCounts(), [], []
    for frame, detections in detect_sweeps(detector, frames, places, config.batch_size, device):
        metrics.update(frame, detections)
        counts += frame.objects.counts
        ids.append(frame.id)
        found.append(detections)
    results = metrics.compute() | _meta(run_dir, detector, training, path, config)
    results |= collapse_of_sweeps(detector, frames, places, config.batch_size, device)
    results |= {f"labels/{name}": value for name, value in asdict(counts).items()}
    results |= {"val_sweeps": len(places), "detections": sum(map(len, found))}
    results["seconds"] = round(time.perf_counter() - started, 2)
    names = [kind.name for kind in detector.classes]
    write_detections(result_folder(run_dir, results) / DETECTIONS, ids, found, names)
    write_results(run_dir, results)
    return results


def collapse_of_sweeps(
    detector: Detector, frames: LabelledSweeps, places: Sequence[int], batch_size: int, device: torch.device
) -> dict[str, Any]:
    """Compute RankMe and mean deviation of the backbone's representation of sweeps; empty for fewer than two.

    Args:
        detector: in eval mode on ``device``.
        frames: to read from.
        places: of the sweeps; some of many are taken.
        batch_size: clouds at a time.
        device: to compute on.
    """
    chosen = [places[i] for i in spread(len(places), COLLAPSE_SWEEPS)]
    found = []
    for group in staged(list(batches(chosen, batch_size)), "representations", "batches"):
        clouds = [torch.from_numpy(frames.read(place).points).to(device) for place in group]
        with torch.inference_mode():
            found.append(detector.features(clouds)["all"].float().cpu())
    return collapse_scores(torch.cat(found)[:, None], "all") if len(chosen) > 1 else {}


class _Metrics:
    """All metrics asked for, updated sweep by sweep."""

    def __init__(self, detector: Detector, config: DetectionEvaluateConfig) -> None:
        self.classes, self.names = detector.classes, [kind.name for kind in detector.classes]
        overlaps = {kind.name: kind.overlap for kind in detector.classes}
        limits = detector.encoder.config.point_range
        self.plain = RangeAP(overlaps, fewest_points=config.min_points, limits=limits)
        self.kitti = KittiAP(self.names, prefix="kitti") if config.kitti is not None else None
        self.folder = Path(config.kitti) if config.kitti is not None else Path()
        self.nuscenes = NuScenesDetection(self.names, prefix="nuscenes") if config.nuscenes else None
        self.from_sensor = 0

    def update(self, frame: LabelledSweep, found: Detections) -> None:
        preds = DetectedBoxes(found.boxes, found.scores, found.labels, velocity=found.velocities)
        target = self._target(frame)
        self.plain.update(preds, target)
        if self.nuscenes is not None:
            self._update_nuscenes(self.nuscenes, frame, preds, target)
        if self.kitti is not None:
            self.kitti.update(*self._kitti_frame(frame.id.rpartition("/")[2], found))

    def _update_nuscenes(
        self, metric: NuScenesDetection, frame: LabelledSweep, preds: DetectedBoxes, target: LabelledBoxes
    ) -> None:
        """Update as seen from the vehicle's own place, from which the benchmark measures how far away a box is."""
        if frame.pose is None or frame.vehicle_lidar is None:
            self.from_sensor += 1
            metric.update(preds, target)
            return
        level = torch.from_numpy(level_vehicle(frame.pose, frame.vehicle_lidar))
        metric.update(_moved(preds, level), _moved(target, level))

    def compute(self) -> dict[str, Any]:
        found: dict[str, float] = {}
        for metric in (self.plain, self.kitti, self.nuscenes):
            found |= {} if metric is None else metric.compute()
        if self.nuscenes is not None:
            found["nuscenes/sweeps_ranged_from_sensor"] = self.from_sensor
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def _target(self, frame: LabelledSweep) -> LabelledBoxes:
        boxes = frame.boxes if frame.boxes is not None else Boxes.empty()
        own, near = class_indices(boxes.names, self.classes), neighbour_indices(boxes.names, self.classes)
        # of boxes that are none, points cannot be counted; the metric leaves them out
        values = np.where(np.isfinite(boxes.boxes), boxes.boxes, 0.0)
        return LabelledBoxes(
            torch.from_numpy(boxes.boxes),
            torch.from_numpy(np.where(own >= 0, own, near)),
            ignore=torch.from_numpy(own < 0),
            num_points=torch.from_numpy(count_points_in_boxes(frame.points[:, :3], values)),
            velocity=None if boxes.velocities is None else torch.from_numpy(boxes.velocities),
        )

    def _kitti_frame(self, name: str, found: Detections) -> tuple[DetectedBoxes, LabelledBoxes]:
        """Return detections and the benchmark's own labels, boxes upright in the camera's frame."""
        calib = self.folder / "calib" / f"{name}.txt"
        camera, labels = KittiCamera.read(calib), read_kitti_labels(self.folder / "label_2" / f"{name}.txt", calib)
        boxes = found.boxes.double().numpy()
        image = camera.image_boxes(boxes)
        shown = torch.from_numpy(image[:, 3] > 0)  # the benchmark knows nothing of what its picture does not show
        preds = DetectedBoxes(
            torch.from_numpy(camera.rectified(boxes))[shown], found.scores[shown], found.labels[shown],
            height2d=torch.from_numpy(image[:, 3] - image[:, 1])[shown],
        )  # fmt: skip
        own, ignore = kitti_labels(labels.names, self.names)
        there = (labels.height2d, labels.occlusion, labels.truncation)
        columns = (torch.from_numpy(np.asarray(values)) for values in there)
        return preds, LabelledBoxes(torch.from_numpy(camera.rectified(labels.boxes)), own, ignore, *columns)


def _moved(boxes: BoxRows, matrix: Tensor) -> BoxRows:
    """Move the centres of boxes by (4, 4)."""
    wide = boxes.boxes.double()
    return replace(boxes, boxes=torch.cat([transform_points(matrix, wide[:, :3]), wide[:, 3:]], dim=1))


def _meta(
    run_dir: Path, detector: Detector, training: PretrainConfig, store: Path, config: DetectionEvaluateConfig
) -> dict[str, Any]:
    ours = read_saved(run_dir)
    listed = run_dir / "labels.txt"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    start, data = starting_point(training), cast(SweepsData, training.data)
    return {
        "kind": training.data.kind,
        "method": type(detector).__name__,
        "label": f"{type(detector).__name__}, {start}{' (frozen)' if detector.frozen else ''}",
        "start": start,
        "classes": [kind.name for kind in detector.classes],
        "run": run_dir.name,
        "store": str(store),
        "seed": training.seed,
        "steps": ours["step"],
        "sweeps_seen": ours["step"] * training.trainer.accumulate * training.data.batch_size,
        "labels": data.labels,
        "label_seed": data.label_seed,
        "labelled_sweeps": sum(not line.startswith("#") for line in lines) or None,
        **flat_config(asdict(config)),
    }
