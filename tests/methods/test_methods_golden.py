"""Losses of whole methods, with identity encoders, against values computed from the published implementations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import Frame, ViewBatch
from equissl.datasets.views.schema import Latent, LatentSchema, threediebench_schema
from equissl.encoders import Encoder
from equissl.encoders.config import EncoderConfig
from equissl.geometry import euler_to_rotmat, unitquat_to_rotmat
from equissl.methods import SIE, EquiCaps, SimCLR, VICReg
from equissl.predictors import LinearHypernetwork

TINY = EncoderConfig(width=2)
EULER_PAIRS = torch.tensor(
    [
        [[0.1, 0.2, 0.3], [-0.4, 0.5, 1.2]],
        [[0, 0, 0], [0.3, 0.3, 0.3]],
        [[0.5, -0.5, 0.5], [0, 0, 0]],
        [[1, -1, 0.2], [-1, 1, -0.2]],
    ],
    dtype=torch.float64,
)


class PixelEncoder(Encoder):
    """The image itself, so that a batch can carry given embeddings."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def feature_map(self, images: Tensor) -> Tensor:
        return images

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.flatten(1)


def waves(batch: int, width: int) -> tuple[Tensor, Tensor]:
    n = torch.arange(batch * width, dtype=torch.float64).view(batch, width)
    return torch.sin(1 + n), torch.cos(0.5 * n)


def batch_of(x: Tensor, y: Tensor, rotations: Tensor) -> ViewBatch:
    """Embeddings (B, 3k) as float images (B, 2, 3, 1, k); no Euler latents, so quaternions come from the matrices."""
    images = torch.stack([x, y], dim=1).view(len(x), 2, 3, 1, -1)
    schema = LatentSchema((Latent("hue", "hue", 0, 1),))
    return ViewBatch(images, rotations, torch.zeros(len(x), 2, 1), torch.zeros(len(x), dtype=torch.long), schema)


@pytest.fixture
def quaternion_batch() -> ViewBatch:
    x, y = waves(4, 6)
    z = torch.arange(1, 5, dtype=torch.float64) + torch.arange(4).unsqueeze(1)
    second = unitquat_to_rotmat(z / z.norm(dim=1, keepdim=True))
    return batch_of(x, y, torch.stack([torch.eye(3, dtype=torch.float64).expand(4, 3, 3), second], dim=1))


def identity_method(method: Any, width: int = 6) -> Any:
    method.encoder, method.feature_dim = PixelEncoder(width), width
    for name in ("projector", "projector_inv", "projector_equi"):
        if hasattr(method, name):
            setattr(method, name, nn.Identity())
    return method.double()


def identity_sie(**changes: Any) -> SIE:
    method = SIE(TINY, projector=(4,), **changes)
    method.inv_dim = method.equi_dim = 3
    method.predictor = LinearHypernetwork(3, 4)
    identity_method(method)
    k, c = torch.arange(9, dtype=torch.float64).unsqueeze(1), torch.arange(4, dtype=torch.float64)
    method.predictor.net[0].weight.data = 0.1 * torch.cos(k + 2 * c)
    return method


def test_vicreg(quaternion_batch: ViewBatch) -> None:
    out = identity_method(VICReg(TINY, projector=(4,))).step(quaternion_batch)
    assert out.terms["invariance"].item() == pytest.approx(1.006229, abs=2e-6)
    assert out.loss.item() == pytest.approx(17.260397, abs=2e-6)


def test_simclr(quaternion_batch: ViewBatch) -> None:
    out = identity_method(SimCLR(TINY, projector=(4,))).step(quaternion_batch)
    assert out.loss.item() == pytest.approx(10.080289, abs=2e-6)


def test_sie(quaternion_batch: ViewBatch) -> None:
    out = identity_sie().step(quaternion_batch)
    expected = {
        "invariance": 1.302293,
        "equivariance": 0.203153,
        "variance": 0.539212,
        "predictor_variance": 0.490733,
        "covariance": 1.805988,
    }
    assert {name: value.item() for name, value in out.terms.items()} == pytest.approx(expected, abs=2e-6)
    assert out.loss.item() == pytest.approx(26.042557, abs=2e-6)
    assert out.action_gap is not None
    assert out.action_gap["equivariance"].item() == pytest.approx(0.203153, abs=2e-6)


def test_sie_without_variance_on_the_predictor(quaternion_batch: ViewBatch) -> None:
    out = identity_sie(variance_on_predictor=False).step(quaternion_batch)
    assert out.loss.item() == pytest.approx(21.135227, abs=2e-6)


def test_sign_policy_reverses_the_prediction_of_the_bias_free_hypernetwork() -> None:
    x, y = waves(4, 6)
    latents = torch.zeros(4, 2, 7, dtype=torch.float64)
    latents[..., :3] = EULER_PAIRS
    images = torch.stack([x, y], dim=1).view(4, 2, 3, 1, -1)
    labels = torch.zeros(4, dtype=torch.long)
    batch = ViewBatch(images, euler_to_rotmat(EULER_PAIRS), latents, labels, threediebench_schema())
    plus, minus = identity_sie(sign="legacy"), identity_sie(sign="legacy_negated")
    e = x[:, 3:]
    torch.testing.assert_close(plus.predictor(e, plus.actions(batch)), -minus.predictor(e, minus.actions(batch)))


def test_collapsed_embeddings_cost_what_the_papers_losses_say() -> None:
    zeros = torch.zeros(4, 6, dtype=torch.float64)
    batch = batch_of(zeros, zeros, torch.eye(3, dtype=torch.float64).expand(4, 2, 3, 3))
    assert identity_method(VICReg(TINY, projector=(4,))).step(batch).loss.item() == pytest.approx(9.9, abs=1e-9)
    assert identity_sie().step(batch).loss.item() == pytest.approx(14.85, abs=1e-9)
    same = batch_of(zeros + 1, zeros + 1, batch.rotations)
    loss = identity_method(SimCLR(TINY, projector=(4,))).step(same).loss.item()
    assert loss == pytest.approx(math.log(7), abs=1e-9)


class GivenCapsules(nn.Module):
    """The first two numbers as logits of the activations, the others as poses."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        x = feature_map.flatten(1)[:, : self.width]
        return x[:, :2].softmax(dim=1), x[:, 2:]


def identity_equicaps(width: int, **changes: Any) -> EquiCaps:
    method = EquiCaps(TINY, image_size=32, capsules=2, **changes)
    method.encoder, method.projector = PixelEncoder(width), GivenCapsules(width)  # type: ignore[assignment]
    return method.double()


def capsule_batch(x: Tensor, y: Tensor) -> ViewBatch:
    pad = (0, -x.shape[1] % 3)  # images have three channels
    return batch_of(nn.functional.pad(x, pad), nn.functional.pad(y, pad), euler_to_rotmat(EULER_PAIRS))


def values(out: Any) -> dict[str, float]:
    return {"loss": out.loss.item(), **{name: value.item() for name, value in out.terms.items()}}


def test_equicaps() -> None:
    out = identity_equicaps(20).step(capsule_batch(*waves(4, 20)))
    expected = {
        "loss": 8.548937,
        "invariance": 0.724664,
        "equivariance": 0.226393,
        "variance": 0.711982,
        "entropy_gap": 0.012166,
        "covariance": 0.212523,
    }
    assert values(out) == pytest.approx(expected, abs=2e-6)


def test_equicaps_on_exactly_equivariant_poses() -> None:
    x, _ = waves(4, 20)
    x[:, :2] = 0
    rotations = euler_to_rotmat(EULER_PAIRS)
    g = rotations[:, 0].transpose(1, 2) @ rotations[:, 1]
    moved = torch.einsum("bkij,bjl->bkil", x[:, 2:].view(4, 2, 3, 3), g).flatten(1)
    out = identity_equicaps(20).step(capsule_batch(x, torch.cat([x[:, :2], moved], dim=1)))
    expected = {
        "loss": 7.935655,
        "invariance": math.log(2),
        "equivariance": 0.0,
        "variance": 0.779531,
        "entropy_gap": 0.0,
        "covariance": 0.071028,
    }
    assert values(out) == pytest.approx(expected, abs=2e-6)
    assert out.action_gap is not None
    assert out.action_gap["equivariance"] < 1e-20
    assert out.action_gap["equivariance_ignored_action"] > 0.1


@pytest.mark.parametrize("frame", ["object", "base"])
def test_equicaps_with_4x4_poses(frame: Frame) -> None:
    u = torch.tensor([[0.1, 0.2, 0.3], [0, 0, 0], [-0.1, 0.2, -0.3], [0.4, -0.4, 0.1]], dtype=torch.float64)
    batch = capsule_batch(*waves(4, 34))
    first = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
    r1, r2 = (r.unsqueeze(1) for r in batch.rotations.unbind(1))
    if frame == "object":  # u = R1ᵀ (t2 - t1)
        second = first + (r1 @ u.view(4, 1, 3, 1)).view(4, 3)
    else:  # u = R1ᵀ R2 t2 - t1
        second = (r2.transpose(-1, -2) @ r1 @ (u + first).view(4, 1, 3, 1)).view(4, 3)
    batch = replace(batch, translations=torch.stack([first, second], dim=1))
    expected = {
        "loss": 8.280140,
        "invariance": 0.755803,
        "equivariance": 0.132047,
        "variance": 0.739016,
        "entropy_gap": 0.002464,
        "covariance": 0.151701,
    }
    assert values(identity_equicaps(34, pose="rigid", frame=frame).step(batch)) == pytest.approx(expected, abs=2e-6)
