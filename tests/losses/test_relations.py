"""How the losses of the collection relate to one another, and what all of them ignore.

That two processes give the value and gradient of one is in test_distributed.py.
"""

from __future__ import annotations

import pytest
import torch
from loss_cases import CASES, random_views
from torch.nn.functional import softplus

from equissl import losses
from equissl.losses.similarity import instance_negatives, view_logits

Z = random_views(12, 3, 6)
PAIRS = Z[:, :2]
# Constants inside of a case belong to positions or directions, so that moving the embeddings alone is another problem.
BY_POSITION = {
    *("w_mse_chunks", "mochi", "sup_re_mix", "sup_re_mix_through_mixtures", "hydra", "level_nce_weighted"),
    *("multilevel_nce", "query_softmax", "query_triplets", "mixup_contrast", "mixup_contrast_renormalised"),
}
COSINE = {
    *("info_nce", "info_nce_of_views", "nt_xent", "nt_xent_own", "clip", "supcon", "supcon_in", "dcl", "dclw", "dhel"),
    *("dhel_one_sided", "mv_info_nce", "mv_info_nce_cross_view", "mv_dhel", "hard_contrastive", "align_uniform"),
    *("alignment_loss", "uniformity_loss", "cacr", "attraction", "repulsion", "lmi", "local_clip", "swa_lip_batch"),
    *("mixup_contrast", "mixup_contrast_renormalised", "soft_clip"),
}
ONE_SIDED = {"moco", "mochi", "inter_clr", "lmi"}
# Their targets, codes or mixtures stop the gradient, which differences do not see.
STOPPED = {
    *("byol", "simsiam", "cross_view_cosine", "swav", "swav_queue", "groco", "sup_re_mix", "cma", "imc", "siam_lip"),
    *("byol_lip", "swa_lip", "swa_lip_batch"),
}


def test_nt_xent_is_the_softplus_of_dcl_per_anchor() -> None:
    unit = losses.unit_norm(PAIRS)
    positives, negatives = view_logits(unit, 0.2), instance_negatives(unit, 0.2)
    decoupled = losses.contrast(positives, negatives, "none")
    torch.testing.assert_close(losses.contrast(positives, negatives), softplus(decoupled))
    torch.testing.assert_close(losses.dcl(PAIRS, 0.2), decoupled.mean())
    torch.testing.assert_close(losses.nt_xent(PAIRS, 0.2), softplus(decoupled).mean())


def test_mv_dhel_of_two_views_is_dhel() -> None:
    torch.testing.assert_close(losses.mv_dhel(PAIRS, 0.4), losses.dhel(PAIRS, 0.4))
    assert losses.mv_dhel(Z, 0.4).item() != pytest.approx(losses.dhel(Z, 0.4).item(), rel=1e-3)


def test_mv_info_nce_of_two_views_is_no_less_than_nt_xent() -> None:
    assert losses.mv_info_nce(PAIRS, 0.3) > losses.nt_xent(PAIRS, 0.3) + 1e-4
    same = Z[:, :1].expand(-1, 2, -1)  # both views have the same denominators
    torch.testing.assert_close(losses.mv_info_nce(same, 0.3), losses.nt_xent(same, 0.3))


def test_supcon_of_instances_is_nt_xent() -> None:
    for z in (PAIRS, Z):
        torch.testing.assert_close(losses.supcon(z, torch.arange(12), 0.2), losses.nt_xent(z, 0.2))


def test_supcon_inside_the_logarithm_is_no_more_than_outside() -> None:
    labels = torch.arange(12) % 3
    assert losses.supcon(Z, labels, average="in") < losses.supcon(Z, labels, average="out") - 1e-3
    alone = torch.arange(12)  # one positive each
    torch.testing.assert_close(losses.supcon(PAIRS, alone, average="in"), losses.supcon(PAIRS, alone))


def test_hard_contrastive_grows_with_its_negatives_to_clip() -> None:
    values = [losses.hard_contrastive(Z, 0.2, k).item() for k in range(1, 12)]
    assert values == sorted(values) and values[0] < values[-1]
    assert values[-1] == pytest.approx(losses.clip(Z, 0.2).item(), rel=1e-12)


def test_a_term_of_byol_is_two_plus_two_simsiam() -> None:
    target = random_views(12, 3, 6, seed=7)
    torch.testing.assert_close(losses.byol(Z, target) / 2, 2 + 2 * losses.simsiam(Z, target))


def test_cacr_without_sharpness_is_the_mean_of_distances() -> None:
    unit = losses.unit_norm(Z)
    squares = (unit[:, None, :, None] - unit[None, :, None]).square().sum(-1)  # (B, B, V, V)
    own = torch.eye(12, dtype=torch.bool)
    within = squares[own].sum() / (12 * 3 * 2)
    across = torch.stack([squares[:, :, v, w][~own].mean() for v, w in ((0, 1), (0, 2), (1, 2))]).mean()
    torch.testing.assert_close(losses.attraction(Z, 0.0), within)
    torch.testing.assert_close(losses.repulsion(Z, 0.0), -across)


def test_w_mse_ignores_lower_triangular_maps_and_barlow_twins_affine_maps_of_dimensions() -> None:
    triangle = random_views(6, 1, 6, seed=3)[:, 0].tril(-1) + torch.diag(torch.linspace(0.5, 2, 6).double())
    torch.testing.assert_close(losses.w_mse(Z @ triangle.T + 3), losses.w_mse(Z))
    scale, shift = torch.linspace(0.5, 2, 18).double().view(3, 6), random_views(1, 3, 6)[0]
    torch.testing.assert_close(losses.barlow_twins(Z * scale + shift, eps=1e-12), losses.barlow_twins(Z, eps=1e-12))
    assert losses.barlow_twins(Z @ triangle.T).item() != pytest.approx(losses.barlow_twins(Z).item(), rel=1e-3)


def test_swav_codes_ignore_constants_of_prototypes() -> None:
    shift = torch.linspace(-2, 3, 6).double()
    torch.testing.assert_close(losses.sinkhorn(Z + shift), losses.sinkhorn(Z))
    assert losses.swav(Z + shift).item() != pytest.approx(losses.swav(Z).item(), rel=1e-3)  # the softmax does not


@pytest.mark.parametrize("name", sorted(CASES.keys() - BY_POSITION))
def test_order_of_instances_does_not_matter(name: str) -> None:
    z, loss = random_views(16), CASES[name].loss
    order = torch.tensor([12, 9, 6, 15, 0, 1, 2, 7, 4, 13, 14, 3, 8, 5, 10, 11])
    assert torch.equal(order % 4, torch.arange(16) % 4)  # every instance keeps its class of four
    torch.testing.assert_close(loss(z[order]), loss(z), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(COSINE))
def test_common_orthogonal_map_does_not_matter(name: str) -> None:
    z, loss = random_views(16), CASES[name].loss
    turn = torch.linalg.qr(random_views(8, 1)[:, 0]).Q
    torch.testing.assert_close(loss(z @ turn), loss(z), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(CASES.keys() - STOPPED))
def test_gradient_is_the_limit_of_differences(name: str) -> None:
    z = random_views(4, 3, 8)
    if name in ONE_SIDED:  # keys, the second view, stop the gradient
        keys, queries = z[:, 1:].clone(), z[:, :1].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda q: CASES[name].loss(torch.cat((q, keys), dim=1)), queries)
    else:
        assert torch.autograd.gradcheck(CASES[name].loss, z.requires_grad_())


@pytest.mark.parametrize("name", ["byol", "simsiam", "cross_view_cosine"])
def test_gradient_beside_fixed_targets_is_the_limit_of_differences(name: str) -> None:
    z, target = random_views(4, 3, 6), random_views(4, 3, 6, seed=9)
    assert torch.autograd.gradcheck(lambda z: getattr(losses, name)(z, target), z.requires_grad_())


@pytest.mark.parametrize("name", ["swav", "swav_queue"])
def test_gradient_beside_fixed_codes_is_the_limit_of_differences(name: str) -> None:
    z = random_views(4, 3, 6)  # the third view gives no codes
    third = z[:, 2:].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda tail: CASES[name].loss(torch.cat((z[:, :2], tail), dim=1)), third)
