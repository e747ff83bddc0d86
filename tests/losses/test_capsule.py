"""Capsule losses against golden values, SciPy and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import entropy

from equissl.geometry import euler_to_rotmat, random_rotmat, relative_rigid, relative_rotation, rigid
from equissl.losses import (
    activation_cross_entropy,
    covariance_penalty,
    mean_entropy_gap,
    normalize_poses,
    pose_alignment,
    sharpen,
    sharpened_cross_entropy,
    variance_hinge,
)

EULER = torch.tensor(
    [
        [[0.1, 0.2, 0.3], [-0.4, 0.5, 1.2]],
        [[0, 0, 0], [0.3, 0.3, 0.3]],
        [[0.5, -0.5, 0.5], [0, 0, 0]],
        [[1, -1, 0.2], [-1, 1, -0.2]],
    ],
    dtype=torch.float64,
)
TRANSLATION = torch.tensor([[0.1, 0.2, 0.3], [0, 0, 0], [-0.1, 0.2, -0.3], [0.4, -0.4, 0.1]], dtype=torch.float64)


def embeddings(size: int) -> tuple[torch.Tensor, ...]:
    """Activations and poses of two views: K = 2 capsules, poses size x size, sines and cosines of the flat index."""
    width = 2 + 2 * size * size
    n = torch.arange(4 * width, dtype=torch.float64).reshape(4, width)
    x, y = torch.sin(1 + n), torch.cos(0.5 * n)
    poses = (view[:, 2:].reshape(4, 2, size, size) for view in (x, y))
    return x[:, :2].softmax(1), y[:, :2].softmax(1), *poses


def terms(a: torch.Tensor, b: torch.Tensor, moved: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Terms and total of the EquiCaps objective with its published weights."""
    x, y = (torch.cat((c, normalize_poses(p).flatten(1)), dim=1) for c, p in ((a, moved), (b, target)))
    out = {
        "inv": activation_cross_entropy(a, b),
        "equi": pose_alignment(moved, target),
        "std": (variance_hinge(x) + variance_hinge(y)) / 2,
        "me": mean_entropy_gap(a) + mean_entropy_gap(b),
        "cov": covariance_penalty(x) + covariance_penalty(y),
    }
    out["total"] = 0.1 * out["inv"] + 5 * out["equi"] + 10 * out["std"] + out["me"] + out["cov"]
    return {name: value.item() for name, value in out.items()}


def test_golden_rotation() -> None:
    a, b, p, q = embeddings(3)
    action = relative_rotation(euler_to_rotmat(EULER[:, 0]), euler_to_rotmat(EULER[:, 1]))
    expected = {"inv": 0.724664, "equi": 0.226393, "std": 0.711982, "me": 0.012166, "cov": 0.212523, "total": 8.548937}
    assert terms(a, b, p @ action[:, None], q) == pytest.approx(expected, abs=1e-5)


def test_golden_exact_equivariance() -> None:
    _, _, p, _ = embeddings(3)
    action = relative_rotation(euler_to_rotmat(EULER[:, 0]), euler_to_rotmat(EULER[:, 1]))
    uniform, moved = torch.full((4, 2), 0.5, dtype=torch.float64), p @ action[:, None]
    expected = {"inv": math.log(2), "equi": 0, "std": 0.779531, "me": 0, "cov": 0.071028, "total": 7.935655}
    assert terms(uniform, uniform, moved, moved) == pytest.approx(expected, abs=1e-5)


def test_golden_rigid() -> None:
    a, b, p, q = embeddings(4)
    rotation = relative_rotation(euler_to_rotmat(EULER[:, 0]), euler_to_rotmat(EULER[:, 1]))
    action = relative_rigid(torch.eye(4, dtype=torch.float64), rigid(rotation, TRANSLATION))
    expected = {"inv": 0.755803, "equi": 0.132047, "std": 0.739016, "me": 0.002464, "cov": 0.151701, "total": 8.280140}
    assert terms(a, b, p @ action[:, None], q) == pytest.approx(expected, abs=1e-5)


def test_pose_alignment_is_the_cosine_and_ignores_scale() -> None:
    _, _, p, q = embeddings(3)
    cosine = torch.nn.functional.cosine_similarity(p.flatten(2), q.flatten(2), dim=-1).mean()
    assert pose_alignment(p, q).item() == pytest.approx(((2 - 2 * cosine) / 9).item(), rel=1e-12)
    assert pose_alignment(3 * p, 0.1 * q).item() == pytest.approx(pose_alignment(p, q).item(), rel=1e-12)
    assert pose_alignment(p, -p).item() == pytest.approx(4 / 9, rel=1e-12)


def test_right_multiplication_by_a_rotation_keeps_the_norm() -> None:
    _, _, p, q = embeddings(3)
    g = random_rotmat(4, torch.Generator().manual_seed(0), torch.float64)[:, None]
    torch.testing.assert_close((p @ g).norm(dim=(-2, -1)), p.norm(dim=(-2, -1)))
    assert pose_alignment(p @ g, q @ g).item() == pytest.approx(pose_alignment(p, q).item(), rel=1e-12)


def test_entropies_match_scipy() -> None:
    a, b, _, _ = embeddings(3)
    cross = entropy(b.numpy(), axis=1) + entropy(b.numpy(), a.numpy(), axis=1)
    assert activation_cross_entropy(a, b).item() == pytest.approx(cross.mean(), rel=1e-7)
    gap = math.log(2) - entropy(a.mean(0).numpy())
    assert mean_entropy_gap(a).item() == pytest.approx(gap, rel=1e-7)
    assert mean_entropy_gap(a.mean(0)).item() == mean_entropy_gap(a).item()


def test_limits_at_uniform_and_one_hot_activations() -> None:
    uniform, one_hot = torch.full((8, 32), 1 / 32), torch.eye(32)[:8]
    assert activation_cross_entropy(uniform, one_hot).item() == pytest.approx(math.log(32), abs=1e-6)
    assert activation_cross_entropy(one_hot, one_hot).item() == 0
    assert activation_cross_entropy(one_hot, one_hot.flip(0)).item() == pytest.approx(-math.log(1e-8), abs=1e-5)
    assert mean_entropy_gap(uniform).item() == pytest.approx(0, abs=1e-6)
    assert mean_entropy_gap(one_hot[:1].expand(8, 32)).item() == pytest.approx(math.log(32), abs=1e-6)
    assert mean_entropy_gap(torch.eye(32)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_zero_activations_and_poses_are_finite(dtype: torch.dtype) -> None:
    target = torch.full((3, 4), 0.25)
    a = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    poses = torch.zeros(3, 4, 3, 3, dtype=dtype, requires_grad=True)
    losses = (
        activation_cross_entropy(a, target),
        mean_entropy_gap(a),
        pose_alignment(poses, torch.eye(3).expand(3, 4, 3, 3)),
    )
    assert all(loss.isfinite() for loss in losses)
    for loss in losses:  # each alone: one's gradient must not hide that another has none
        # 1 / eps is beyond float16, where a loss scale is needed
        (1e-4 * loss if dtype == torch.float16 else loss).backward()
    assert a.grad.isfinite().all() and poses.grad.isfinite().all()


@pytest.mark.parametrize("loss", [lambda a: activation_cross_entropy(a, torch.full((3, 4), 0.25)), mean_entropy_gap])
def test_descending_raises_zero_activations(loss) -> None:
    a = torch.zeros(3, 4, requires_grad=True)
    loss(a).backward()
    assert (a.grad < 0).all()


def test_gradient_of_saturated_softmax_activations_is_bounded() -> None:
    """The 1 / activation of the logarithm meets the activation of the softmax: at most 1 per logit."""
    logits = torch.tensor([[0.0, 12.0], [0.0, 60.0]], requires_grad=True)
    activation_cross_entropy(logits.softmax(1), torch.tensor([[1.0, 0.0], [1.0, 0.0]])).backward()
    assert logits.grad.isfinite().all() and logits.grad.abs().max() <= 0.5 + 1e-6
    assert logits.grad[0, 0].item() == pytest.approx(-0.5, abs=1e-4)


def test_gradcheck() -> None:
    a, b, p, q = (tensor.clone().requires_grad_() for tensor in embeddings(3))
    assert torch.autograd.gradcheck(activation_cross_entropy, (a, b))
    assert torch.autograd.gradcheck(mean_entropy_gap, a)
    assert torch.autograd.gradcheck(pose_alignment, (p, q))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(3, 3\)"):
        activation_cross_entropy(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"poses of shape \(\.\.\., n, n\), got \(2, 4, 9\)"):
        pose_alignment(torch.zeros(2, 4, 9), torch.zeros(2, 4, 9))
    with pytest.raises(ValueError, match=r"\(B, K\) or \(K,\), got \(2, 3, 4\)"):
        mean_entropy_gap(torch.zeros(2, 3, 4))


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.025])
def test_sharpening_is_a_normalised_power(temperature: float) -> None:
    p = torch.rand(6, 5, dtype=torch.float64).softmax(1)
    power = p ** (1 / temperature)
    torch.testing.assert_close(sharpen(p, temperature), power / power.sum(1, keepdim=True))
    if temperature == 1:
        torch.testing.assert_close(sharpen(p, temperature), p)


def test_sharpened_cross_entropy_is_the_cross_entropy_of_sharpened() -> None:
    a, b = (torch.rand(6, 5, dtype=torch.float64).softmax(1) for _ in range(2))
    powers = a**10, b**4
    q, p = (x.numpy() / x.numpy().sum(1, keepdims=True) for x in (powers[1], powers[0]))
    expected = (entropy(q, axis=1) + entropy(q, p, axis=1)).mean()  # H(q) + KL(q|p), by SciPy
    assert sharpened_cross_entropy(a, b, 0.1, 0.25).item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(sharpened_cross_entropy(a, b, 1.0, 1.0), activation_cross_entropy(a, b))
    uniform = torch.full((3, 16), 1 / 16)
    assert sharpened_cross_entropy(uniform, uniform, 0.1, 0.025).item() == pytest.approx(math.log(16), rel=1e-6)


def test_sharpened_cross_entropy_learns_from_confident_disagreement() -> None:
    """A power of 40 of these activations is below anything float32 holds; the loss and its gradient must not be."""
    a = torch.tensor([[0.999, 1e-3 - 1e-6, 1e-6]], requires_grad=True)
    b = torch.tensor([[0.0, 0.0, 1.0]], requires_grad=True)
    loss = sharpened_cross_entropy(a, b, 0.025, 0.025)
    loss.backward()
    assert loss.item() == pytest.approx(40 * math.log(0.999 / 1e-6), rel=1e-4)
    assert a.grad is not None and b.grad is not None
    assert torch.isfinite(a.grad).all() and torch.isfinite(b.grad).all() and a.grad[0, 2] < 0
