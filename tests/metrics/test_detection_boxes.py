"""What goes into the detection metrics: shapes, missing columns, and boxes that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equissl.metrics.detection import DetectedBoxes, KittiAP, LabelledBoxes, NuScenesDetection, RangeAP
from equissl.metrics.detection import metric as module
from equissl.metrics.detection.matching import take_turns, turns
from equissl.metrics.detection.metric import BoxCollector, nearby_pairs, overlapping_pairs

METRICS = {
    "kitti": lambda: KittiAP(("Car",)),
    "nuscenes": lambda: NuScenesDetection(("car",)),
    "range": lambda: RangeAP({"Car": 0.7}),
}
RESULT = {"kitti": "car/3d_r40_moderate", "nuscenes": "car/ap", "range": "car/3d_ap"}
PERFECT = {"kitti": 100.0, "nuscenes": 1.0, "range": 100.0}
CAR = torch.tensor([[10.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.3]])


def random_columns(random: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """Labels of two classes and of none within 40 m, and predictions near them and elsewhere."""
    count = int(random.integers(0, 12))
    boxes = np.concatenate(
        [random.uniform(-30, 30, (count, 2)), random.normal(size=(count, 1)), random.uniform(1, 5, (count, 4))], axis=1
    )
    target = {
        "boxes": boxes,
        "labels": random.integers(-1, 2, size=count),
        "ignore": random.random(count) < 0.1,
        "num_points": random.integers(0, 9, size=count),
    }
    again = np.concatenate([np.flatnonzero(random.random(count) < p) for p in (0.9, 0.4)]).astype(int)
    near = boxes[again] + random.normal(size=(len(again), 7)) * 0.2
    found = np.concatenate([near, near[:1] + 5])
    labels = np.concatenate([target["labels"][again], target["labels"][again][:1]])
    return {"preds": {"boxes": found, "labels": labels, "scores": random.random(len(found))}, "target": target}


@pytest.mark.parametrize("name", METRICS)
def test_what_is_no_box_is_left_out_and_counted(name: str) -> None:
    metric = METRICS[name]()
    bad = CAR.repeat(5, 1)
    bad[0, 0], bad[1, 3], bad[2, 6], bad[3, 5] = math.nan, 0.0, math.inf, -1.0
    flat = CAR.clone()
    flat[0, 5] = 0.0
    for index in range(50):
        boxes, scores = torch.cat([CAR, bad[:1], CAR]), torch.tensor([1.0 - index / 100, 0.9, math.nan])
        preds = DetectedBoxes(boxes, scores, torch.zeros(3, dtype=torch.long))
        metric.update(preds, LabelledBoxes(torch.cat([bad[:4], CAR]), torch.zeros(5, dtype=torch.long)))
    scores = metric.compute()
    assert scores["detection/unusable_preds"] == 100
    assert scores["detection/unusable_labels"] == 200
    assert scores["detection/sweeps"] == 50
    assert scores[f"detection/{RESULT[name]}"] == PERFECT[name]
    metric.reset()
    assert metric.compute()["detection/unusable_labels"] == 0


@pytest.mark.parametrize("name", ["kitti", "range"])
def test_prediction_without_volume_is_wrong(name: str) -> None:
    metric, flat = METRICS[name](), CAR.clone()
    flat[0, 5] = 0.0
    for index in range(50):
        score = 1 - index / 100
        preds = DetectedBoxes(torch.cat([flat, CAR]), torch.tensor([2.0, score]), torch.tensor([0, 0]))
        metric.update(preds, LabelledBoxes(CAR, torch.tensor([0])))
    assert metric.compute()[f"detection/{RESULT[name]}"] == pytest.approx(50.0)


@pytest.mark.parametrize("name", METRICS)
def test_headings_outside_of_one_turn_and_other_classes_change_nothing(name: str) -> None:
    results = []
    for turn in (0.0, 14 * math.pi):
        metric, random = METRICS[name](), np.random.default_rng(2)
        for _ in range(30):
            frame = random_columns(random)
            for side in frame.values():
                side["labels"] = np.minimum(side["labels"], 0)
                side["boxes"][:, 6] += turn
            preds, target = ({k: torch.from_numpy(v) for k, v in frame[side].items()} for side in ("preds", "target"))
            metric.update(DetectedBoxes(**preds), LabelledBoxes(**target))
        results.append(metric.compute())
    assert results[0] == pytest.approx(results[1], nan_ok=True)
    assert 0 < results[0][f"detection/{RESULT[name]}"] < PERFECT[name]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("labels", [torch.tensor([1]), torch.tensor([-2]), torch.tensor([0.0])])
def test_classes_out_of_range(name: str, labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected integer classes of labels in -1\.\.0, got"):
        METRICS[name]().update(DetectedBoxes(CAR, torch.rand(1), torch.tensor([0])), LabelledBoxes(CAR, labels))


def test_shapes() -> None:
    with pytest.raises(ValueError, match=r"expected boxes of shape \(1, 7\), got \(1, 6\)"):
        DetectedBoxes(CAR[:, :6], torch.rand(1), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"expected scores of shape \(1,\), got \(2,\)"):
        DetectedBoxes(CAR, torch.rand(2), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"expected velocity of shape \(1, 2\), got \(1, 3\)"):
        LabelledBoxes(CAR, torch.tensor([0]), velocity=torch.zeros(1, 3))
    chosen = LabelledBoxes(CAR.repeat(3, 1), torch.tensor([0, 1, 2]), racks=CAR).select(
        torch.tensor([False, True, True])
    )
    assert chosen.labels.tolist() == [1, 2]
    assert chosen.racks is CAR


@pytest.mark.parametrize("block", [1 << 20, 5])
def test_pairs_are_those_of_one_frame(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    random, store, expected, near = np.random.default_rng(4), BoxCollector(2), set(), set()
    preds_before = labels_before = 0
    for _ in range(20):
        frame = random_columns(random)
        preds, target = ({k: torch.from_numpy(v) for k, v in frame[side].items()} for side in ("preds", "target"))
        store.add(DetectedBoxes(**preds), LabelledBoxes(**target))
        overlaps = module.paired_bev_iou(preds["boxes"][:, None], target["boxes"][None])
        distances = torch.cdist(preds["boxes"][:, :2], target["boxes"][:, :2])
        offset = torch.tensor([preds_before, labels_before])
        expected |= {tuple(pair) for pair in ((overlaps > 0).nonzero() + offset).tolist()}
        near |= {tuple(pair) for pair in ((distances < 3).nonzero() + offset).tolist()}
        preds_before, labels_before = preds_before + len(preds["boxes"]), labels_before + len(target["boxes"])
    frames = store.joined()
    pairs = overlapping_pairs(frames)
    assert set(zip(pairs.pred.tolist(), pairs.target.tolist(), strict=True)) == expected
    assert len(pairs) == len(expected) > 50
    assert (pairs.values["3d"] <= pairs.values["bev"] + 1e-12).all()
    pairs = nearby_pairs(frames, 3.0)
    assert set(zip(pairs.pred.tolist(), pairs.target.tolist(), strict=True)) == near


def test_everyone_takes_the_best_that_is_left() -> None:
    # frame 0: rows 0, 1 want columns 5, 6; frame 1: row 2 wants 7
    row, column = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([5, 6, 5, 6, 7])
    turn = turns(row, torch.tensor([0, 0, 0, 0, 1]))
    assert turn.tolist() == [0, 0, 1, 1, 0]
    available = torch.ones(3, 8, dtype=torch.bool)
    available[1, 5] = available[2, 6] = False
    taken = take_turns(row, column, turn, available)
    assert taken.int().tolist() == [[1, 0, 0, 1, 1], [0, 1, 0, 0, 1], [1, 0, 0, 0, 1]]
    nothing = torch.zeros(0, dtype=torch.long)
    assert take_turns(nothing, nothing, nothing, available).shape == (3, 0)
