"""nuScenes' metric: the devkit's answers on made-up samples, closed forms, and its filters."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from nuscenes_case import ORIGIN, Sample, devkit_scores, make_samples

from equissl.metrics.detection import DetectedBoxes, LabelledBoxes, NuScenesDetection
from equissl.metrics.detection.curves import interpolate
from equissl.metrics.detection.nuscenes import CLASSES

GOLDEN = Path(__file__).with_name("nuscenes_golden.json")
CAR = torch.tensor([[10.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.3]])


def ours(samples: list[Sample]) -> dict[str, float]:
    metric = NuScenesDetection(prefix="d")
    for sample in samples:
        preds, target = ({k: torch.from_numpy(v) for k, v in sample[side].items()} for side in ("preds", "target"))
        racks = torch.from_numpy(sample["racks"]["boxes"])
        metric.update(DetectedBoxes(**preds), LabelledBoxes(**target, racks=racks), ORIGIN)
    return metric.compute()


def assert_same(got: dict[str, float], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert got[f"d/{name}"] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_equals_what_the_devkit_said() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden.pop("made_by").startswith("nuscenes-devkit")
    assert len(golden) == 7 + 10 * 10
    assert sum(0.01 < value < 0.99 for value in golden.values()) > 85  # it says something
    assert_same(ours(make_samples()), golden)


@pytest.mark.parametrize("seed", [1, 2])
def test_equals_the_devkit(seed: int) -> None:
    pytest.importorskip("nuscenes", reason="nuscenes-devkit wants numpy < 2: test in an environment of its own")
    samples = make_samples(15, seed)
    assert_same(ours(samples), devkit_scores(samples))


def one_car_each(count: int, error: float = 0.0, wrong: bool = False) -> dict[str, float]:
    """Cars found with an error of ``error`` in everything, one of ``count`` a frame; maybe each after a wrong one."""
    metric = NuScenesDetection(("car",))
    grown = CAR.clone()
    grown[:, 0] += error
    grown[:, 3] /= 1 - error  # IoU of the sizes
    grown[:, 6] += error
    velocity = torch.zeros(1, 2)
    for index in range(count):
        boxes = torch.cat([grown, CAR + 10]) if wrong else grown
        scores = 1 - (torch.arange(len(boxes)) + 2.0 * index) / 1000
        moving = torch.full((len(boxes), 2), error / math.sqrt(2))
        attributes = torch.full((len(boxes),), int(index < error * count))
        preds = DetectedBoxes(boxes, scores, torch.zeros(len(boxes), dtype=torch.long), None, moving, attributes)
        target = LabelledBoxes(CAR, torch.tensor([0]), velocity=velocity, attributes=torch.tensor([0]))
        metric.update(preds, target)
    return metric.compute()


def test_perfect_detector() -> None:
    scores = one_car_each(5)
    assert scores["detection/mean/ap"] == scores["detection/nds"] == 1.0
    assert scores["detection/car/ate"] == scores["detection/car/aae"] == 0.0


def test_errors_of_a_fifth() -> None:
    scores = one_car_each(10, error=0.2)
    for kind in ("ate", "ase", "aoe", "ave"):
        assert scores[f"detection/car/{kind}"] == pytest.approx(0.2, abs=1e-6)
    assert scores["detection/car/ap"] == 1.0
    errors = [scores[f"detection/mean/{kind}"] for kind in ("ate", "ase", "aoe", "ave", "aae")]
    assert scores["detection/nds"] == pytest.approx((5 + sum(1 - e for e in errors)) / 10)


def test_precision_of_a_half() -> None:
    """A wrong one after each right one: what precision is above 0.1 counts, as a share of 0.9."""
    scores = one_car_each(400, wrong=True)
    # where rounding puts a recall just below a true positive's, the precision before its wrong one is read
    assert scores["detection/car/ap_2m"] == pytest.approx((0.5 - 0.1) / 0.9, abs=2e-3)


def test_class_without_labels_is_zero() -> None:
    metric = NuScenesDetection()
    metric.update(DetectedBoxes(CAR, torch.tensor([0.9]), torch.tensor([0])), LabelledBoxes(CAR, torch.tensor([0])))
    scores = metric.compute()
    assert scores["detection/mean/ap"] == pytest.approx(0.1)
    assert scores["detection/bus/ap"] == 0.0
    assert scores["detection/bus/ate"] == 1.0
    assert math.isnan(scores["detection/traffic_cone/aoe"])
    assert scores["detection/mean/aae"] == 1.0  # no attribute is known of the one car, and the others have no labels


def test_what_does_not_count() -> None:
    """Out of range, without points, ignored, in a rack, of no class; and numbers that are none."""
    metric, bicycle = NuScenesDetection(), CLASSES.index("bicycle")
    boxes = CAR.repeat(6, 1)
    boxes[:, 0] = torch.tensor([49.0, 51.0, 10.0, 20.0, 30.0, 5.0])
    target = LabelledBoxes(
        boxes,
        torch.tensor([0, 0, 0, 0, bicycle, -1]),
        num_points=torch.tensor([1, 9, 0, 5, 5, 5]),
        ignore=torch.tensor([False, False, False, True, False, False]),
        racks=boxes[4:5],
    )
    found = torch.cat([boxes[[0, 1, 4, 5]], CAR])
    found[4, 1] = math.nan
    metric.update(DetectedBoxes(found, torch.rand(5), torch.tensor([0, 0, bicycle, -1, 0])), target)
    scores = metric.compute()
    assert scores["detection/car/ap"] == 1.0
    assert scores["detection/bicycle/ap"] == 0.0
    assert scores["detection/unusable_preds"] == 1
    metric.reset()
    metric.update(DetectedBoxes(found, torch.rand(5), torch.tensor([0, 0, bicycle, -1, 0])), target, origin=(2.0, 0.0))
    assert metric.compute()["detection/car/ap"] == 1.0  # both are in range now, both found


def test_wrong_requests() -> None:
    with pytest.raises(ValueError, match="expected ranges of tram"):
        NuScenesDetection(("car", "tram"))
    many = DetectedBoxes(CAR.repeat(501, 1), torch.rand(501), torch.zeros(501, dtype=torch.long))
    with pytest.raises(ValueError, match="at most 500 predictions of a sample, got 501"):
        NuScenesDetection().update(many, LabelledBoxes.empty())
    with pytest.raises(ValueError, match=r"expected integer classes of predictions in -1\.\.0"):
        NuScenesDetection(("car",)).update(
            DetectedBoxes(CAR, torch.rand(1), torch.tensor([1])), LabelledBoxes(CAR, torch.tensor([0]))
        )


def test_interpolation_is_numpys() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        x = np.sort(np.round(random.random(random.integers(1, 12)), 1))
        y, at = random.random(len(x)), np.concatenate([np.round(random.random(20), 1), random.random(20) * 2 - 0.5])
        for right in (None, 0.0):
            got = interpolate(*(torch.from_numpy(v) for v in (at, x, y)), right)
            np.testing.assert_allclose(got.numpy(), np.interp(at, x, y, right=right), atol=1e-12)
