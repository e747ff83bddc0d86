"""The benchmark of the detection metrics runs and tells what it measured."""

from __future__ import annotations

import pytest
import torch

from equissl.bench.detection_metrics import bench_detection_metrics, synthetic_sweeps
from equissl.metrics.detection import KittiAP


def test_metrics_are_measured(lines: list[str]) -> None:
    result = bench_detection_metrics(frames=3, boxes=5)
    assert len(lines) == 3
    for name in ("kitti", "range", "nuscenes"):
        assert result[f"{name}/update_s"] > 0
        assert result[f"{name}/compute_s"] > 0
        assert result[f"{name}/peak_mib"] >= result["before_mib"] > 0


def test_frames_are_the_same_every_time_and_neither_easy_nor_hopeless() -> None:
    metric = KittiAP()
    for (preds, target), (again, _) in zip(synthetic_sweeps(60, 20), synthetic_sweeps(60, 20), strict=True):
        assert torch.equal(preds.boxes, again.boxes)
        metric.update(preds, target)
    scores = metric.compute()
    assert 5 < scores["detection/mean/3d_r40_hard"] < 80
    assert scores["detection/mean/bev_r40_hard_loose"] > scores["detection/mean/3d_r40_hard"]


def test_wrong_requests() -> None:
    with pytest.raises(ValueError, match="unknown metrics waymo; expected some of kitti, range, nuscenes"):
        bench_detection_metrics(frames=1, metrics="kitti,waymo")
    with pytest.raises(ValueError, match="at least one frame and box, got 0 and 50"):
        bench_detection_metrics(frames=0)
