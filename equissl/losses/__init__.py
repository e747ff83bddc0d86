"""Objectives as pure functions of tensors, computed in float32 or better whatever the inputs and the autocast state.

Losses take the *global* batch: call `gather` on embeddings first, which does nothing in a single process.
"""

from equissl.losses.align_uniform import align_uniform, alignment_loss, uniformity_loss
from equissl.losses.barlow_twins import barlow_twins
from equissl.losses.cacr import attraction, cacr, repulsion
from equissl.losses.capsule import activation_cross_entropy, mean_entropy_gap, normalize_poses, pose_alignment
from equissl.losses.clip import LogitScale, clip, one_way_info_nce
from equissl.losses.contrastive import contrast
from equissl.losses.dcl import dcl, dclw
from equissl.losses.dhel import dhel, mv_dhel
from equissl.losses.distributed import all_reduce_mean, gather, world_size
from equissl.losses.feature_queue import FeatureQueue
from equissl.losses.hard_contrastive import hard_contrastive
from equissl.losses.info_nce import info_nce
from equissl.losses.moco import moco
from equissl.losses.momentum import cosine_momentum, ema_update, make_teacher
from equissl.losses.mv_info_nce import mv_info_nce
from equissl.losses.negative_cosine import byol, cross_view_cosine, simsiam
from equissl.losses.nt_xent import nt_xent
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.prototypes import Prototypes, sinkhorn
from equissl.losses.supcon import supcon
from equissl.losses.swav import swav
from equissl.losses.vicreg import covariance_penalty, invariance, variance_hinge
from equissl.losses.vicreg_objective import vicreg
from equissl.losses.w_mse import w_mse
from equissl.losses.whitening import cholesky_whiten, zca_whiten

__all__ = [
    "FeatureQueue",
    "LogitScale",
    "Prototypes",
    "activation_cross_entropy",
    "align_uniform",
    "alignment_loss",
    "all_reduce_mean",
    "attraction",
    "barlow_twins",
    "byol",
    "cacr",
    "cholesky_whiten",
    "clip",
    "contrast",
    "cosine_momentum",
    "covariance_penalty",
    "cross_view_cosine",
    "dcl",
    "dclw",
    "dhel",
    "ema_update",
    "full_precision",
    "gather",
    "hard_contrastive",
    "info_nce",
    "invariance",
    "make_teacher",
    "mean_entropy_gap",
    "moco",
    "mv_dhel",
    "mv_info_nce",
    "normalize_poses",
    "nt_xent",
    "one_way_info_nce",
    "pose_alignment",
    "repulsion",
    "simsiam",
    "sinkhorn",
    "supcon",
    "swav",
    "uniformity_loss",
    "unit_norm",
    "variance_hinge",
    "vicreg",
    "w_mse",
    "world_size",
    "zca_whiten",
]
