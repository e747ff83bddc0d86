"""Predictors against the (B, D, D) weights they avoid, published numbers, and their symmetries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.geometry import random_rotmat
from equissl.predictors import LinearHypernetwork, MLPPredictor, pose_action


def per_sample(model: LinearHypernetwork, e: Tensor, z: Tensor) -> Tensor:
    """Write the target network's weights of each sample, and apply them."""
    rows = []
    for x, action in zip(e, z, strict=True):
        written = model.net(action)
        for layer, (out, inner) in enumerate(model.shapes):
            if layer and model.activation:
                x = F.relu(x)
            x, written = written[: out * inner].view(out, inner) @ x, written[out * inner :]
            if model.target_bias:
                x, written = x + written[:out], written[out:]
        assert written.numel() == 0
        rows.append(x)
    return torch.stack(rows)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"hidden": (7,)},
    {"hidden": (7, 3), "activation": True},
    {"target_bias": True},
    {"hyper_bias": True},
    {"deep": True},
    {"hidden": (4,), "activation": True, "target_bias": True, "hyper_bias": True, "deep": True, "init": "scaled"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_hypernetwork_equals_weights_written_per_sample(options: dict[str, Any]) -> None:
    model = LinearHypernetwork(5, 4, **options).double()
    e, z = torch.randn(3, 5).double(), torch.randn(3, 4).double()
    torch.testing.assert_close(model(e, z), per_sample(model, e, z))
    gradients = [
        torch.autograd.grad(f(e, z).sin().sum(), list(model.parameters()))
        for f in (model, lambda *a: per_sample(model, *a))
    ]
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected)


def test_published_predictions() -> None:
    model = LinearHypernetwork(3, 4).double()
    k, c = torch.arange(9).unsqueeze(1), torch.arange(4)
    model.net[0].weight.data = 0.1 * torch.cos((k + 2 * c).double())  # type: ignore[union-attr]
    n = torch.arange(24, dtype=torch.float64).view(4, 6)
    z = torch.arange(1, 5, dtype=torch.float64) + torch.arange(4).unsqueeze(1)
    predicted = model(torch.sin(1 + n)[:, 3:], z / z.norm(dim=1, keepdim=True))
    expected = [
        [-0.07371307, 0.07388710, -0.07258231],
        [-0.06511129, 0.06915472, -0.07181405],
        [-0.04975875, 0.05657871, -0.06226626],
        [-0.03042828, 0.03901399, -0.04681884],
    ]
    torch.testing.assert_close(predicted, torch.tensor(expected).double(), rtol=0, atol=5e-8)  # given in float32


def test_linear_in_action_and_in_embedding() -> None:
    model = LinearHypernetwork(6, 4).double()
    e, f, z, y = (torch.randn(3, size).double() for size in (6, 6, 4, 4))
    torch.testing.assert_close(model(2 * e - f, z), 2 * model(e, z) - model(f, z))
    torch.testing.assert_close(model(e, 3 * z + y), 3 * model(e, z) + model(e, y))


def test_parameter_counts() -> None:
    def count(**options: Any) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in LinearHypernetwork(1024, 4, **options).parameters())

    assert count() == 4_194_304
    assert count(target_bias=True) == 4_198_400
    assert count(hyper_bias=True) == 5_242_880
    assert count(deep=True) == 4_194_336
    with torch.device("meta"):
        assert sum(p.numel() for p in LinearHypernetwork(1024, 6).parameters()) == 6_291_456
        mlps = [sum(p.numel() for p in MLPPredictor(1024, 4, n).parameters()) for n in (1, 2, 3)]
    assert mlps == [1_053_696, 2_103_296, 3_152_896]


@pytest.mark.parametrize(
    "predictor", [LinearHypernetwork(5, 4), LinearHypernetwork(5, 4, deep=True), MLPPredictor(5, 4, 2)]
)
def test_batch_of_one_keeps_its_shape(predictor: nn.Module) -> None:
    e, z = torch.randn(2, 5), torch.randn(2, 4)
    assert predictor(e[:1], z[:1]).shape == (1, 5)
    torch.testing.assert_close(predictor(e[:1], z[:1]), predictor(e, z)[:1])


def test_identity_start_predicts_no_change_for_the_identity_action() -> None:
    e = torch.randn(3, 6)
    quaternion = torch.tensor([0.0, 0, 0, 1]).expand(3, 4)
    model = LinearHypernetwork(6, 4, init="identity")
    torch.testing.assert_close(model(e, quaternion), e)
    torch.testing.assert_close(model(e, quaternion.flip(1)), torch.zeros_like(e))
    model = LinearHypernetwork(6, 9, init="identity", identity_action=torch.eye(3).flatten().tolist())
    torch.testing.assert_close(model(e, torch.eye(3).flatten().expand(3, 9)), e)


def test_scaled_start_keeps_the_length_of_the_embedding() -> None:
    e, z = torch.randn(64, 400), F.normalize(torch.randn(64, 4), dim=1)
    lengths = {init: LinearHypernetwork(400, 4, init=init)(e, z).std().item() for init in ("default", "scaled")}
    assert lengths["default"] == pytest.approx((400 / 12) ** 0.5, rel=0.1)
    assert lengths["scaled"] == pytest.approx((1 / 12) ** 0.5, rel=0.1)


def test_hypernetwork_can_hold_the_vector_representation() -> None:
    """With the matrix as action, some weights give exactly e ↦ R12ᵀ e, as a vector seen in the object's frame moves."""
    model = LinearHypernetwork(3, 9).double()
    weight = torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            weight[i, j, j, i] = 1  # prediction i, embedding j, matrix entry (j, i)
    model.net[0].weight.data = weight.view(9, 9)  # type: ignore[union-attr]
    first, second = random_rotmat(5, dtype=torch.float64), random_rotmat(5, dtype=torch.float64)
    up = torch.tensor([0.0, 0, 1]).double()
    e1, e2 = first.transpose(1, 2) @ up, second.transpose(1, 2) @ up
    torch.testing.assert_close(model(e1, (first.transpose(1, 2) @ second).flatten(1)), e2)


def test_hypernetwork_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"shapes \(\(3, 5\), \(3, 4\)\), got \(\(3, 5\), \(3, 9\)\)"):
        LinearHypernetwork(5, 4)(torch.zeros(3, 5), torch.zeros(3, 9))
    with pytest.raises(ValueError, match="single linear layer"):
        LinearHypernetwork(5, 4, init="identity", deep=True)
    with pytest.raises(ValueError, match="identity_action of 9 numbers"):
        LinearHypernetwork(5, 9, init="identity")
    with pytest.raises(ValueError, match="got 'zero'"):
        LinearHypernetwork(5, 4, init="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1 layer, got 0"):
        MLPPredictor(5, layers=0)


def test_mlp_puts_the_action_first() -> None:
    model = MLPPredictor(2, 3)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0]]))
        model[0].bias.zero_()
    out = model(torch.tensor([[7.0, 8.0]]), torch.tensor([[1.0, 2.0, 3.0]]))
    assert out.tolist() == [[1.0, 8.0]]


def test_pose_action_is_a_right_action_of_the_group() -> None:
    poses = torch.randn(4, 5, 3, 3).double()
    g, h = random_rotmat(4, dtype=torch.float64), random_rotmat(4, dtype=torch.float64)
    torch.testing.assert_close(pose_action(pose_action(poses, g), h), pose_action(poses, g @ h))
    torch.testing.assert_close(pose_action(pose_action(poses, g), g.transpose(1, 2)), poses)
    torch.testing.assert_close(pose_action(poses, g).norm(dim=(2, 3)), poses.norm(dim=(2, 3)))
    # poses that follow the object: P_k R for any P_k
    first, second = random_rotmat(4, dtype=torch.float64), random_rotmat(4, dtype=torch.float64)
    moved = pose_action(pose_action(poses, first), first.transpose(1, 2) @ second)
    torch.testing.assert_close(moved, pose_action(poses, second))


def test_pose_action_names_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"got \(\(4, 5, 3, 3\), \(4, 4, 4\)\)"):
        pose_action(torch.zeros(4, 5, 3, 3), torch.zeros(4, 4, 4))
