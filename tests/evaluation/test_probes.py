"""Probes on features whose content is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from equissl.evaluation import probes
from equissl.evaluation.probes import FeatureRows, all_rows, linear_probe, mlp, moments, standardization, train_probes
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig, RotationProbeConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.probing import probe_all
from equissl.evaluation.views.tasks import ProbeSetting, make_task
from equissl.geometry import euler_to_unitquat

CLASSES = 3


def make_set(kind: str, objects: int, views: int = 6, seed: int = 0, offset: int = 0) -> FeatureSet:
    """Objects that turn about z only, with features that hold everything (``oracle``) or nothing (``noise``)."""
    rng = np.random.default_rng([seed, offset])
    angle = torch.from_numpy(rng.uniform(-math.pi / 2, math.pi / 2, (objects, views)))
    labels = torch.arange(objects) % CLASSES
    euler = torch.stack([torch.zeros_like(angle), torch.zeros_like(angle), angle], -1)
    onehot = torch.nn.functional.one_hot(labels, CLASSES)[:, None].expand(objects, views, CLASSES)
    features = {
        "oracle": torch.cat([angle.cos()[..., None], angle.sin()[..., None], onehot], -1).float(),
        "noise": torch.from_numpy(rng.normal(size=(objects, views, 5))).float(),
    }[kind]
    return FeatureSet({"all": features}, np.arange(objects) + offset, labels, euler_to_unitquat(euler))


def config(**kw) -> EvaluateConfig:
    rotation = RotationProbeConfig(hidden=(64, 64), steps=400, lr=3e-3, val_pairs=8)
    return EvaluateConfig(rotation=rotation, classification=LinearProbeConfig(steps=300, lr=1e-2), **kw)


def probe(kind: str, **kw):
    return probe_all(make_set(kind, 60), make_set(kind, 30, offset=60), CLASSES, "legacy", config(**kw))


def test_features_that_hold_the_answer_are_read_without_error() -> None:
    results, errors = probe("oracle")
    assert results["rotation/mean_deg/all"] < 6
    assert results["rotation/r2_uniform/all"] > 0.95
    assert results["classification/all/top1"] == 1.0
    assert errors["all"].shape == errors["constant"].shape == (30 * 8,)


def test_features_without_information_score_no_better_than_the_trivial_predictors() -> None:
    results, _ = probe("noise")
    assert results["rotation/mean_deg/all"] > results["rotation/mean_deg/constant"] - 4
    assert results["rotation/r2_uniform/all"] < 0.05
    assert abs(results["classification/all/top1"] - 1 / CLASSES) < 0.15


def test_constant_predictor_about_one_axis() -> None:
    """Differences of two uniform angles: mean |δ| is 60°; x and y never vary, so they say nothing about a predictor."""
    results, _ = probe_all(make_set("noise", 400), make_set("noise", 400, offset=400), CLASSES, "legacy", config())
    assert results["rotation/mean_deg/constant"] == pytest.approx(60, abs=2.5)
    assert results["rotation/r2_uniform/constant"] == pytest.approx(0, abs=0.02)
    # closed form: with s = sin(δ/2), w = cos(δ/2): E[w] = (sin(π/4)/(π/4))², so 1 - (1 - E[w]²)/(1 - E[w]²/4)
    mean_w = (math.sin(math.pi / 4) / (math.pi / 4)) ** 2
    assert results["rotation/r2_global/constant"] == pytest.approx(1 - (1 - mean_w**2) / (1 - mean_w**2 / 4), abs=0.02)
    assert results["rotation/mean_deg/identity"] == pytest.approx(results["rotation/mean_deg/constant"], abs=1)


def test_published_constants_on_the_distribution_of_3diebench() -> None:
    """Three axes, ±90° each: the constant predictor scores 0.229 globally and 0 per component; mean angle 108.3°."""
    rng = np.random.default_rng(0)
    sets = []
    for offset in (0, 2000):
        euler = torch.from_numpy(rng.uniform(-math.pi / 2, math.pi / 2, (2000, 6, 3)))
        parts = {"all": torch.zeros(2000, 6, 1)}
        sets.append(
            FeatureSet(parts, np.arange(2000) + offset, torch.zeros(2000, dtype=torch.long), euler_to_unitquat(euler))
        )
    results, _ = probe_all(*sets, 1, "legacy", config(parts=[]))
    assert results["rotation/r2_global/constant"] == pytest.approx(0.2290, abs=0.006)
    assert results["rotation/r2_uniform/constant"] == pytest.approx(0.0, abs=0.003)
    assert results["rotation/mean_deg/constant"] == pytest.approx(108.3, abs=1.0)


def test_same_seed_same_numbers_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, _ = probe("oracle", individual=True)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, _ = probe("oracle", individual=True)
    assert first == again
    other, _ = probe("oracle", seed=1)
    assert other["rotation/mean_deg/all"] != first["rotation/mean_deg/all"]


def test_individual_pose_probe() -> None:
    results, _ = probe("oracle", individual=True)
    assert results["individual/mean_deg/all"] < 6
    assert results["individual/mean_deg/constant"] == pytest.approx(45, abs=4)


def standardized(train: torch.Tensor, *others: torch.Tensor) -> list[torch.Tensor]:
    scaling = standardization(train)
    rows = [all_rows(*x.shape[:2]) for x in (train, *others)]
    return [FeatureRows(x, scaling, "cpu")(r).view_as(x) for x, r in zip((train, *others), rows, strict=True)]


def test_standardised_features_do_not_depend_on_scale_and_offset() -> None:
    train, val = torch.randn(20, 4, 3), torch.randn(10, 4, 3)
    a = standardized(train, val)
    b = standardized(train * torch.tensor([1e-3, 1.0, 50.0]) + 7, val * torch.tensor([1e-3, 1.0, 50.0]) + 7)
    # The first dimension lies below a thousandth of the mean deviation: it is scaled by the floor, not blown up to one.
    torch.testing.assert_close(a[1][..., 1:], b[1][..., 1:], atol=1e-4, rtol=1e-4)
    assert b[0][..., 0].std() < a[0][..., 0].std()
    assert a[0].flatten(0, 1).mean(0).abs().max() < 1e-6
    torch.testing.assert_close(a[0].flatten(0, 1).std(0, correction=0), torch.ones(3))


def test_moments_in_blocks_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "BLOCK_OBJECTS", 3)
    values = 1e4 + torch.randn(10, 4, 5)
    mean, std = moments(values, correction=1)
    rows = values.double().flatten(0, 1).numpy()
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, rows.std(0, ddof=1), rtol=1e-9)


def test_a_short_probe_reads_faint_features_only_when_they_are_standardised() -> None:
    sets = [make_set("oracle", 60), make_set("oracle", 30, offset=60)]
    faint = [replace(side, parts={"all": 1 + 1e-3 * side.parts["all"]}) for side in sets]
    raw, _ = probe_all(*faint, CLASSES, "legacy", config())
    standard, _ = probe_all(*faint, CLASSES, "legacy", config(standardize=True))
    assert raw["rotation/mean_deg/all"] > raw["rotation/mean_deg/constant"] - 4
    assert standard["rotation/mean_deg/all"] < 6


def test_dead_features_stay_finite() -> None:
    train, val = standardized(torch.ones(5, 2, 3), torch.ones(4, 2, 3))
    assert torch.isfinite(train).all() and not val.any()


def test_parameter_counts_of_the_published_heads() -> None:
    count = lambda head: sum(p.numel() for p in head.parameters())  # noqa: E731
    assert count(mlp(512, (), 55, 0)) == 28_215
    assert count(mlp(2 * 512, (1024, 1024), 4, 0)) == 2_103_300


def test_the_linear_probe_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    centres = rng.normal(size=(CLASSES, 8))
    draw = lambda n: torch.from_numpy(centres[np.arange(n) % CLASSES, None] + 1.5 * rng.normal(size=(n, 5, 8))).float()  # noqa: E731
    x, y, labels = draw(90), draw(300), torch.arange(300) % CLASSES
    quats = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).expand(300, 5, 4)
    train = FeatureSet({"all": x}, np.arange(90), labels[:90], quats[:90])
    val = FeatureSet({"all": y}, np.arange(300), labels, quats)
    settings = EvaluateConfig(["classification"], LinearProbeConfig(steps=3000, lr=3e-3))
    results, _ = probe_all(train, val, CLASSES, "legacy", settings)
    oracle = LogisticRegression(C=1e6, max_iter=1000).fit(x.flatten(0, 1), labels[:90].repeat_interleave(5))
    expected = oracle.score(y.flatten(0, 1), labels.repeat_interleave(5))
    assert results["classification/all/top1"] == pytest.approx(expected, abs=0.01)
    assert not any(key.startswith("rotation") for key in results)
    alone = linear_probe(x, labels[:90], y, CLASSES, settings.classification).argmax(-1) == labels[:, None]
    assert float(alone.double().mean()) == pytest.approx(results["classification/all/top1"], abs=1e-12)


def test_training_together_changes_no_head() -> None:
    """Each head ends as it does alone, also one whose updates end before the others'."""
    train = make_set("oracle", 30)
    train = replace(train, parts={"a": train.parts["all"], "b": 2 * train.parts["all"]})
    rows = {part: FeatureRows(values, None, "cpu") for part, values in train.parts.items()}
    settings = EvaluateConfig(
        classification=LinearProbeConfig(steps=7, lr=1e-2), rotation=RotationProbeConfig(hidden=(8,), steps=12)
    )
    setting = ProbeSetting(CLASSES, "legacy", settings)
    tasks = [make_task(name, setting) for name in ("classification", "rotation", "rotation_absolute")]
    together = {(p.task.name, p.part): p.head.state_dict() for p in train_probes(tasks, rows, train)}
    assert len(together) == 6
    for (name, part), weights in together.items():
        alone = train_probes([t for t in tasks if t.name == name], {part: rows[part]}, train)
        torch.testing.assert_close(alone[0].head.state_dict(), weights, rtol=0, atol=0)


def test_a_probe_that_diverges_is_named() -> None:
    train = make_set("noise", 6)
    spoiled = replace(train, parts={"all": torch.full_like(train.parts["all"], torch.nan)})
    rows = {"all": FeatureRows(spoiled.parts["all"], None, "cpu")}
    tasks = [make_task("classification", ProbeSetting(CLASSES, "legacy", config()))]
    with pytest.raises(FloatingPointError, match="finite probe loss, got none for classification on all"):
        train_probes(tasks, rows, spoiled)


def test_an_empty_budget_and_an_unknown_part_are_errors() -> None:
    train, val = make_set("noise", 6), make_set("noise", 6, offset=6)
    with pytest.raises(ValueError, match="at least one update"):
        probe_all(train, val, CLASSES, "legacy", EvaluateConfig(["rotation"], rotation=RotationProbeConfig(steps=0)))
    with pytest.raises(ValueError, match=r"\['all'\].*\['equi'\]"):
        probe_all(train, val, CLASSES, "legacy", config(parts=["equi"]))
