"""Objectives that read labels, poses or hues, or that draw: SepCLR, SupReMix and WhitenedCSE."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from equissl.geometry import euler_to_rotmat
from equissl.losses.label_mixtures import Mixing
from equissl.losses.label_spaces import ANGLES, ROTATIONS
from equissl.losses.sep_clr import SepCLRWeights, sep_clr
from equissl.losses.sup_re_mix import sup_re_mix
from equissl.losses.whitened_cse import whitened_copies, whitened_cse
from equissl.objectives.base import Embedded, Objective
from equissl.objectives.sep_clr import SepCLR
from equissl.objectives.sup_re_mix import SupReMix
from equissl.objectives.whitened_cse import WhitenedCSE


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embedded(batch: int = 12, views: int = 2, dim: int = 8) -> Embedded:
    return Embedded(
        random(batch, views, dim),
        labels=torch.arange(batch) % 4,
        rotations=euler_to_rotmat(0.5 * random(batch, views, 3, seed=1)),
        hues=(2 * random(batch, views, 2, seed=2)).remainder(2 * math.pi),
    )


OBJECTIVES = {
    "sep_clr": lambda: SepCLR(8, background=[0, 2]),
    "sup_re_mix": lambda: SupReMix(8),
    "sup_re_mix_colour": lambda: SupReMix(8, "colour", tolerance=20),
    "whitened_cse": lambda: WhitenedCSE(8, groups=4).double(),
}
each = pytest.mark.parametrize("name", OBJECTIVES)


@each
def test_loss_terms_and_gradient(name: str) -> None:
    objective: Objective = OBJECTIVES[name]()
    batch = embedded()
    batch.z.requires_grad_()
    loss, terms = objective(batch)
    loss.backward()
    assert loss.shape == () and loss.isfinite() and batch.z.grad.abs().max() > 0
    assert all(term.shape == () and not term.requires_grad for term in terms.values())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in objective.parameters())


@each
def test_draws_differ_from_call_to_call_and_repeat_after_a_restore(name: str) -> None:
    objective, batch = OBJECTIVES[name](), embedded()
    first = objective(batch)[0]
    state = {key: value.clone() for key, value in objective.state_dict().items()}
    second = objective(batch)[0]
    assert torch.equal(first, second) is (name == "sep_clr")
    restored = OBJECTIVES[name]()
    restored.load_state_dict(state)
    assert torch.equal(restored(batch)[0], second)


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    objective, exact = OBJECTIVES[name](), embedded()
    half = exact.z.to(dtype).requires_grad_()
    state = {key: value.clone() for key, value in objective.state_dict().items()}
    expected = objective(replace(exact, z=half.detach().double()))[0]
    objective.load_state_dict(state)
    objective.float()
    with torch.autocast("cpu", dtype=dtype):
        value = objective(replace(exact, z=half, rotations=exact.rotations.float(), hues=exact.hues.float()))[0]
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), rel=1e-2)
    value.backward()
    assert half.grad is not None and half.grad.isfinite().all()


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_embeddings_show_and_leave_the_state(name: str, bad: float) -> None:
    objective, batch = OBJECTIVES[name](), embedded()
    batch.z[3, 1, 2] = bad
    assert not objective(batch)[0].isfinite()
    assert objective(embedded())[0].isfinite()


def test_sep_clr_splits_the_width_and_the_classes() -> None:
    batch = embedded()
    objective = SepCLR(8, background=[2, 0], salient_dim=3, salient=30, information_less=7, joint_entropy=5)
    loss, terms = objective(batch)
    weights = SepCLRWeights(30, 7, 5)
    expected = sep_clr(batch.z[..., :5], batch.z[..., 5:], batch.labels % 2, weights)
    torch.testing.assert_close(loss, expected)
    assert len(terms) == 6
    for alone in ([0, 1, 2, 3], [9]):  # no target, no background
        assert SepCLR(8, background=alone)(batch)[0].isfinite()
    assert "background=[0, 2]" in repr(objective) and objective.needs == {"labels"}


def test_sep_clr_learns_to_shorten_the_background() -> None:
    batch = embedded()
    z = batch.z.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.05)
    objective = SepCLR(8, background=[0, 2], salient=1, information_less=10, joint_entropy=1)
    for _ in range(100):
        optimiser.zero_grad()
        objective(Embedded(z, labels=batch.labels))[0].backward()
        optimiser.step()
    lengths = z.detach()[..., 4:].norm(dim=2)
    target = batch.labels % 2 == 1
    assert lengths[~target].max() < 0.1 < lengths[target].min()


@pytest.mark.parametrize("target", ["rotation", "colour"])
def test_sup_re_mix_reads_its_target(target: str) -> None:
    batch = embedded()
    objective = SupReMix(8, target, 0.2, tolerance=15, window=80, mixed_negatives=3, mixed_positives=4, alpha=[5, 5])
    labels, space = (batch.rotations, ROTATIONS) if target == "rotation" else (batch.hues, ANGLES)
    mixing = Mixing(3, 4, (5, 5), math.radians(80), 256)
    expected = sup_re_mix(
        batch.z, labels, space, 0.2, mixing, math.radians(15), generator=torch.Generator().manual_seed(0)
    )
    loss, terms = objective(batch)
    torch.testing.assert_close(loss, expected)
    assert 0 < terms["anchors_with_positives"] <= 1
    need = "rotations" if target == "rotation" else "hues"
    assert objective.needs == {need}
    with pytest.raises(ValueError, match=f"needs {need}, got None"):
        objective(Embedded(batch.z))


def test_sup_re_mix_orders_embeddings_by_pose() -> None:
    """Turns about one axis: embeddings of near poses end nearer than those of far ones."""
    angles = torch.linspace(-1.4, 1.4, 24, dtype=torch.float64).view(12, 2)
    poses = euler_to_rotmat(torch.stack((0 * angles, 0 * angles, angles), dim=-1))
    z = random(12, 2, 8).requires_grad_()
    optimiser, objective = torch.optim.Adam([z], lr=0.05), SupReMix(8)
    for _ in range(80):
        optimiser.zero_grad()
        objective(Embedded(z, rotations=poses))[0].backward()
        optimiser.step()
    unit = torch.nn.functional.normalize(z.detach().flatten(0, 1), dim=1)
    cosine, apart = unit @ unit.T, (angles.view(-1, 1) - angles.view(-1)).abs()
    assert cosine[(apart > 0) & (apart < 0.3)].mean() > cosine[apart > 1].mean() + 0.4


def test_whitened_cse_is_whitening_head_and_loss() -> None:
    objective, batch = WhitenedCSE(8, 4, copies=3, temperature=0.1).double(), embedded()
    white = whitened_copies(batch.z, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = whitened_cse(objective.head(white).tanh(), 0.1)
    torch.testing.assert_close(objective(batch)[0], expected)
    assert objective.fewest_views == 1 and WhitenedCSE(8, copies=1).fewest_views == 2
    assert objective(embedded(views=1))[0].isfinite()


def test_errors() -> None:
    with pytest.raises(ValueError, match="1 to 7 of 8 dimensions, got 8"):
        SepCLR(8, background=[0], salient_dim=8)
    with pytest.raises(ValueError, match="at least one background class"):
        SepCLR(8, background=[])
    with pytest.raises(ValueError, match="needs the classes of the samples, got labels None"):
        SepCLR(8, background=[0])(Embedded(random(4, 2, 8)))
    with pytest.raises(ValueError, match="'rotation' or 'colour', got 'light'"):
        SupReMix(8, "light")
    with pytest.raises(ValueError, match="divides 8 dimensions, got 3"):
        WhitenedCSE(8, groups=3)
    with pytest.raises(ValueError, match="at least 1 copy of each view, got 0"):
        WhitenedCSE(8, copies=0)
