"""Objectives as pure functions of tensors, computed in float32 or better whatever the inputs and the autocast state.

Losses take the *global* batch: call `gather` on embeddings first, which does nothing in a single process.
"""

from equissl.losses.capsule import activation_cross_entropy, mean_entropy_gap, normalize_poses, pose_alignment
from equissl.losses.clip import LogitScale, clip, one_way_info_nce
from equissl.losses.contrastive import contrast
from equissl.losses.dcl import dcl, dclw
from equissl.losses.dhel import dhel, mv_dhel
from equissl.losses.distributed import all_reduce_mean, gather, world_size
from equissl.losses.hard_contrastive import hard_contrastive
from equissl.losses.info_nce import info_nce
from equissl.losses.mv_info_nce import mv_info_nce
from equissl.losses.nt_xent import nt_xent
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.supcon import supcon
from equissl.losses.vicreg import covariance_penalty, invariance, variance_hinge

__all__ = [
    "LogitScale",
    "activation_cross_entropy",
    "all_reduce_mean",
    "clip",
    "contrast",
    "covariance_penalty",
    "dcl",
    "dclw",
    "dhel",
    "full_precision",
    "gather",
    "hard_contrastive",
    "info_nce",
    "invariance",
    "mean_entropy_gap",
    "mv_dhel",
    "mv_info_nce",
    "normalize_poses",
    "nt_xent",
    "one_way_info_nce",
    "pose_alignment",
    "supcon",
    "unit_norm",
    "variance_hinge",
    "world_size",
]
