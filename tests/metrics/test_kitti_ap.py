"""KITTI's average precision: closed forms, and the protocol once more in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kitti_oracle import average_precisions

from equissl.metrics.detection import DetectedBoxes, KittiAP, LabelledBoxes, kitti_labels

CAR = torch.tensor([[10.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.3]])
FAR = CAR + torch.tensor([40.0, 0, 0, 0, 0, 0, 0])


def one_car_each(count: int, found: float = 1.0, wrong: str | None = None) -> dict[str, float]:
    """A car in each of ``count`` frames; the surest share of them found; and a false positive in each, if wanted."""
    metric = KittiAP()
    place = {"after": lambda s: s - 1e-6, "below": lambda s: s - 2, "above": lambda s: s + 2}
    for index in range(count):
        score = 1 - index / count / 2
        rows = [(CAR, score)] if index < found * count else []
        rows += [(FAR, place[wrong](score))] if wrong else []
        boxes = torch.cat([box for box, _ in rows]) if rows else torch.zeros(0, 7)
        scores = torch.tensor([s for _, s in rows], dtype=torch.float64)
        preds = DetectedBoxes(boxes, scores, torch.zeros(len(rows), dtype=torch.long))
        metric.update(preds, LabelledBoxes(CAR, torch.tensor([0])))
    return metric.compute()


@pytest.mark.parametrize("count", [1, 2, 5, 10, 20, 40, 41, 80])
def test_perfect_detector_needs_41_labels(count: int) -> None:
    scores = one_car_each(count)
    for kind in ("3d", "bev", "3d_orientation"):
        expected = 100.0 if count > 40 else 100 * (count - 1) / 40
        assert scores[f"detection/car/{kind}_r40_moderate"] == pytest.approx(expected)
        expected = 100.0 if count > 40 else 100 * math.ceil(count / 4) / 11
        assert scores[f"detection/car/{kind}_r11_moderate"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("count", "found", "wrong", "r40", "r11"),
    [
        (80, 0.5, None, 50.0, 54.5455),
        (400, 0.5, None, 50.0, 54.5455),
        (40, 0.5, None, 47.5, 45.4545),
        (80, 1.0, "below", 100.0, 100.0),
        (80, 1.0, "above", 50.0, 50.0),
        (80, 1.0, "after", 51.4941, 55.4065),
        (400, 1.0, "after", 50.2727, 54.7130),
        (80, 0.0, None, 0.0, 0.0),
    ],
)
def test_closed_forms(count: int, found: float, wrong: str | None, r40: float, r11: float) -> None:
    scores = one_car_each(count, found, wrong)
    assert scores["detection/car/3d_r40_hard"] == pytest.approx(r40, abs=1e-4)
    assert scores["detection/car/3d_r11_hard"] == pytest.approx(r11, abs=1e-4)


def random_frame(random: np.random.Generator, crowded: bool = False) -> dict[str, dict[str, np.ndarray]]:
    """Labels of all kinds, and predictions near them, twice, and elsewhere; of class -1 too, and with equal scores."""
    count = int(random.integers(0, 8))
    sizes = np.array([(3.9, 1.6, 1.56), (0.8, 0.6, 1.73), (1.76, 0.6, 1.73)])
    labels = random.integers(-1, 3, size=count)
    place = random.uniform((0, -10, -1), (8, 10, 0) if crowded else (60, 10, 0), size=(count, 3))
    boxes = np.concatenate([place, sizes[labels], random.uniform(-8, 8, size=(count, 1))], axis=1)
    target = {
        "boxes": boxes,
        "labels": labels,
        "ignore": random.random(count) < 0.15,
        "height2d": random.choice([20.0, 25.0, 30.0, 40.0, *[60.0] * 8], size=count),
        "occlusion": random.choice([0, 0, 0, 0, 0, 1, 2, 3], size=count),
        "truncation": random.uniform(0, 0.6, size=count) * (random.random(count) < 0.3),
    }
    again = np.concatenate([np.flatnonzero(random.random(count) < p) for p in (0.9, 0.4)]).astype(int)
    noise = random.normal(size=(len(again), 7)) * (0.15, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05)
    near = boxes[again] + noise * random.choice([0.3, 1.0], size=(len(again), 1))
    near[:, 6] += math.pi * (random.random(len(again)) < 0.2)
    elsewhere = near[:2] + np.array((0.7, 0.3, 0, 0, 0, 0, 0))
    found = np.concatenate([near, elsewhere])
    classes = np.concatenate([labels[again], labels[again][:2]])
    classes = np.where(random.random(len(found)) < 0.1, random.integers(-1, 3, size=len(found)), classes)
    preds = {"boxes": found, "labels": classes, "scores": np.round(random.random(len(found)), 2)}
    preds["height2d"] = random.choice([20.0, 24.0, 30.0, *[50.0] * 7], size=len(found))
    return {"preds": preds, "target": target}


@pytest.mark.parametrize("crowded", [False, True])
def test_equals_the_protocol_in_plain_loops(crowded: bool) -> None:
    random = np.random.default_rng(3)
    frames = [random_frame(random, crowded) for _ in range(100)]
    metric = KittiAP()
    for frame in frames:
        preds, target = ({k: torch.from_numpy(v) for k, v in frame[side].items()} for side in ("preds", "target"))
        metric.update(DetectedBoxes(**preds), LabelledBoxes(**target))
    scores = metric.compute()
    compared = []
    for number, (name, pair) in enumerate(metric.overlaps.items()):
        for level in ("easy", "moderate", "hard"):
            for suffix, least in zip(("", "_loose"), pair, strict=True):
                for kind in ("bev", "3d"):
                    expected = average_precisions(frames, number, least, level, kind)
                    for curve, value in expected.items():
                        if kind == "3d" or not curve.startswith("orientation"):
                            got = scores[f"detection/{name.lower()}/{kind}_{curve}_{level}{suffix}"]
                            assert got == pytest.approx(value, abs=1e-9), (name, level, suffix, kind, curve)
                            compared.append(value)
    assert len(compared) == 3 * 3 * 2 * 5
    assert np.mean([0 < value < 100 for value in compared]) > 0.8  # the cases say something


def test_means_leave_out_classes_without_labels() -> None:
    scores = one_car_each(80)
    assert math.isnan(scores["detection/cyclist/3d_r40_easy"])
    assert scores["detection/cyclist/labels_easy"] == 0
    assert scores["detection/mean/3d_r40_moderate"] == scores["detection/mean/3d_r40"] == 100.0
    assert scores["detection/mean/bev_r11_loose"] == 100.0
    assert "detection/mean/labels_easy" not in scores


def test_prediction_on_an_ignored_label_is_neither_right_nor_wrong() -> None:
    metric = KittiAP()
    for index in range(80):
        boxes, score = torch.cat([CAR, FAR]), 1 - index / 100
        preds = DetectedBoxes(boxes, torch.tensor([score, 2.0]), torch.tensor([0, 0]))
        metric.update(preds, LabelledBoxes(boxes, torch.tensor([0, 0]), ignore=torch.tensor([False, True])))
    assert metric.compute()["detection/car/3d_r40_moderate"] == 100.0


def test_low_predictions_and_far_labels_are_ignored_by_difficulty() -> None:
    metric = KittiAP()
    for _ in range(80):
        preds = DetectedBoxes(FAR, torch.tensor([0.5]), torch.tensor([0]), height2d=torch.tensor([30.0]))
        metric.update(preds, LabelledBoxes(CAR, torch.tensor([0]), height2d=torch.tensor([40.0])))
        preds = DetectedBoxes(CAR, torch.tensor([0.4]), torch.tensor([0]), height2d=torch.tensor([41.0]))
        metric.update(preds, LabelledBoxes(CAR, torch.tensor([0]), height2d=torch.tensor([40.5])))
    scores = metric.compute()
    assert scores["detection/car/labels_easy"] == 80  # 40.0 pixels are not enough, 40.5 are
    assert scores["detection/car/3d_r40_easy"] == 100.0  # the wrong one is lower than 40 pixels
    assert scores["detection/car/labels_moderate"] == 160
    assert scores["detection/car/3d_r40_moderate"] == pytest.approx(25.0)  # half is found, each after a wrong one


def test_opposite_headings_overlap_but_have_no_orientation() -> None:
    metric = KittiAP()
    turned = CAR + torch.tensor([0, 0, 0, 0, 0, 0, math.pi])
    for _ in range(50):
        metric.update(
            DetectedBoxes(turned, torch.tensor([0.5]), torch.tensor([0])), LabelledBoxes(CAR, torch.tensor([0]))
        )
    scores = metric.compute()
    assert scores["detection/car/3d_r40_easy"] == 100.0
    assert scores["detection/car/3d_orientation_r40_easy"] == pytest.approx(0.0, abs=1e-9)


def test_names_become_classes_and_neighbours_are_ignored() -> None:
    labels, ignore = kitti_labels(["Car", "Van", "DontCare", "Person_sitting", "Cyclist", "Truck"])
    assert labels.tolist() == [0, 0, -1, 1, 2, -1]
    assert ignore.tolist() == [False, True, False, True, False, False]
    labels, ignore = kitti_labels(["Van", "Car"], classes=("Van",))
    assert labels.tolist() == [0, -1]
    assert not ignore.any()


def test_no_frames_and_empty_frames() -> None:
    metric = KittiAP()
    assert math.isnan(metric.compute()["detection/mean/3d_r40"])
    nothing = DetectedBoxes(torch.zeros(0, 7), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    metric.update(nothing, LabelledBoxes.empty())
    assert math.isnan(metric.compute()["detection/car/3d_r40_easy"])
    assert metric.compute()["detection/sweeps"] == 1
    metric.update(nothing, LabelledBoxes(CAR, torch.tensor([0])))
    assert metric.compute()["detection/car/3d_r40_easy"] == 0.0
    metric.reset()
    assert metric.compute()["detection/sweeps"] == 0


def test_class_without_overlaps() -> None:
    with pytest.raises(ValueError, match="expected overlaps of Tram"):
        KittiAP(("Car", "Tram"))
