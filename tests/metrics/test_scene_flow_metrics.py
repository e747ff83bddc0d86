"""Scene flow metrics against closed forms and a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.metrics.scene_flow import (
    BUCKET_GROUPS,
    bucketed_epe,
    end_point_error,
    flow_accuracy,
    near_square,
    own_speed,
    threeway_epe,
)


def random_case(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    static = torch.randn(n, 3, generator=generator) * 0.02 + torch.tensor([-1.0, 0, 0])
    classes = torch.randint(0, 31, (n,), generator=generator)
    length = torch.rand(n, generator=generator) * 2.6 * (torch.rand(n, generator=generator) > 0.4)
    own = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1) * length[:, None]
    target = static + own
    preds = target + 0.1 * torch.randn(n, 3, generator=generator)
    return preds, target, static, classes


def test_end_point_error_is_the_distance() -> None:
    error = end_point_error(torch.tensor([[3.0, 4, 0], [0, 0, 0]]), torch.tensor([[0.0, 0, 12], [0, 0, 0]]))
    assert error.tolist() == [13.0, 0.0] and error.dtype == torch.float64


def test_threeway_takes_each_part_alone() -> None:
    target = torch.zeros(6, 3)
    preds = torch.zeros(6, 3)
    preds[:, 0] = torch.tensor([1.0, 3.0, 0.5, 0.1, 0.1, 0.4])
    speed = torch.tensor([0.05, 1.0, 0.0499, 0.0, 0.0, 2.0])
    foreground = torch.tensor([True, True, True, False, False, False])
    scores = threeway_epe(preds, target, speed, foreground)
    assert scores == pytest.approx(
        {"dynamic_foreground": 2.0, "static_foreground": 0.5, "background": 0.2, "threeway": 0.9}
    )
    part = threeway_epe(preds[3:], target[3:], speed[3:], foreground[3:])
    assert math.isnan(part["dynamic_foreground"]) and part["threeway"] == pytest.approx(0.2)


def test_accuracy_counts_absolute_or_relative_errors() -> None:
    target = torch.tensor([[2.0, 0, 0], [2.0, 0, 0], [0.1, 0, 0], [0.1, 0, 0]])
    preds = target + torch.tensor([[0.09, 0, 0], [0.15, 0, 0], [0.04, 0, 0], [0.08, 0, 0]])
    assert flow_accuracy(preds, target, 0.05) == 0.5
    assert flow_accuracy(preds, target, 0.1) == 1.0
    assert math.isnan(flow_accuracy(preds[:0], target[:0], 0.1))


def test_buckets_equal_a_plain_loop() -> None:
    preds, target, static, classes = random_case()
    speed = own_speed(target, static)
    scores = bucketed_epe(preds, target, speed, classes)
    for name, numbers in BUCKET_GROUPS.items():
        table: dict[int, list[tuple[float, float]]] = {}
        for k in range(len(preds)):
            if int(classes[k]) in numbers:
                v, error = float(speed[k]), math.dist(preds[k].tolist(), target[k].tolist())
                table.setdefault(min(int(v / 0.04), 50), []).append((error, v))
        assert len(table) > 20
        mean = {b: [sum(column) / len(rows) for column in zip(*rows, strict=True)] for b, rows in table.items()}
        ratios = [error / v for b, (error, v) in mean.items() if b > 0]
        assert scores[name].static == pytest.approx(mean[0][0], rel=1e-6)
        assert scores[name].dynamic == pytest.approx(sum(ratios) / len(ratios), rel=1e-6)


def test_predicting_a_static_world_scores_one_and_the_truth_zero() -> None:
    _, target, static, classes = random_case()
    speed = own_speed(target, static)
    for score in bucketed_epe(static, target, speed, classes).values():
        assert score.dynamic == pytest.approx(1.0)
    for score in bucketed_epe(target, target, speed, classes).values():
        assert score == score.__class__(0.0, 0.0)


def test_groups_without_points_are_unknown() -> None:
    preds, target, static, classes = random_case(200)
    score = bucketed_epe(preds, target, own_speed(target, static), torch.full_like(classes, 1))
    assert all(math.isnan(s.static) and math.isnan(s.dynamic) for s in score.values())


def test_square_is_around_the_sensor() -> None:
    points = torch.tensor([[35.0, -35, 9], [35.1, 0, 0], [0, -36, 0]])
    assert near_square(points).tolist() == [True, False, False]


def test_wrong_input_is_named() -> None:
    flow = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"preds of shape \(N, 3\), got \(4, 2\)"):
        end_point_error(flow[:, :2], flow)
    with pytest.raises(ValueError, match="4 and 3"):
        end_point_error(flow, flow[:3])
    with pytest.raises(ValueError, match="1 bad rows of 4"):
        end_point_error(flow.clone().index_fill_(0, torch.tensor([2]), math.nan), flow)
    with pytest.raises(ValueError, match="speed"):
        threeway_epe(flow, flow, torch.zeros(3), torch.zeros(4))
