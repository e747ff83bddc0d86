"""Preference heads: the fit against its optimality condition, and answers that features can or cannot give."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.evaluation import evaluate
from equissl.evaluation.views.config import EvaluateConfig, PreferenceConfig
from equissl.evaluation.views.preference import draw_choices, draw_people, fit_rewards, scale_together
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain


def points(count: int, seed: int) -> torch.Tensor:
    angle = 2 * math.pi * torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_the_fit_is_where_the_gradient_vanishes() -> None:
    known, people = points(200, 0), draw_people(3, 2, seed=0)
    choices = draw_choices(known, people, 40, (0, 1))
    x, c = choices.differences(known), choices.prefer
    weights = fit_rewards(x, c, 0.5).requires_grad_()
    loss = torch.nn.functional.softplus(-c * (x @ weights)).sum() + 0.25 * weights.square().sum()
    (slope,) = torch.autograd.grad(loss, weights)
    assert slope.abs().max() < 1e-4 * x.abs().sum()


def test_more_answers_keep_the_first_and_nobody_compares_a_view_with_itself() -> None:
    known, people = points(5, 0), draw_people(4, 2, seed=1)
    few, many = (draw_choices(known, people, count, (3, 1)) for count in (10, 3000))
    assert torch.equal(many.first[:10], few.first) and torch.equal(many.prefer[:10], few.prefer)
    assert (many.first != many.second).all()
    counts = torch.bincount(many.first * 5 + many.second, minlength=25).view(5, 5)
    assert counts.diagonal().sum() == 0 and counts[~torch.eye(5, dtype=torch.bool)].min() > 150 - 5 * 12
    reward = known @ people
    assert torch.equal(many.prefer > 0, reward[many.first] > reward[many.second])


def test_heads_agree_where_features_hold_the_attribute_and_guess_where_not() -> None:
    train, val, people = points(400, 0), points(400, 1), draw_people(20, 2, seed=2)
    learn, score = draw_choices(train, people, 100, (2, 1)), draw_choices(val, people, 1000, (2, 2))
    turn = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    noise = [torch.randn(400, 3, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in (5, 6)]
    for features, low, high in (((5 * train @ turn + 1, 5 * val @ turn + 1), 0.93, 1.0), (noise, 0.4, 0.6)):
        scaled = scale_together(*(side[:, None] for side in features))
        head = fit_rewards(learn.differences(scaled[0]), learn.prefer, 0.1)
        right = (score.differences(scaled[1]) @ head) * score.prefer > 0
        assert low < right.double().mean() <= high


def test_scale_keeps_the_shape_of_features() -> None:
    x = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.tensor([9, 1, 1])
    scaled, other = scale_together(x, x[:5] + 1)
    assert scaled.square().sum(1).mean().item() == pytest.approx(1) and scaled.mean(0).abs().max() < 1e-12
    ratio = scaled.std(0) / x.flatten(0, 1).std(0)
    torch.testing.assert_close(ratio, ratio[:1].expand(3))
    torch.testing.assert_close(other - scaled[:10], torch.ones(10, 3, dtype=torch.float64) * ratio)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("preference")
    store = write_synthetic_store(root / "views.h5", objects=24, views=3, size=16)
    encoder = {"name": "resnet18", "width": 4, "stem": "small"}
    config = {
        "method": {"class_path": "SIRL", "init_args": {"encoder": encoder, "projector": [8, 4]}},
        "data": {"store": str(store), "batch_size": 4, "queries": {"about": "floor_hue", "count": 8}},
        "trainer": {"max_steps": 2, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }
    return pretrain(resolve_config(config), root / "sirl")


def settings(**changes) -> EvaluateConfig:
    preference = PreferenceConfig(**{"queries": (5, 20), "people": 3, "pairs": 50, **changes})
    return EvaluateConfig(protocols=["preference"], parts=["all", "embedding"], preference=preference)


def test_a_run_is_scored_by_number_of_answers(run: Path) -> None:
    found = evaluate(run, settings())
    for count in (5, 20):
        assert found[f"preference_{count}/chance"] == 0.5
        for part in ("all", "embedding", "initial", "attribute"):
            assert 0 <= found[f"preference_{count}/{part}/top1"] <= 1
            assert found[f"preference_{count}/{part}/top1_se"] is not None
    assert found["preference_20/attribute/top1"] > 0.8
    again = evaluate(run, settings(queries=(20,)))
    assert again["preference_20/all/top1"] == found["preference_20/all/top1"]  # the first answers are the same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": ()}, r"at least 1, got queries=\[\]"),
        ({"penalty": 0.0}, "penalty above 0, got 0"),
        ({"about": "hue"}, "unknown attribute 'hue'"),
    ],
)
def test_settings_without_meaning_are_named(run: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(run, settings(**changes))
