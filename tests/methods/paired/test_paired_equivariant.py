from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from paired_batches import CLOUD, EQUIVARIANT, SMALL, TEXT, random_batch

from equissl.evaluation.paired.config import PoseOptions
from equissl.evaluation.paired.pose import PoseTask, constant_errors, pose_errors
from equissl.geometry import random_rotmat
from equissl.methods.paired.equivariant import PairedEquivariant
from equissl.predictors import GroupRepresentation


def small(**options) -> PairedEquivariant:
    torch.manual_seed(0)
    return PairedEquivariant(**SMALL, cloud=EQUIVARIANT, irrep_projector=(16,), **options)


def test_step() -> None:
    method, batch = small(text=TEXT), random_batch(views=2)
    output = method.step(batch)
    output.loss.backward()
    assert set(output.terms) == {"clip", "action_likelihood", "temperature"}
    assert output.action_gap is not None and output.features.shape == (6, 2, method.feature_dim)
    for name, encoder in method.encoders().items():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters()), name
    parts = method.features(torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8))
    assert {name: part.shape[1] for name, part in parts.items()} == {
        "all": method.feature_dim, "inv": 8, "equi": method.predictor.dim,
    }  # fmt: skip


def test_the_frame_of_the_clouds_does_not_matter() -> None:
    """Turned clouds whose rotation the batch says give the same loss: the cloud's irreps turn exactly."""
    method, batch = small().eval(), random_batch(views=2)
    assert batch.clouds is not None
    turn = random_rotmat(len(batch), torch.Generator().manual_seed(5))[:, None]
    moved = replace(
        batch.clouds,
        points=batch.clouds.points @ turn.mT, normals=batch.clouds.normals @ turn.mT,
        rotations=turn @ batch.clouds.rotations,
    )  # fmt: skip
    torch.testing.assert_close(
        method.step(replace(batch, clouds=moved)).loss, method.step(batch).loss, rtol=1e-4, atol=1e-5
    )


def test_likelihood_knows_nothing_of_collapsed_images() -> None:
    method = small()
    turns = random_rotmat(10, torch.Generator().manual_seed(0))
    nothing = torch.zeros(10, method.predictor.dim)
    assert method.likelihood(nothing, nothing, turns).item() == pytest.approx(math.log(10))


def test_poses_of_exact_irreps_are_found() -> None:
    """An image whose irreps are ρ(R) times the cloud's shows the object turned by R; other candidates are beaten."""
    predictor, generator = GroupRepresentation("8x1e+8x2e"), torch.Generator().manual_seed(0)
    cloud, turns = torch.randn(30, predictor.dim, generator=generator), random_rotmat(30, generator)
    image = predictor(cloud, turns.mT)  # ρ(Rᵀ)ᵀ
    task = PoseTask(image, cloud, [(8, 1), (8, 2)], turns, random_rotmat(600, generator))
    found, coarse = pose_errors(task, PoseOptions(600)), pose_errors(task, PoseOptions(600, refinements=0))
    assert found.max() < 2 < coarse.mean()
    scores = predictor.match(image, cloud, turns)
    assert torch.equal(scores.argmax(dim=1), torch.arange(30))


def test_the_constant_answer_is_the_mean_rotation() -> None:
    known = random_rotmat(1, torch.Generator().manual_seed(0)).double().expand(5, 3, 3)
    assert constant_errors(known[:2], known).abs().max() < 1e-4


def test_errors() -> None:
    with pytest.raises(ValueError, match="irreps of degree 1 or more"):
        PairedEquivariant(**SMALL, cloud=CLOUD)
