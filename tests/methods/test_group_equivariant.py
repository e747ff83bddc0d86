"""The method of irreps: exact prediction with known poses, both losses, the split, translations, bad choices."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Encoder
from equissl.encoders.config import EncoderConfig
from equissl.geometry import geodesic_angle, random_rotmat, rigid
from equissl.losses import nt_xent
from equissl.methods import GroupEquivariant
from equissl.objectives import ObjectiveConfig

TINY = EncoderConfig(width=2)
PAIRS = [(0, 1), (0, 2), (1, 2)]
NOTHING = ObjectiveConfig("vicreg", {"sim": 0.0, "std": 0.0, "cov": 0.0})


class PixelEncoder(Encoder):
    """The image itself, so that a batch can carry given embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def feature_map(self, images: Tensor) -> Tensor:
        return images

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.flatten(1)


class GivenParts(nn.Module):
    """The last ``width`` numbers, or the first ones."""

    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.width, self.last = width, last

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -self.width :] if self.last else x[:, : self.width]


def oracle(irreps: str, **changes: Any) -> GroupEquivariant:
    """A method whose irreps are the last numbers of the image."""
    method = GroupEquivariant(TINY, irreps=irreps, projector=(8,), **changes)
    method.encoder = PixelEncoder()
    method.projector_inv = GivenParts(4, last=False)  # type: ignore[assignment]
    method.projector_equi = GivenParts(method.predictor.dim, last=True)  # type: ignore[assignment]
    return method.double()


def exact_batch(method: GroupEquivariant, template: ViewBatch, scale: float = 1.0, **changes: Any) -> ViewBatch:
    """Views whose images hold ρ(g)ᵀ c for content c of each object, g being the pose of each view."""
    torch.manual_seed(4)
    objects, views = len(template), method.views
    batch = replace(
        template, rotations=random_rotmat(views * objects, dtype=torch.float64).view(objects, views, 3, 3), **changes
    )
    g = batch.rotations
    if method.predictor.action_size == 4:
        t = batch.translations
        g = rigid(g, t if method.frame == "object" else (g @ t.unsqueeze(-1)).squeeze(-1))
    content = scale * torch.randn(objects, method.predictor.dim, dtype=torch.float64)
    seen = [torch.einsum("bij,bi->bj", method.predictor.matrix(g[:, v]), content) for v in range(views)]
    same = torch.randn(objects, 4, dtype=torch.float64)
    pixels = torch.stack([torch.cat([same, view], dim=1) for view in seen], dim=1)
    pad = -pixels.shape[2] % 3
    images = torch.cat([pixels[..., :4], pixels.new_zeros(objects, views, pad), pixels[..., 4:]], dim=2)
    return replace(batch, images=images.view(objects, views, 3, 1, -1))


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("equi_loss", ["likelihood", "alignment"])
def test_exactly_equivariant_irreps_have_no_error(equi_loss: Any, views: int, build_batch: Any) -> None:
    method = oracle("2x0e+3x1e+2x2e+1x3e", equi_loss=equi_loss, views=views)
    out = method.step(exact_batch(method, build_batch(8, views=views)))
    assert out.terms["equivariance"] < 1e-24
    assert out.action_gap is not None and out.action_gap["equivariance_ignored_action"] > 0.05


@pytest.mark.parametrize("frame", ["object", "base"])
def test_translations_move_homogeneous_vectors_exactly(frame: Any, build_batch: Any) -> None:
    method = oracle("2x1e", homogeneous=3, frame=frame)
    batch = exact_batch(method, build_batch(8), translations=torch.rand(8, 2, 3, dtype=torch.float64))
    assert method.actions(batch).shape == (8, 4, 4)
    assert method.step(batch).terms["equivariance"] < 1e-24
    other = oracle("2x1e", homogeneous=3, frame="base" if frame == "object" else "object")
    assert other.step(batch).terms["equivariance"] > 1e-3


def test_published_relative_poses_of_both_frames(build_batch: Any) -> None:
    """M1⁻¹ M2 = [R12, R1ᵀ(t2 - t1)] in the object frame and [R12, R12 t2 - t1] in the base frame (EquiCaps)."""
    batch = replace(build_batch(4), translations=torch.rand(4, 2, 3, dtype=torch.float64))
    r12, (t1, t2) = batch.relative_rotations(), batch.translations.unbind(1)
    shifts = {
        "object": torch.einsum("bji,bj->bi", batch.rotations[:, 0], t2 - t1),
        "base": torch.einsum("bij,bj->bi", r12, t2) - t1,
    }
    for frame, u in shifts.items():
        torch.testing.assert_close(oracle("", homogeneous=1, frame=frame).actions(batch), rigid(r12, u))


def test_likelihood_finds_the_rotation_and_costs_log_b_where_irreps_say_nothing(build_batch: Any) -> None:
    method = oracle("4x1e+4x2e", invariant=NOTHING, equi=2.0)
    batch = exact_batch(method, build_batch(8), scale=30.0)
    out = method.step(batch)
    assert out.terms["action_likelihood"] < 1e-6 and out.loss < 2e-6
    blank = method.step(replace(batch, images=torch.zeros_like(batch.images)))
    assert blank.terms["action_likelihood"].item() == pytest.approx(math.log(8))
    assert blank.loss.item() == pytest.approx(2 * math.log(8))
    x, y = (method.embed(view)[1] for view in method.view_features(batch))
    candidates = random_rotmat(4000, dtype=torch.float64)
    best = candidates[method.scores(x, y, candidates).argmax(dim=1)]
    assert geodesic_angle(best, batch.relative_rotations()).max() < 0.45  # spacing of 4,000 random rotations


def test_likelihood_of_many_views_is_that_of_all_pairs_together(build_batch: Any) -> None:
    """The candidates of each of 3·B pairs are the actions of all of them; irreps that say nothing cost log 3B."""
    method = oracle("2x1e+1x2e", invariant=NOTHING, equi=1.0, views=3)
    batch = exact_batch(method, build_batch(5, views=3))
    irreps = [method.embed(view)[1] for view in method.view_features(batch)]
    scores = torch.cat([
        torch.cat([method.scores(irreps[i], irreps[j], batch.relative_rotations(*pair)) for pair in PAIRS], dim=1)
        for i, j in PAIRS
    ])  # fmt: skip
    torch.testing.assert_close(method.step(batch).loss, (scores.logsumexp(dim=1) - scores.diagonal()).mean())
    blank = method.step(replace(batch, images=torch.zeros_like(batch.images)))
    assert blank.loss.item() == pytest.approx(math.log(15))
    with pytest.raises(ValueError, match="takes 3 views"):
        method.step(build_batch(4))


def test_alignment_needs_its_variance_terms(build_batch: Any) -> None:
    method = oracle("2x1e", equi_loss="alignment", invariant=NOTHING, equi=3.0, equi_std=2.0, equi_cov=5.0)
    out = method.step(exact_batch(method, build_batch(8)))
    t = out.terms
    expected = 3 * t["equivariance"] + 2 * t["irrep_variance"] + 5 * t["irrep_covariance"]
    torch.testing.assert_close(out.loss.detach(), expected)
    assert 1 - (1 / 3) ** 0.5 - 0.2 < t["irrep_variance"] < 0.99


def test_equivariant_part_of_the_loss_ignores_a_common_turn_of_the_world(build_batch: Any) -> None:
    """Turning the camera turns the content c of every view; the loss depends on poses relative to each other only."""
    for equi_loss in ("likelihood", "alignment"):
        method = oracle("2x1e+2x2e", equi_loss=equi_loss)
        batch = exact_batch(method, build_batch(6))
        world = random_rotmat(1, dtype=torch.float64)[0]
        turned = replace(batch, rotations=world @ batch.rotations)
        torch.testing.assert_close(method.step(turned).loss, method.step(batch).loss)


def test_any_invariant_objective_beside_the_irreps(build_batch: Any) -> None:
    batch = exact_batch(oracle("2x1e"), build_batch(8))
    out = oracle("2x1e", invariant=ObjectiveConfig("nt_xent", {"temperature": 0.5}), equi=5.0).step(batch)
    z = batch.images.flatten(2)[..., :4]
    torch.testing.assert_close(out.terms["inv_nt_xent"], nt_xent(z, temperature=0.5))
    torch.testing.assert_close(out.loss.detach(), out.terms["inv_nt_xent"] + 5 * out.terms["action_likelihood"])
    with pytest.raises(ValueError, match="without predictions or teacher, got 'byol'"):
        GroupEquivariant(TINY, projector=(8,), invariant=ObjectiveConfig("byol"))


def test_features_without_and_with_a_split(batch: ViewBatch, build_method: Any) -> None:
    images = batch.images[:, 0]
    method = build_method("GroupEquivariant").eval()
    parts = method.features(images)
    for ours, expected in zip(method.embed(parts["all"]), (parts["inv"], parts["equi"]), strict=True):
        torch.testing.assert_close(ours, expected)
    split = build_method("GroupEquivariant", equi_dim=10)
    parts = split.features(images)
    assert torch.equal(torch.cat([parts["inv"], parts["equi"]], dim=1), parts["all"])
    assert parts["equi"].shape == (6, 10)
    split.step(batch).loss.backward()
    assert all(p.grad.abs().max() > 0 for p in split.parameters())


@pytest.mark.parametrize("changes", [{"equi_loss": "alignment"}, {"irreps": "2x0e+1x1e", "homogeneous": 2}])
def test_other_choices_learn_also_in_bfloat16(changes: dict, build_batch: Any, build_method: Any) -> None:
    batch = replace(build_batch(), translations=torch.rand(6, 2, 3))
    method = build_method("GroupEquivariant", **changes)
    exact = method.step(batch).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.step(batch).loss
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=0.1)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().max() > 0 for p in method.parameters())


def test_names_impossible_choices(batch: ViewBatch, build_method: Any) -> None:
    for wrong in (0, 32, -1):
        with pytest.raises(ValueError, match=f"between 1 and 31, or none, got {wrong}"):
            build_method("GroupEquivariant", equi_dim=wrong)
    with pytest.raises(ValueError, match=r"equi_loss to be one of \['likelihood', 'alignment'\], got 'mse'"):
        build_method("GroupEquivariant", equi_loss="mse")
    with pytest.raises(ValueError, match=r"frame to be one of .* got 'world'"):
        build_method("GroupEquivariant", frame="world")
    with pytest.raises(ValueError, match="2 homogeneous vectors need translations, which this batch does not have"):
        build_method("GroupEquivariant", homogeneous=2).step(replace(batch, translations=None))
