"""The probe protocols beyond class and relative rotation: targets, scores, baselines, and what is impossible."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import LatentSchema, threediebench_schema, threediebench_t_schema
from equissl.evaluation.views import probing
from equissl.evaluation.views.config import EvaluateConfig, HueProbeConfig, LinearProbeConfig, RotationProbeConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.probing import probe_all
from equissl.evaluation.views.scores import (
    Measure,
    direction_errors_deg,
    distances,
    hue_steps,
    hue_steps_of_points,
    regression_scores,
)
from equissl.evaluation.views.scoring import Regression
from equissl.evaluation.views.tasks import ProbeSetting, Task, make_task
from equissl.geometry import euler_to_unitquat

SCHEMA = threediebench_t_schema()
Say = Callable[[str], None]


def make_set(objects: int, views: int = 6, offset: int = 0, schema: LatentSchema = SCHEMA, features=None) -> FeatureSet:
    latents = torch.from_numpy(np.stack([sample_latents(schema, 0, i + offset, views) for i in range(objects)]))
    quats = euler_to_unitquat(latents[..., :3])
    values = torch.zeros(objects, views, 1) if features is None else features(latents).float()
    labels = torch.zeros(objects, dtype=torch.long)
    return FeatureSet({"all": values}, np.arange(objects) + offset, labels, quats, latents, schema)


def exact(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def golden_set() -> FeatureSet:
    """One object in the two poses of the reference's worked example."""
    rows = torch.zeros(1, 2, len(SCHEMA), dtype=torch.float64)
    rows[0, :, :3] = exact([[0.1, 0.2, 0.3], [-0.4, 0.5, 1.2]])
    rows[0, :, 7:] = exact([[0.1, -0.2, 0.3], [-0.3, 0.4, 0.25]])
    quats = euler_to_unitquat(rows[..., :3])
    return FeatureSet({}, np.arange(1), torch.zeros(1, dtype=torch.long), quats, rows, SCHEMA)


def config(*protocols: str, steps: int = 500, **kw) -> EvaluateConfig:
    rotation = RotationProbeConfig(hidden=(64, 64), steps=steps, lr=3e-3, val_pairs=8)
    hue = HueProbeConfig(steps=steps, lr=1e-2)
    budget = LinearProbeConfig(steps=1)
    return EvaluateConfig(list(protocols) or None, budget, rotation, hue, **kw)


def targets(name: str, views: FeatureSet) -> torch.Tensor:
    task = make_task(name, ProbeSetting(1, "legacy", config()))
    index = torch.zeros(1, dtype=torch.long)
    return task.targets(task.view_targets(views), index, index, index + 1 if task.pair else None)[0]


def test_golden_targets() -> None:
    views = golden_set()
    expected = {
        "rotation": (-0.36478472, 0.07199052, 0.42411524, 0.82575767),
        "rotation_absolute": (0.03427080, 0.10602051, 0.14357218, 0.98334744),
        "translation_object": (-0.4, 0.6, -0.05),
        "translation_base": (-0.73073553, 0.13009432, -0.04390976),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(targets(name, views), value, atol=5e-9)


def test_translation_in_the_world_is_scipys() -> None:
    views = make_set(20, 3)
    task = make_task("translation_base", ProbeSetting(1, "legacy", config()))
    turn = Rotation.from_euler("xyz", views.latents[..., :3].flatten(0, 1))
    expected = turn.apply(views.latents[..., 7:].flatten(0, 1)).reshape(20, 3, 3)
    np.testing.assert_allclose(task.view_targets(views), expected, atol=1e-12)


def test_hue_differences_plain_and_on_the_circle() -> None:
    views = golden_set()
    views.latents[0, :, 3], views.latents[0, :, 6] = exact([0.9, 0.1]), exact([0.2, 0.45])
    assert targets("hue", views).tolist() == pytest.approx([-0.8, 0.25])
    turns = 2 * math.pi * np.array([0.2, 0.25])
    assert targets("hue_circular", views).tolist() == pytest.approx([*np.cos(turns), *np.sin(turns)], abs=1e-12)


def test_light_points_from_the_spot_angles() -> None:
    views = golden_set()
    views.latents[0, 0, 4:6] = exact([math.pi / 2, math.pi / 2])
    assert targets("light", views).tolist() == pytest.approx([0, 1, 0], abs=1e-12)


def test_hue_steps_closed_forms() -> None:
    preds, target = exact([[-0.8, 1.3]]), exact([[0.2, -0.1]])
    assert hue_steps(preds, target)[0].tolist() == pytest.approx([0.0, 0.4], abs=1e-12)
    points = lambda x: torch.cat([(2 * math.pi * x).cos(), (2 * math.pi * x).sin()], 1)  # noqa: E731
    assert hue_steps_of_points(5 * points(preds), points(target))[0].tolist() == pytest.approx([0.0, 0.4], abs=1e-12)


def test_direction_errors_closed_forms() -> None:
    preds = torch.tensor([[3.0, 0, 0], [0, 2, 0], [-1, 0, 0], [0, 0, 0], [1, 1e-9, 0]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).expand(5, 3)
    expected = [0, 90, 180, 90, math.degrees(1e-9)]
    assert direction_errors_deg(preds, target).tolist() == pytest.approx(expected, rel=1e-9)


def test_scores_leave_out_what_never_varies_and_count_objects() -> None:
    target = torch.tensor([[0.0, 1, 5], [2, 0, 5], [4, 2, 5], [6, 1, 5]])
    preds = target + torch.tensor([[3.0, 4, 0], [0, 0, 0], [3, 4, 0], [0, 0, 0]])
    found = regression_scores(preds, target, np.array([0, 0, 1, 1]), "all", "translation_object")
    assert found["translation_object/mean_distance/all"] == 2.5 == found["translation_object/median_distance/all"]
    assert found["translation_object/mean_distance_se/all"] == 0
    assert found["translation_object/r2_uniform/all"] == pytest.approx(((1 - 18 / 20) + (1 - 32 / 2)) / 2)


def test_constant_predictors_have_their_published_levels() -> None:
    """Hue and object-frame translation differences: variance 1/6, so R² 0 for 0; a random hue is a quarter turn off."""
    results, _ = probe_all(make_set(1500), make_set(1500, offset=1500), 1, "legacy", config(parts=[]))
    for group in ("hue", "translation_object", "translation_base"):
        for trivial in ("constant", "identity"):
            assert results[f"{group}/r2_global/{trivial}"] == pytest.approx(0, abs=2e-3)
    for group in ("hue", "hue_circular"):
        assert results[f"{group}/mean_turns/identity"] == pytest.approx(0.25, abs=5e-3)
    assert results["hue_circular/r2_uniform/constant"] == pytest.approx(0, abs=2e-3)
    assert results["hue_circular/r2_global/identity"] == pytest.approx(
        -1.0, abs=0.02
    )  # error 2 - 2 E[cos] over variance 1
    assert results["rotation_absolute/r2_uniform/constant"] == pytest.approx(0, abs=2e-3)
    # the mean of w = cos(x/2)cos(y/2)cos(z/2) ± sines is c³ with c = sin(π/4)/(π/4), others 0 on average
    c = math.sin(math.pi / 4) / (math.pi / 4)
    w = c**3
    assert results["rotation_absolute/r2_global/constant"] == pytest.approx(1 - (1 - w**2) / (1 - w**2 / 4), abs=0.01)
    # a constant direction against the spot light's: z = cos θ, θ uniform on [0, π/4]; its mean has no x and y
    assert results["light/mean_deg/constant"] == pytest.approx(22.5, abs=0.5)


def everything(latents: torch.Tensor) -> torch.Tensor:
    """Features that hold every factor in a form that a head can use."""
    hue = 2 * math.pi * latents[..., [3, 6]]
    light = latents[..., 4:6]
    wave = [hue.cos(), hue.sin(), light[..., 1:].cos(), light[..., 1:].sin(), light[..., :1]]
    return torch.cat([euler_to_unitquat(latents[..., :3]), latents[..., 7:], latents[..., [3, 6]], *wave], -1)


def test_features_that_hold_the_factors_are_read() -> None:
    names = (
        "rotation_absolute", "hue", "hue_mlp", "hue_circular", "light", "translation_object", "translation_base"
    )  # fmt: skip
    settings = config(*names, steps=1500)
    sets = (make_set(200, offset=offset, features=everything) for offset in (0, 200))
    results, _ = probe_all(*sets, 1, "legacy", settings)
    for name in names:
        assert results[f"{name}/r2_uniform/all"] > 0.9, name
        assert results[f"{name}/r2_uniform/all"] <= 1
    assert results["hue_circular/mean_turns/all"] < 0.04
    assert results["light/mean_deg/all"] < 4
    assert results["hue/mean_turns_floor/all"] < 0.02 and results["hue/mean_turns_light/all"] < 0.02


def run(views: FeatureSet, settings: EvaluateConfig, say: Say = lambda line: None) -> dict:
    return probe_all(views, views, 1, "legacy", settings, log=say)[0]


def test_the_default_takes_what_the_store_allows_and_says_what_it_leaves_out() -> None:
    lines: list[str] = []
    results = run(make_set(8, schema=threediebench_schema()), config(parts=[]), lines.append)
    groups = {key.split("/")[0] for key in results}
    assert groups == {"classification", "rotation", "rotation_absolute", "hue", "hue_circular", "light"}
    assert [line for line in lines if "skipping" in line] == [
        f"skipping {name}: the store does not hold the latents translation_x, translation_y, translation_z"
        for name in ("translation_object", "translation_base")
    ]


def test_what_is_impossible_is_an_error_when_asked_for() -> None:
    plain = make_set(4, schema=threediebench_schema())
    with pytest.raises(ValueError, match="'translation_base' is not possible here: the store does not hold"):
        run(plain, config("translation_base"))
    with pytest.raises(
        ValueError,
        match=r"protocol 'hues' \(did you mean 'hue'\?\); expected one of classification, .*retrieval",
    ):
        run(plain, config("hues"))
    still = make_set(4)
    still.latents[..., 3] = still.latents[..., 6] = 0.5
    with pytest.raises(ValueError, match="'hue' is not possible here: floor_hue, light_hue are the same in every view"):
        run(still, config("hue"))
    with pytest.raises(ValueError, match="'rotation' is not possible here: it compares two views"):
        run(make_set(4, views=1), config("rotation"))


def test_one_object_of_two_views_is_enough_and_one_view_still_has_a_pose() -> None:
    results = run(make_set(1, views=2), config(steps=2))
    assert results["translation_base/mean_distance_se/all"] is None
    assert math.isfinite(results["rotation/mean_deg/all"])
    alone = run(make_set(2, views=1), config(steps=2))
    assert {key.split("/")[0] for key in alone} == {"classification", "rotation_absolute", "light", "collapse"}


def height(setting: ProbeSetting) -> Task:
    """A user's own protocol: z of the translation, one view, scored by distance."""
    return Task("height", 1, setting.config.hue, lambda views: views.columns("translation_z"), needs=("translation_z",))


def twin(setting: ProbeSetting) -> Task:
    """Another protocol that writes under a taken name."""
    return replace(height(setting), name="hue")


def unscored(setting: ProbeSetting) -> Task:
    """Its scores have two components, its errors one column."""
    return replace(height(setting), scoring=Regression(Measure("m", distances, ("x", "y"))))


def too_wide(setting: ProbeSetting) -> Task:
    """Predicts two numbers, of which one is known."""
    return replace(height(setting), out_dim=2)


def of_objects(setting: ProbeSetting) -> Task:
    """Knows one thing of each object instead of each view."""
    return replace(height(setting), view_targets=lambda views: views.columns("translation_z")[:, 0])


def nothing(setting: ProbeSetting) -> None:
    """No protocol at all."""


def test_a_protocol_of_ones_own_by_import_path() -> None:
    sets = [make_set(40, offset=offset, features=everything) for offset in (0, 40)]
    results, _ = probe_all(*sets, 1, "legacy", config(f"{__name__}:height", "hue", steps=300))
    assert {key.split("/")[0] for key in results} == {"height", "hue", "collapse"}
    assert results["height/mean_distance/all"] < 0.1 < results["height/mean_distance/constant"]
    with pytest.raises(ValueError, match=r"height' is not possible here: the store does not hold .* translation_z"):
        run(make_set(4, schema=threediebench_schema()), config(f"{__name__}:height"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unscored", "protocol 'height' does not fit: "),
        ("too_wide", r"protocol 'height' does not fit: expected targets \(P, 2\), got \(24, 1\)"),
        ("of_objects", r"protocol 'height' does not fit: expected something known of every view, \(4, 6\)"),
        ("nothing", "nothing' to give a Task, got None"),
        ("twin", "expected protocols of different names, got 'hue' from 'hue' and '.*twin'"),
        ("absent", "cannot import protocol '.*:absent'"),
    ],
)
def test_a_fault_of_a_protocol_shows_before_any_head_is_trained(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "train_probes", lambda *args: pytest.fail("heads were trained"))
    with pytest.raises(ValueError, match=message):
        run(make_set(4), config("hue", f"{__name__}:{name}"))


def test_individual_keeps_its_earlier_name() -> None:
    results = run(make_set(4), config("rotation", steps=2, individual=True))
    assert results["individual/mean_deg/all"] == results["rotation_absolute/mean_deg/all"]
    assert "individual/r2_global/constant" in results
