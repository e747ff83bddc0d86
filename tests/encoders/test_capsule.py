"""Self-routing capsules against published outputs, and against the readable algorithm that materialises every vote."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoders import CapsuleProjector, SelfRouting, capsule


def sequence(shape: tuple[int, ...], function: object) -> Tensor:
    n = torch.arange(math.prod(shape), dtype=torch.float64)
    return function(n).view(shape)  # type: ignore[operator]


def route_with_all_votes(layer: SelfRouting, activations: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
    """The algorithm as it is written down, one patch after the other."""
    k, a_in, c = layer.kernel, layer.in_capsules, layer.in_pose
    rows, columns = activations.shape[2] - k + 1, activations.shape[3] - k + 1
    out_a, out_u = [], []
    for y in range(rows):
        for x in range(columns):
            a, u = activations[:, :, y : y + k, x : x + k], poses[:, :, y : y + k, x : x + k]
            a = torch.cat([a[:, :, i, j] for i in range(k) for j in range(k)], dim=1)
            u = torch.cat([u[:, :, i, j].reshape(-1, a_in, c) for i in range(k) for j in range(k)], dim=1)
            votes = torch.stack([u[:, i] @ layer.W1[i].T for i in range(u.shape[1])], dim=1)
            votes = votes.unflatten(2, (layer.out_capsules, layer.out_pose))
            logits = torch.stack([u[:, i] @ layer.W2[i].T for i in range(u.shape[1])], dim=1) + layer.b2[0]
            routed = a.unsqueeze(2) * logits.softmax(dim=2)
            out_a.append(routed.sum(1) / a.sum(1, keepdim=True))
            out_u.append(((routed / routed.sum(1, keepdim=True)).unsqueeze(3) * votes).sum(1).flatten(1))
    return (torch.stack(o, dim=2).unflatten(2, (rows, columns)) for o in (out_a, out_u))  # type: ignore[return-value]


def random_layer(*sizes: int) -> SelfRouting:
    layer = SelfRouting(*sizes).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def test_published_numbers() -> None:
    layer = SelfRouting(2, 3, 4, 4, 2).double()
    layer.W1.data = sequence(tuple(layer.W1.shape), lambda n: 0.1 * torch.sin(n))
    layer.W2.data = sequence(tuple(layer.W2.shape), lambda n: 0.5 * torch.cos(0.7 * n))
    layer.b2.data = sequence(tuple(layer.b2.shape), lambda n: 0.1 * n)
    a = sequence((1, 2, 2, 2), lambda n: torch.sigmoid(torch.sin(n)))
    pose = sequence((1, 8, 2, 2), lambda n: torch.cos(0.3 * n))
    a_out, pose_out = layer(a, pose)
    expected_a = [0.2733753, 0.3833500, 0.3432748]
    expected_pose = [-0.00168957, 0.00076765, 0.00068603, -0.00166449, -0.06934099, 0.01611487, 0.04827424]
    expected_pose += [-0.07922316, -0.02367118, 0.05796443, -0.05210499, 0.01015175]
    assert a_out.flatten().tolist() == pytest.approx(expected_a, abs=2e-7)  # given in float32
    assert pose_out.flatten().tolist() == pytest.approx(expected_pose, abs=5e-8)


@pytest.mark.parametrize("budget", [2**24, 1])
@pytest.mark.parametrize(("kernel", "size"), [(3, 3), (2, 4), (1, 2)])
def test_equals_the_algorithm_with_all_votes(
    kernel: int, size: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capsule, "_TEMPORARY_NUMEL", budget)  # 1: one output capsule at a time
    layer = random_layer(2, 3, 4, 5, kernel)
    inputs = [torch.rand(2, 2, size, size).double().requires_grad_(), torch.randn(2, 8, size, size).double()]
    inputs[1].requires_grad_()
    results = []
    for function in (layer, lambda a, u: route_with_all_votes(layer, a, u)):
        a, u = function(*inputs)
        loss = (a * sequence(tuple(a.shape), torch.sin)).sum() + (u * sequence(tuple(u.shape), torch.cos)).sum()
        results.append([a, u, *torch.autograd.grad(loss, [*inputs, *layer.parameters()])])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_grouped_contraction_keeps_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What autograd keeps must not grow to the size of the votes."""
    monkeypatch.setattr(capsule, "_TEMPORARY_NUMEL", 1)
    batch, inputs, outputs, dim = 4, 64, 16, 9
    coefficients = torch.rand(batch, inputs, outputs, requires_grad=True)
    poses = torch.randn(batch, inputs, dim, requires_grad=True)
    weight = torch.randn(inputs, outputs * dim, dim, requires_grad=True)
    saved: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        capsule.weighted_votes(coefficients, poses, weight)
    votes = 4 * batch * inputs * outputs * dim
    parameters = 4 * (weight.numel() + coefficients.numel() + poses.numel())
    assert sum(saved.values()) <= parameters < parameters + votes


def test_activations_are_a_distribution_and_start_uniform() -> None:
    layer = SelfRouting(4, 32, 9, 9, 2)
    a, _ = layer(torch.rand(3, 4, 2, 2), torch.randn(3, 36, 2, 2))
    torch.testing.assert_close(a, torch.full((3, 32, 1, 1), 1 / 32))
    layer = random_layer(4, 32, 9, 9, 2)
    a, _ = layer(torch.rand(3, 4, 2, 2).double(), torch.randn(3, 36, 2, 2).double())
    torch.testing.assert_close(a.sum(1), torch.ones(3, 1, 1).double())
    assert (a >= 0).all() and a.std() > 0


@pytest.mark.parametrize(("pose", "std", "count"), [(9, 0.0277778, 5_963_776), (16, 0.015625, 17_891_328)])
def test_initialisation_and_parameter_count(pose: int, std: float, count: int) -> None:
    layer = SelfRouting(32, 32, pose, pose, 8)
    assert layer.W1.std().item() == pytest.approx(std, rel=2e-3)
    assert layer.W2.abs().max() == 0 and layer.b2.abs().max() == 0
    assert sum(p.numel() for p in layer.parameters()) == count


def test_no_activation_at_all_is_finite_with_finite_gradient() -> None:
    layer = random_layer(2, 3, 4, 4, 2)
    a, u = torch.zeros(1, 2, 2, 2).double().requires_grad_(), torch.randn(1, 8, 2, 2).double()
    out_a, out_u = layer(a, u)
    (out_a.sum() + out_u.sum()).backward()
    assert torch.isfinite(out_a).all() and torch.isfinite(out_u).all()
    assert torch.isfinite(a.grad).all() and all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_stays_in_full_precision_under_autocast() -> None:
    layer = SelfRouting(2, 3, 4, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        a, u = layer(torch.rand(2, 2, 2, 2).bfloat16(), torch.randn(2, 8, 2, 2).bfloat16())
    assert a.dtype == u.dtype == torch.float32


def test_projector_outputs_of_the_published_implementation(
    golden: Path, fill_by_rule: Callable[[nn.Module], None]
) -> None:
    projector = CapsuleProjector(512, 8, 9, 4).double().eval()
    fill_by_rule(projector)
    m = torch.arange(512 * 16, dtype=torch.float64)
    feature_map = torch.stack([F.relu(torch.cos((0.017 + 0.02 * b) * m)) for b in range(2)]).view(2, 512, 4, 4)
    expected = np.load(golden / "capsule_projector_k8.npz")
    with torch.no_grad():
        activations, poses = projector(feature_map)
    torch.testing.assert_close(activations, torch.from_numpy(expected["activations"]), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(poses, torch.from_numpy(expected["poses"]), rtol=1e-9, atol=1e-12)


def test_projector_names_shapes_and_order_of_the_published_weights(golden: Path) -> None:
    lines = (golden / "official_keys_capsule_projector_k8.tsv").read_text().splitlines()[1:]
    published = [tuple(line.split("\t")[:2]) for line in lines]
    state = CapsuleProjector(512, 8, 9, 4).state_dict()
    assert [(key, "x".join(map(str, v.shape)) or "scalar") for key, v in state.items()] == published


@pytest.mark.parametrize(
    ("pose", "counts"),
    [(9, (2_228_544, 7_438_976, 26_805_504)), (16, (5_726_752, 20_399_168, 76_580_992))],
)
def test_projector_parameter_counts(pose: int, counts: tuple[int, ...]) -> None:
    with torch.device("meta"):
        ours = [sum(p.numel() for p in CapsuleProjector(512, k, pose, 8).parameters()) for k in (16, 32, 64)]
    assert ours == list(counts)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"feature maps of 4 x 4, got \(8, 8\)"):
        CapsuleProjector(6, 2, 9, 4)(torch.zeros(1, 6, 8, 8))
    layer = SelfRouting(2, 3, 4, 4, 3)
    with pytest.raises(ValueError, match=r"at least 3 x 3, got \(2, 2\)"):
        layer(torch.zeros(1, 2, 2, 2), torch.zeros(1, 8, 2, 2))
    with pytest.raises(ValueError, match=r"expected \(2, 8\) activation and pose channels, got \(2, 9\)"):
        layer(torch.zeros(1, 2, 3, 3), torch.zeros(1, 9, 3, 3))
