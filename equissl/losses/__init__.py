"""Objectives as pure functions of tensors, computed in float32 or better whatever the inputs and the autocast state.

Losses take the *global* batch: call `gather` on embeddings first, which does nothing in a single process.
"""

from equissl.losses.capsule import activation_cross_entropy, mean_entropy_gap, normalize_poses, pose_alignment
from equissl.losses.distributed import all_reduce_mean, gather, world_size
from equissl.losses.info_nce import info_nce
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.vicreg import covariance_penalty, invariance, variance_hinge

__all__ = [
    "activation_cross_entropy",
    "all_reduce_mean",
    "covariance_penalty",
    "full_precision",
    "gather",
    "info_nce",
    "invariance",
    "mean_entropy_gap",
    "normalize_poses",
    "pose_alignment",
    "unit_norm",
    "variance_hinge",
    "world_size",
]
