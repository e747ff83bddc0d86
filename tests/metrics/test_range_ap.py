"""Average precision by distance and points: closed forms, and the same once more in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kitti_oracle import overlap
from test_detection_boxes import random_columns

from equissl.metrics.detection import DetectedBoxes, LabelledBoxes, RangeAP

CAR = torch.tensor([[10.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.3]])
ZERO = torch.tensor([0])


def test_one_label_is_enough_for_a_hundred() -> None:
    metric = RangeAP({"Car": 0.7})
    metric.update(
        DetectedBoxes(CAR, torch.tensor([0.2]), ZERO), LabelledBoxes(CAR, ZERO, num_points=torch.tensor([12]))
    )
    scores = metric.compute()
    for name in ("3d_ap", "3d_aph", "bev_ap", "3d_recall", "3d_ap_0_20m", "3d_ap_10_49points"):
        assert scores[f"detection/car/{name}"] == 100.0
        assert scores[f"detection/mean/{name}"] == 100.0
    for name in ("3d_ap_20_40m", "3d_ap_40m_up", "3d_ap_1_9points", "3d_ap_50points_up"):
        assert math.isnan(scores[f"detection/car/{name}"])
    assert scores["detection/car/labels"] == scores["detection/car/labels_0_20m"] == 1
    assert scores["detection/car/labels_40m_up"] == 0


def test_wrong_one_after_each_right_one() -> None:
    metric, count = RangeAP({"Car": 0.7}, distances=(), points=()), 30
    for index in range(count):
        boxes, scores = torch.cat([CAR, CAR + 20]), torch.tensor([1 - index / 100, 1 - index / 100 - 0.005])
        metric.update(DetectedBoxes(boxes, scores, torch.tensor([0, 0])), LabelledBoxes(CAR, ZERO))
    expected = np.mean([k / (2 * k - 1) for k in range(1, count + 1)])
    assert metric.compute()["detection/car/3d_ap"] == pytest.approx(100 * expected)


def test_heading_accuracy_is_linear_in_the_angle() -> None:
    metric = RangeAP({"Car": 0.7}, points=())
    for turned in (0.0, math.pi, 2 * math.pi, -math.pi):
        found = CAR + torch.tensor([0, 0, 0, 0, 0, 0, turned])
        metric.update(DetectedBoxes(found, torch.tensor([0.5]), ZERO), LabelledBoxes(CAR, ZERO))
    scores = metric.compute()
    assert scores["detection/car/3d_ap"] == 100.0
    # the running sums are 1, 1, 2, 2 of 1, 2, 3, 4; only the first and third add recall
    assert scores["detection/car/3d_aph"] == pytest.approx(100 * (1 + 2 / 3) / 4, abs=1e-4)


def brute_force(frames: list[dict], number: int, least: float, low: float, high: float, limit: float) -> float:
    """Frame by frame, prediction by prediction; area under the curve by adding up steps."""
    events, total = [], 0
    for frame in frames:
        preds, target = frame["preds"], frame["target"]
        distance = np.hypot(*target["boxes"][:, :2].T)
        inside = (np.abs(target["boxes"][:, :2]) < limit).all(axis=1)
        counted = (distance >= low) & (distance < high) & inside & ~target["ignore"] & (target["num_points"] >= 1)
        own = target["labels"] == number
        total += int((counted & own).sum())
        taken: set[int] = set()
        for row in np.argsort(-preds["scores"], kind="stable"):
            if preds["labels"][row] != number:
                continue
            box, score = preds["boxes"][row], preds["scores"][row]
            shares = [overlap(box, other, "bev") for other in target["boxes"]]
            free = [i for i in np.flatnonzero(own) if i not in taken and shares[i] > least]
            real = [i for i in free if counted[i]]
            if free:
                best = max(real or free, key=lambda i: shares[i])
                taken.add(best)
                if counted[best]:
                    events.append((score, 1))
            elif low <= np.hypot(*box[:2]) < high and (np.abs(box[:2]) < limit).all():
                events.append((score, 0))
    hits = [hit for _, hit in sorted(events, key=lambda event: -event[0])]
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    return 100 * sum(max(precision[i:]) for i, hit in enumerate(hits) if hit) / total


def test_equals_plain_loops() -> None:
    random = np.random.default_rng(8)
    frames = [random_columns(random) for _ in range(40)]
    metric = RangeAP({"Car": 0.5, "Cyclist": 0.3}, limits=(-25, -25, -99, 25, 25, 99), distances=(0, 10, 20, math.inf))
    for frame in frames:
        preds, target = ({k: torch.from_numpy(v) for k, v in frame[side].items()} for side in ("preds", "target"))
        metric.update(DetectedBoxes(**preds), LabelledBoxes(**target))
    scores, compared = metric.compute(), []
    for number, (name, least) in enumerate(metric.overlaps.items()):
        bins = {"": (0, math.inf), "_0_10m": (0, 10), "_10_20m": (10, 20), "_20m_up": (20, math.inf)}
        for suffix, (low, high) in bins.items():
            expected = brute_force(frames, number, least, low, high, 25.0)
            compared.append(expected)
            assert scores[f"detection/{name.lower()}/bev_ap{suffix}"] == pytest.approx(expected, abs=1e-9), (
                name,
                suffix,
            )


def test_labels_with_few_points_are_ignored() -> None:
    metric = RangeAP({"Car": 0.7}, fewest_points=5, distances=())
    boxes, points = torch.cat([CAR, CAR + 20]), torch.tensor([4, 5])
    preds = DetectedBoxes(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 0]))
    metric.update(preds, LabelledBoxes(boxes, torch.tensor([0, 0]), num_points=points))
    scores = metric.compute()
    assert scores["detection/car/labels"] == 1
    assert scores["detection/car/3d_ap"] == 100.0


def test_wrong_requests() -> None:
    with pytest.raises(ValueError, match="expected rising edges of distances"):
        RangeAP({"Car": 0.7}, distances=(0, 20, 20))
    with pytest.raises(ValueError, match="expected limits"):
        RangeAP({"Car": 0.7}, limits=(0, 1))
