"""Every loss of the collection as a function of (B, V, D) embeddings: the table behind the tests over all losses.

A new loss needs one line here: then its NaN rule, its limits, its memory, its compilation and the agreement of two
processes are tested. The name of a case starts with the name of its function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl import losses
from equissl.losses.label_mixtures import Mixing

DIM = 8


@dataclass(frozen=True)
class Case:
    """A loss and where it is defined.

    Attributes:
        loss: (B, V, D) embeddings of the global batch to a scalar; constants and random choices are fixed inside.
        samples: fewest that it takes.
        views: fewest that it takes; 0 where the case itself picks two views.
    """

    loss: Callable[[Tensor], Tensor]
    samples: int = 2
    views: int = 2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_views(batch: int, views: int = 3, dim: int = DIM, seed: int = 0) -> Tensor:
    """(B, V, D) float64 views that share something."""
    shared = torch.randn(batch, 1, dim, generator=seeded(seed), dtype=torch.float64)
    return shared + 0.7 * torch.randn(batch, views, dim, generator=seeded(seed + 1), dtype=torch.float64)


def _classes(z: Tensor) -> Tensor:
    """Four classes, whose members sit on different processes."""
    return torch.arange(len(z), device=z.device) % 4


def _one_hot(z: Tensor) -> Tensor:
    return torch.eye(4, dtype=z.dtype, device=z.device)[_classes(z)].repeat_interleave(z.shape[1], dim=0)


def _alike(z: Tensor) -> Tensor:
    """A reference's cosine of each two samples."""
    order = torch.arange(len(z), device=z.device).to(z.dtype)
    return (order[:, None] - order).cos()


def _queue(z: Tensor, *shape: int) -> Tensor:
    return torch.arange(math.prod(shape), device=z.device).to(z.dtype).mul(1.7).sin().view(shape)


def _target(z: Tensor) -> Tensor:
    return 0.5 * z.detach() + 1


def _scalars(z: Tensor) -> Tensor:
    return _classes(z).to(z.dtype)[:, None].expand(z.shape[:2])


def _mochi(z: Tensor) -> Tensor:
    negatives = _queue(z, 10, z.shape[2])
    return losses.mochi(z[:, 0], z[:, 1], negatives, 6, 4, 2, detach=False, generator=seeded(3))


def _sup_re_mix(z: Tensor, detach: bool) -> Tensor:
    mixing = Mixing(negatives=3, positives=3, detach=detach)
    return losses.sup_re_mix(z, _scalars(z), mixing=mixing, generator=seeded(3))


def _hydra(z: Tensor) -> Tensor:
    gates = 1 - 0.5 * _queue(z, len(z), z.shape[2])
    return losses.hydra(z[:, 0], z[:, 1], _classes(z), _classes(z), gates)


def _answered(z: Tensor) -> Tensor:
    """The first two views, and another sample as the odd one out."""
    return torch.stack([z[:, 0], z[:, 1], z[:, 0].roll(1, 0)], dim=1)


def _matched(z: Tensor) -> tuple[Tensor, Tensor]:
    """Images, and texts in another order: each pair of views meets."""
    return z, z.flip(1)


def _keyed(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two modalities and their keys."""
    return z[:, 0], z[:, 1], _target(z)[:, 1], _target(z)[:, 0]


def _mixup(z: Tensor, renormalise: bool = False) -> Tensor:
    partners = torch.arange(len(z), device=z.device).roll(1)
    shares = 0.5 + 0.5 * _queue(z, len(z))
    return losses.mixup_contrast(z[:, 0], z[:, 1], partners, shares, 0.1, renormalise)


def _poses(z: Tensor) -> Tensor:
    return z.unflatten(1, (-1, 2, 2))


CASES: dict[str, Case] = {
    "nt_xent": Case(losses.nt_xent),
    "nt_xent_own": Case(lambda z: losses.nt_xent(z, admitted="own")),
    "nt_xent_inner": Case(lambda z: losses.nt_xent(z, normalise=False)),
    "similarity_gap": Case(lambda z: losses.similarity_gap(z[:, 0], z[:, 1]), views=0),
    "similarity_gap_of_batch": Case(lambda z: losses.similarity_gap(z[:, 0], z[:, 1], by_row=False), views=0),
    "group_nt_xent": Case(lambda z: losses.group_nt_xent(z, _classes(z))),
    "info_nce": Case(lambda z: losses.info_nce(z[:, 0], z[:, 1]), views=0),
    "info_nce_of_views": Case(losses.info_nce_of_views),
    "level_nce": Case(losses.level_nce),
    "level_nce_weighted": Case(lambda z: losses.level_nce(z, 0.1, losses.similarity_log_weights(_alike(z)))),
    "multilevel_nce": Case(
        lambda z: losses.multilevel_nce(z, [z[..., :3], z[..., 2:]], (1.0, 0.5, 2.0), 0.1, _alike(z))
    ),
    "clip": Case(losses.clip),
    "supcon": Case(lambda z: losses.supcon(z, _classes(z)), views=1),
    "supcon_in": Case(lambda z: losses.supcon(z, _classes(z), average="in"), views=1),
    "focal_supcon": Case(lambda z: losses.focal_supcon(z.flatten(0, 1), _one_hot(z)), samples=1, views=1),
    "focal_supcon_columns": Case(
        lambda z: losses.focal_supcon(z.flatten(0, 1), _one_hot(z), average="columns"), samples=1, views=1
    ),
    "dcl": Case(losses.dcl),
    "dclw": Case(losses.dclw),
    "dhel": Case(losses.dhel),
    "dhel_one_sided": Case(lambda z: losses.dhel(z, both=False)),
    "mv_info_nce": Case(losses.mv_info_nce),
    "mv_info_nce_cross_view": Case(lambda z: losses.mv_info_nce(z, negatives="cross_view")),
    "mv_dhel": Case(losses.mv_dhel),
    "hard_contrastive": Case(lambda z: losses.hard_contrastive(z, hardest=1 + len(z) // 4)),
    "moco": Case(lambda z: losses.moco(z[:, 0], z[:, 1], _queue(z, 10, z.shape[2])), samples=1, views=0),
    "byol": Case(lambda z: losses.byol(z, _target(z)), samples=1),
    "simsiam": Case(lambda z: losses.simsiam(z, _target(z)), samples=1),
    "cross_view_cosine": Case(lambda z: losses.cross_view_cosine(z, _target(z)), samples=1),
    "barlow_twins": Case(losses.barlow_twins),
    "vicreg": Case(losses.vicreg),
    "invariance": Case(lambda z: losses.invariance(z[:, 0], z[:, 1]), samples=1, views=0),
    "variance_hinge": Case(lambda z: losses.variance_hinge(z[:, 0]) + losses.variance_hinge(z[:, 1]), views=0),
    "covariance_penalty": Case(
        lambda z: losses.covariance_penalty(z[:, 0]) + losses.covariance_penalty(z[:, 1]), views=0
    ),
    "w_mse": Case(lambda z: losses.w_mse(z, eps=0.01)),
    "w_mse_chunks": Case(lambda z: losses.w_mse(z, chunk=len(z) // 2, iterations=2, eps=0.1, generator=seeded(3))),
    "align_uniform": Case(losses.align_uniform),
    "alignment_loss": Case(losses.alignment_loss, samples=1),
    "uniformity_loss": Case(losses.uniformity_loss),
    "swav": Case(losses.swav),
    "swav_queue": Case(lambda z: losses.swav(z, queue_scores=_queue(z, 6, 2, z.shape[2]))),
    "cacr": Case(losses.cacr),
    "attraction": Case(losses.attraction, samples=1),
    "repulsion": Case(losses.repulsion),
    "activation_cross_entropy": Case(
        lambda z: losses.activation_cross_entropy(z[:, 0].softmax(1), z[:, 1].softmax(1)), samples=1, views=0
    ),
    "mean_entropy_gap": Case(lambda z: losses.mean_entropy_gap(z.flatten(0, 1).softmax(1)), samples=1, views=1),
    "sharpened_cross_entropy": Case(
        lambda z: losses.sharpened_cross_entropy(z[:, 0].softmax(1), z[:, 1].softmax(1), 0.5, 0.3), samples=1, views=0
    ),
    "pose_alignment": Case(lambda z: losses.pose_alignment(_poses(z[:, 0]), _poses(z[:, 1])), samples=1, views=0),
    "cmim": Case(losses.cmim, views=1),
    "cmim_view": Case(lambda z: losses.cmim(z, positive="view")),
    "hydra": Case(_hydra, samples=1, views=0),
    "simple_contrastive": Case(losses.simple_contrastive),
    "hard_simple": Case(losses.hard_simple),
    "groco": Case(lambda z: losses.groco(z, hardest=min(3, len(z) - 1))),
    "whitened_cse": Case(losses.whitened_cse),
    "whitened_copies": Case(
        lambda z: losses.whitened_cse(losses.whitened_copies(z, 2, 2, generator=seeded(3))), views=1
    ),
    "mochi": Case(_mochi, samples=1, views=0),
    "inter_clr": Case(lambda z: losses.inter_clr(z[:, 0], z[:, 1], _queue(z, 10, z.shape[2])), samples=1, views=0),
    "sep_clr": Case(lambda z: losses.sep_clr(z[..., :4], z[..., 4:], _classes(z) % 2)),
    "cma": Case(lambda z: losses.cma(*_keyed(z), _queue(z, 5, z.shape[2]), _queue(z, 6, z.shape[2])), 1, 0),
    "imc": Case(lambda z: losses.imc(*_keyed(z), _queue(z, 5, z.shape[2]), _queue(z, 6, z.shape[2])), 1, 0),
    "lmi": Case(lambda z: losses.lmi(z[:, 0], losses.unit_norm(z[:, 1:])), views=0),
    "local_clip": Case(lambda z: losses.local_clip(*_matched(z), smoothing=0.1), views=1),
    "siam_lip": Case(lambda z: losses.siam_lip(*_matched(z), _target(z), _target(z)), samples=1, views=1),
    "byol_lip": Case(lambda z: losses.byol_lip(*_matched(z), _target(z), _target(z)), samples=1, views=1),
    "bar_lip": Case(lambda z: losses.bar_lip(*_matched(z), scale=1.0), views=1),
    "swa_lip": Case(lambda z: losses.swa_lip(*_matched(z)), views=1),
    "swa_lip_batch": Case(lambda z: losses.swa_lip_batch(*_matched(z[:, :2])), views=0),
    "mixup_contrast": Case(_mixup, views=0),
    "mixup_contrast_renormalised": Case(lambda z: _mixup(z, True), views=0),
    "soft_clip": Case(lambda z: losses.soft_clip(z[:, 0], z[:, 1]), views=0),
    "class_share": Case(lambda z: losses.class_share(z.flatten(1), _classes(z), 4), views=1),
    "query_triplets": Case(lambda z: losses.query_triplets(_answered(z)), samples=1, views=0),
    "query_softmax": Case(lambda z: losses.query_softmax(_answered(z)), samples=1, views=0),
    "sup_re_mix": Case(lambda z: _sup_re_mix(z, True), views=1),
    "sup_re_mix_through_mixtures": Case(lambda z: _sup_re_mix(z, False), views=1),
}
