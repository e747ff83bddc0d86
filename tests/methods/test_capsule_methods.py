"""EquiCaps with 4 x 4 poses, and CapsIE: layout, equivariance, loss, schedule, bad input."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equissl.datasets.views.batch import Frame, ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.geometry import random_rotmat
from equissl.methods import CapsIE, EquiCaps
from equissl.predictors import LinearHypernetwork

TINY = EncoderConfig(width=4)


@pytest.mark.parametrize(("changes", "file"), [({}, "EquiCaps_3x3"), ({"pose": "rigid"}, "EquiCaps_4x4")])
def test_equicaps_names_shapes_and_order_of_the_published_weights(changes: Any, file: str, golden: Any) -> None:
    lines = (golden / f"official_keys_{file}.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t")[:2] for line in lines if not line.startswith("evaluator")]
    published = [(key.replace("backbone.", "encoder.", 1), shape) for key, shape in rows]
    state = EquiCaps(**changes).state_dict()
    assert [(key, "x".join(map(str, v.shape)) or "scalar") for key, v in state.items()] == published


def test_actions_of_equicaps(batch: ViewBatch) -> None:
    def actions(**changes: Any) -> Tensor:
        return EquiCaps(TINY, image_size=64, capsules=2, **changes).double().actions(batch)

    r12 = batch.relative_rotations()
    assert torch.equal(actions(), r12)
    padded = actions(pose_size=4)
    assert torch.equal(padded[:, :3, :3], r12)
    assert torch.equal(padded[:, 3], torch.eye(4).double()[3].expand(6, 4)) and padded[:, :3, 3].abs().max() == 0
    assert torch.equal(actions(pose="rigid"), batch.relative_rigids())
    base = actions(pose="rigid", frame="base")
    assert torch.equal(base, batch.relative_rigids(frame="base"))
    assert (base - batch.relative_rigids()).abs().max() > 0.1


@pytest.mark.parametrize("frame", ["object", "base"])
def test_rigid_poses_compose(frame: Frame, build_batch: Any) -> None:
    """Poses that start as the views' own 4 x 4 poses are moved exactly; to a third view directly or by the second."""
    batch = build_batch(views=3)
    method = EquiCaps(TINY, image_size=64, capsules=2, pose="rigid", frame=frame).double()
    g01, g12, g02 = (batch.relative_rigids(i, j, frame=frame) for i, j in ((0, 1), (1, 2), (0, 2)))
    start = torch.randn(6, 2 * 16, dtype=torch.float64)
    via = (start.view(6, 2, 4, 4) @ g01[:, None]).flatten(1)
    torch.testing.assert_close(method.predict(via, g12), method.predict(start, g02))
    end = 3 * (via.view(6, 2, 4, 4) @ g12[:, None]).flatten(1)  # up to scale
    torch.testing.assert_close(method.predict(start, g02), method.target(end))
    assert (method.predict(start, g01) - method.target(end)).abs().max() > 0.01


def test_4x4_poses_need_translations_unless_told_otherwise(batch: ViewBatch, build_method: Any) -> None:
    still = replace(batch, translations=None)
    with pytest.raises(
        ValueError, match="expected a batch with translations, as 3DIEBench-T has them, got one without"
    ):
        build_method("EquiCaps 4x4").step(still)
    method = build_method("EquiCaps", pose_size=4)
    assert torch.equal(method.step(still).loss, method.step(batch).loss)
    assert method.features(batch.images[:, 0])["equi"].shape == (6, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose": "rigid", "pose_size": 3}, r"pose_size to be one of \(4,\) with pose='rigid', got 3"),
        ({"pose_size": 5}, r"pose_size to be one of \(3, 4\) with pose='rotation', got 5"),
        ({"pose": "affine"}, "pose to be 'rotation' or 'rigid', got 'affine'"),
        ({"pose": "rigid", "frame": "world"}, "frame to be 'object' or 'base', got 'world'"),
        ({"frame": "base"}, "expected pose='rigid' with frame='base'"),
    ],
)
def test_equicaps_refuses_impossible_poses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EquiCaps(TINY, image_size=64, capsules=2, **changes)


def numpy_capsie(a: Any, u: Any, b: Any, v: Any, predicted: Any, t: float, t2: float) -> dict[str, float]:
    """Terms and loss as they are written down, with CapsIE's weights."""
    p, q = (x ** (1 / c) / (x ** (1 / c)).sum(1, keepdims=True) for x, c in ((a, t), (b, t2)))

    def hinge(x: Any) -> float:
        return np.maximum(0, 1 - np.sqrt(x.var(axis=0, ddof=1) + 1e-4)).mean()

    def off_diagonal(x: Any) -> float:
        c = np.cov(x.T)
        return (np.square(c).sum() - np.square(np.diag(c)).sum()) / x.shape[1]

    def gap(x: Any) -> float:
        mean = x.mean(0)
        return np.log(len(mean)) + (mean * np.log(mean)).sum()

    x, y = np.concatenate([a, u], 1), np.concatenate([b, v], 1)
    terms = {
        "invariance": -(q * np.log(p)).sum(1).mean(),
        "equivariance": np.square(predicted - v).mean(),
        "variance": (hinge(x) + hinge(y)) / 2,
        "predictor_variance": hinge(predicted) / 2,
        "covariance": off_diagonal(x) + off_diagonal(y),
        "entropy_gap": gap(p) + gap(q),
    }
    weights = {"invariance": 10, "equivariance": 4.5, "variance": 10, "predictor_variance": 10, "covariance": 1}
    weights["entropy_gap"] = 10
    return {"loss": sum(weights[name] * value for name, value in terms.items()), **terms}


@pytest.mark.parametrize(("step", "t2"), [(None, 0.025), (4, 0.055), (9, 0.085)])
def test_capsie_loss_is_what_its_docstring_says(step: int | None, t2: float, build_method: Any) -> None:
    method = build_method("CapsIE").double()
    if step is not None:
        method.after_step(step, 10)
    a, b = (torch.randn(8, 4, dtype=torch.float64).mul(0.3).softmax(1) for _ in range(2))
    u, v, predicted = (0.5 * torch.randn(8, 20, dtype=torch.float64) for _ in range(3))
    loss, terms = method.loss(a, u, b, v, predicted)
    got = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
    expected = numpy_capsie(*(x.numpy() for x in (a, u, b, v, predicted)), t=0.1, t2=t2)
    assert got == pytest.approx(expected, rel=1e-9)


def test_capsie_without_the_named_choices(build_method: Any) -> None:
    assert build_method("CapsIE", scale_equi=False).equi == 0.45
    a, b = (torch.rand(6, 4).softmax(1).requires_grad_() for _ in range(2))
    u = torch.zeros(6, 20)
    for detach in (False, True):
        method = build_method("CapsIE", detach_target=detach, std=0.0, cov=0.0, entropy=0.0)
        loss, _ = method.loss(a, u, b, u, u)
        gradients = torch.autograd.grad(loss, [a, b])
        assert gradients[0].abs().max() > 0 and (gradients[1].abs().max() == 0) == detach


def test_capsie_temperatures_follow_the_run_and_survive_a_checkpoint(build_method: Any) -> None:
    def temperatures(method: CapsIE) -> list[float]:
        return [t.item() for t in method.temperatures()]

    method = build_method("CapsIE", anchor_temperature=(0.3, 0.2))
    assert temperatures(method) == pytest.approx([0.3, 0.025])
    method.after_step(49, 100)
    assert temperatures(method) == pytest.approx([0.26, 0.055])  # 0.5 / 1.25 of the way
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = build_method("CapsIE", seed=1, anchor_temperature=(0.3, 0.2))
    other.load_state_dict(torch.load(file), strict=True)
    assert temperatures(other) == temperatures(method)
    method.after_step(99, 100)
    assert temperatures(method) == pytest.approx([0.22, 0.085])
    method.after_step(999, 100)  # never beyond the last value
    assert temperatures(method) == pytest.approx([0.2, 0.1])
    with pytest.raises(ValueError, match=r"target temperatures above 0, got 0\.0 and 0\.1"):
        build_method("CapsIE", target_temperature=(0.0, 0.1))


def test_capsie_starts_with_uniform_activations(build_batch: Any) -> None:
    terms = CapsIE(TINY, image_size=64, capsules=16, pose_dim=4).step(build_batch()).terms
    assert terms["invariance"].item() == pytest.approx(np.log(16), abs=1e-5)
    assert terms["entropy_gap"].item() == pytest.approx(0, abs=1e-5)


def test_capsie_hypernetwork_can_hold_the_pose_action(batch: ViewBatch) -> None:
    """With rotation matrices as actions, P·R12 of 3 x 3 poses is one setting of the hypernetwork's weights."""
    method = CapsIE(TINY, image_size=64, capsules=2, pose_dim=9, action="rotmat").double()
    assert isinstance(method.predictor, LinearHypernetwork)
    weight = torch.zeros(18, 18, 3, 3, dtype=torch.float64)  # to entry (k, i, l) from entry (k, i, j), by R[j, l]
    for row in range(6):
        for j in range(3):
            for column in range(3):
                weight[3 * row + column, 3 * row + j, j, column] = 1
    method.predictor.net[0].weight.data = weight.view(18 * 18, 9)  # type: ignore[union-attr]
    poses = torch.randn(6, 2, 3, 3, dtype=torch.float64)
    moved = (poses @ batch.relative_rotations()[:, None]).flatten(1)
    torch.testing.assert_close(method.predict(poses.flatten(1), method.actions(batch)), moved)
    # in which frame the world's axes lie makes no difference to R12, hence none to the prediction
    turned = replace(batch, rotations=random_rotmat(1, dtype=torch.float64) @ batch.rotations)
    torch.testing.assert_close(method.predict(poses.flatten(1), method.actions(turned)), moved)


def test_capsie_takes_any_predictor_and_action(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("CapsIE", predictor="mlp", action="quaternion+hue", sign="legacy")
    method.step(batch).loss.backward()
    assert all(p.grad.abs().max() > 0 for p in method.predictor.parameters())
    with pytest.raises(ValueError, match="unknown predictor 'oracle'"):
        build_method("CapsIE", predictor="oracle")


@pytest.mark.parametrize("name", ["EquiCaps 4x4", "CapsIE"])
def test_stays_finite_on_dead_capsules(name: str, batch: ViewBatch, build_method: Any) -> None:
    method = build_method(name)
    with torch.no_grad():
        method.projector.bn_a.weight.zero_()
        method.projector.bn_a.bias.fill_(-200)  # every activation underflows to zero
        method.projector.bn_pose.weight.zero_()
        method.projector.bn_pose.bias.zero_()  # every pose is zero
    out = method.step(batch)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())
