"""Actions: their parts, whitening, and what pretraining does with them before the first step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.geometry import wigner_d
from equissl.methods.views.actions import Action
from equissl.metrics import shortcut_share

ROTATIONS = ["quaternion", "rotmat", "turn", "wigner2", "rotmat+hue"]


def about_z(batch: ViewBatch) -> ViewBatch:
    """The batch with rotations that are turns about z."""
    angle = 3 * torch.rand(len(batch), batch.num_views, generator=torch.Generator().manual_seed(0)) - 1.5
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [torch.stack(row, dim=-1) for row in ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))]
    return replace(batch, rotations=torch.stack(rows, dim=-2))


def test_rotations_as_actions(build_batch: Any) -> None:
    batch = build_batch(objects=5)
    turned = batch.relative_rotations()
    torch.testing.assert_close(Action("wigner2")(batch), wigner_d(turned, 2).flatten(1))
    flat = about_z(batch)
    angle = torch.atan2(flat.rotations[..., 1, 0], flat.rotations[..., 0, 0])
    relative = angle[:, 1] - angle[:, 0]
    torch.testing.assert_close(Action("turn")(flat), torch.stack([relative.cos(), relative.sin()], dim=1))


def test_pose_as_action(build_batch: Any) -> None:
    batch = build_batch(objects=5)
    batch = replace(batch, translations=torch.randn(5, 2, 3))
    pose = Action("rotmat+translation")(batch)
    rigid = batch.relative_rigids()
    torch.testing.assert_close(pose, torch.cat([rigid[:, :3, :3].flatten(1), rigid[:, :3, 3]], dim=1))


@pytest.mark.parametrize("kind", ROTATIONS)
def test_whitened_actions_have_mean_0_covariance_1_and_no_shortcut(kind: str, build_batch: Any) -> None:
    batch = build_batch(objects=400)
    action, raw = Action(kind, whiten=True).double(), Action(kind)(batch)
    action.fit(raw)
    z = action(batch).double()
    torch.testing.assert_close(z.mean(0), torch.zeros(action.dim, dtype=torch.float64), atol=1e-4, rtol=0)
    covariance = torch.cov(z.T, correction=0)
    torch.testing.assert_close(covariance, torch.eye(action.dim, dtype=torch.float64), atol=1e-3, rtol=0)
    assert shortcut_share(z) == pytest.approx(1, abs=1e-6)


def test_directions_without_variance_give_0(build_batch: Any) -> None:
    batch = about_z(build_batch(objects=200))
    for kind, varying in (("rotmat", 2), ("wigner2", 4)):
        action = Action(kind, whiten=True).double()
        action.fit(Action(kind)(batch))
        covariance = torch.cov(action(batch).double().T, correction=0)
        eigenvalues = torch.linalg.eigvalsh(covariance)
        expected = torch.cat([torch.zeros(action.dim - varying), torch.ones(varying)]).double()
        torch.testing.assert_close(eigenvalues, expected, atol=1e-3, rtol=0)


def test_equal_actions_cannot_be_whitened(build_batch: Any) -> None:
    with pytest.raises(ValueError, match="expected actions that vary, to whiten them, got 7 equal ones"):
        Action(whiten=True).fit(torch.ones(7, 4))


@pytest.mark.parametrize("name", ["SIE", "CapsIE", "Composed", "ConvJEPA"])
def test_methods_keep_the_statistics_with_their_weights(name: str, build_batch: Any, build_method: Any) -> None:
    batch = build_batch(objects=60)
    method = build_method(name, whiten_actions=True)
    assert method.fit_actions(method.action.raw(batch)) in (None, pytest.approx(1, abs=1e-4))
    copy = build_method(name, seed=1, whiten_actions=True)
    copy.load_state_dict(method.state_dict())
    torch.testing.assert_close(copy.action(batch), method.action(batch), rtol=0, atol=0)
    assert float(method.action(batch).mean(0).norm()) < 1e-4


@pytest.mark.parametrize(
    ("options", "share"),
    [({}, None), ({"hyper_bias": True}, 0.0), ({"residual": True}, 0.0), ({"target_bias": True}, 0.0)],
)
def test_a_constant_of_the_predictor_s_own_is_a_shortcut(
    options: dict[str, Any], share: float | None, build_batch: Any, build_method: Any
) -> None:
    method = build_method("SIE", predictor_options=options)
    actions: Tensor = method.action(build_batch(objects=60))
    assert method.fit_actions(actions) == pytest.approx(shortcut_share(actions) if share is None else share, abs=1e-6)
    assert build_method("Composed split").fit_actions(torch.randn(9, 6)) == 0  # an MLP has a bias
    assert build_method("Composed", predictor="embedded_action").fit_actions(actions) == 0
    for name in ("VICReg", "AugSelf", "SeqJEPA"):  # no predictor that is told whole actions: no data is read for it
        assert not build_method(name).fits_actions and build_method(name).fit_actions(actions) is None


@pytest.mark.parametrize("options", [{"init": "identity"}, {"residual": True}])
def test_no_change_is_predicted_for_no_change(options: dict[str, Any], build_batch: Any, build_method: Any) -> None:
    method = build_method("SIE", action="rotmat", whiten_actions=True, predictor_options=options)
    method.fit_actions(method.action.raw(build_batch(objects=60)))
    still = method.action.whitened(torch.tensor(method.action.identity)).expand(6, 9)
    e = torch.randn(6, method.projector_equi.out_dim)
    torch.testing.assert_close(method.predictor(e, still), e)
