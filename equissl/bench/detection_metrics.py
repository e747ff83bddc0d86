"""Benchmark of the detection metrics on a synthetic validation set of KITTI's size: seconds and memory."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from equissl.metrics.detection import DetectedBoxes, KittiAP, LabelledBoxes, NuScenesDetection, RangeAP
from equissl.metrics.detection.kitti import CLASSES, OVERLAPS
from equissl.metrics.detection.metric import DetectionMetric

KIBI = 1024
SIZES = ((3.9, 1.6, 1.56), (0.8, 0.6, 1.73), (1.76, 0.6, 1.73))
logger = logging.getLogger(__name__)


def bench_detection_metrics(
    frames: int = 3769,
    boxes: int = 50,
    metrics: str = "kitti,range,nuscenes",
) -> dict[str, float]:
    """Measure the evaluation of predictions on sweeps of random boxes, as many predicted as labelled.

    Seven in ten predictions are near a label, the others anywhere; scores are random. KITTI's metric answers for three
    classes, three difficulties, two overlaps, from above and in 3D.

    Args:
        frames: how many; KITTI's validation set has 3,769.
        boxes: labels, and predictions, of each frame.
        metrics: names separated by commas.

    Returns:
        for each metric seconds of the updates and of the answer, and the largest memory of the process so far in MiB.

    Raises:
        ValueError: for an unknown metric, or numbers below 1.
    """
    if min(frames, boxes) < 1:
        raise ValueError(f"expected at least one frame and box, got {frames} and {boxes}")
    known: dict[str, DetectionMetric] = {
        "kitti": KittiAP(),
        "range": RangeAP({name: OVERLAPS[name][0] for name in CLASSES}),
        "nuscenes": NuScenesDetection(("car", "pedestrian", "bicycle")),
    }
    names = metrics.split(",")
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"unknown metrics {', '.join(unknown)}; expected some of {', '.join(known)}")
    result: dict[str, float] = {"frames": frames, "boxes": boxes, "before_mib": _peak()}
    for name in names:
        result |= _measure(name, known[name], frames, boxes)
    return result


def _measure(name: str, metric: DetectionMetric, frames: int, boxes: int) -> dict[str, float]:
    updating = 0.0
    for preds, target in synthetic_sweeps(frames, boxes):
        start = time.perf_counter()
        metric.update(preds, target)
        updating += time.perf_counter() - start
    start = time.perf_counter()
    metric.compute()
    computing = time.perf_counter() - start
    logger.info(f"{name:<10} update {updating:7.2f} s   compute {computing:7.2f} s   peak {_peak():7.0f} MiB")
    return {f"{name}/update_s": updating, f"{name}/compute_s": computing, f"{name}/peak_mib": _peak()}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIBI


def synthetic_sweeps(frames: int, boxes: int) -> Iterator[tuple[DetectedBoxes, LabelledBoxes]]:
    """Yield detections and labels of one sweep after the other, the same on every machine.

    Args:
        frames: number of sweeps.
        boxes: labelled boxes in each.
    """
    generator = torch.Generator().manual_seed(0)
    for _ in range(frames):
        yield _frame(boxes, generator)


def _frame(boxes: int, generator: torch.Generator) -> tuple[DetectedBoxes, LabelledBoxes]:
    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(boxes, generator=generator)

    labels = torch.randint(len(SIZES), (boxes,), generator=generator)
    place = torch.stack([uniform(0, 70), uniform(-40, 40), uniform(-1.5, -0.5)], dim=1)
    truth = torch.cat([place, torch.tensor(SIZES)[labels], uniform(-3.14, 3.14)[:, None]], dim=1)
    noise = torch.randn(boxes, 7, generator=generator) * torch.tensor([0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.1])
    elsewhere = uniform(0, 1) < 0.3
    found = truth + noise
    found[elsewhere, :2] = torch.stack([uniform(0, 70), uniform(-40, 40)], dim=1)[elsewhere]
    target = LabelledBoxes(
        truth,
        labels,
        ignore=uniform(0, 1) < 0.1,
        height2d=uniform(15, 150),
        occlusion=uniform(0, 3).floor(),
        truncation=uniform(0, 0.3),
        num_points=uniform(0, 200).floor(),
    )
    return DetectedBoxes(found, uniform(0, 1), labels, height2d=uniform(15, 150)), target
