"""Objectives as pure functions of tensors, computed in float32 or better whatever the inputs and the autocast state.

Losses take the *global* batch: call `gather` on embeddings first, which does nothing in a single process.

What is not finite propagates: NaN or infinite embeddings give a loss of NaN (infinity from some parts of objectives),
never an exception and never a finite value, so that loss scaling can skip the step. Losses do not wait for the device;
the exception is whitening by Cholesky or ZCA, where a singular covariance is an error. Memories protect themselves: a
`FeatureQueue` leaves a batch out that is not finite, and counts it. Zero vectors have cosine 0 with everything and no
gradient. Wrong shapes, too few samples or views, and options out of range raise ValueError.
"""

from equissl.losses.align_uniform import align_uniform, alignment_loss, uniformity_loss
from equissl.losses.bag_of_words import (
    bag_of_words_loss,
    bags_of_words,
    map_locations,
    nearest_word_distances,
    perplexity,
    word_locations,
    word_logits,
)
from equissl.losses.barlow_twins import barlow_twins
from equissl.losses.blocks import in_blocks
from equissl.losses.cacr import attraction, cacr, repulsion
from equissl.losses.capsule import (
    activation_cross_entropy,
    mean_entropy_gap,
    normalize_poses,
    pose_alignment,
    sharpen,
    sharpened_cross_entropy,
)
from equissl.losses.class_share import class_share
from equissl.losses.clip import LogitScale, clip
from equissl.losses.cmim import a_mim, cmim, negative_elbo
from equissl.losses.contrastive import contrast
from equissl.losses.core_tuning import focal_supcon, hard_mixtures, hardest_pairs
from equissl.losses.dcl import dcl, dclw
from equissl.losses.dhel import dhel, mv_dhel
from equissl.losses.distributed import all_reduce_mean, gather, own_rows, world_size
from equissl.losses.feature_queue import FeatureQueue
from equissl.losses.gating import (
    PairGate,
    gated_cosine,
    gated_product,
    gumbel_sigmoid,
    open_probability,
    stochastic_gate,
)
from equissl.losses.gaussian import gaussian_log_density
from equissl.losses.groco import groco, group_ordering
from equissl.losses.hard_contrastive import hard_contrastive
from equissl.losses.hydra import draw_partner_classes, hydra, hydra_anchors
from equissl.losses.info_nce import info_nce, info_nce_of_views
from equissl.losses.inter_clr import arc_margin, inter_clr
from equissl.losses.irreps import action_cross_entropy, copy_covariance_penalty, copy_variance_hinge
from equissl.losses.kmeans import kmeans
from equissl.losses.label_spaces import ANGLES, ROTATIONS, SCALARS, LabelSpace
from equissl.losses.m3col import draw_mixing, mix_partners, mixup_contrast, soft_clip
from equissl.losses.memory_bank import MemoryBank
from equissl.losses.mixing import (
    draw_pairs,
    draw_partners,
    draw_shares,
    extrapolate,
    label_matched_weights,
    mix_rows,
    mix_with_queries,
)
from equissl.losses.mochi import HardMixtures, draw_mixtures, mochi
from equissl.losses.moco import moco
from equissl.losses.momentum import cosine_momentum, ema_update, make_teacher
from equissl.losses.multilevel import level_nce, multilevel_nce, similarity_log_weights
from equissl.losses.mv_info_nce import mv_info_nce
from equissl.losses.negative_cosine import byol, cross_view_cosine, simsiam
from equissl.losses.next_item import next_item_loss
from equissl.losses.nt_xent import group_nt_xent, nt_xent
from equissl.losses.potentials import log_mean_potential, log_potentials
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.prototypes import Prototypes, sinkhorn
from equissl.losses.query_triplets import query_distances, query_softmax, query_triplets
from equissl.losses.scene_flow import flow_distance, warp_features
from equissl.losses.sep_clr import SepCLRWeights, sep_clr, sep_clr_terms
from equissl.losses.similarity_gap import similarity_gap
from equissl.losses.simple_contrastive import hard_simple, simple_contrastive
from equissl.losses.soft_contrast import soft_contrast
from equissl.losses.soft_sort import rank_mass, soft_sort
from equissl.losses.sup_re_mix import Mixing, sup_re_mix
from equissl.losses.supcon import supcon, token_supcon
from equissl.losses.swav import swav
from equissl.losses.tcl import cma, imc, lmi, pool_parts
from equissl.losses.vicreg import covariance_penalty, invariance, variance_hinge
from equissl.losses.vicreg_objective import vicreg
from equissl.losses.vlp import bar_lip, byol_lip, local_clip, siam_lip, swa_lip, swa_lip_batch
from equissl.losses.w_mse import w_mse
from equissl.losses.whitened_cse import whitened_copies, whitened_cse
from equissl.losses.whitening import cholesky_whiten, group_whiten, zca_whiten

__all__ = [
    "ANGLES",
    "ROTATIONS",
    "SCALARS",
    "FeatureQueue",
    "HardMixtures",
    "LabelSpace",
    "LogitScale",
    "MemoryBank",
    "Mixing",
    "PairGate",
    "Prototypes",
    "SepCLRWeights",
    "a_mim",
    "action_cross_entropy",
    "activation_cross_entropy",
    "align_uniform",
    "alignment_loss",
    "all_reduce_mean",
    "arc_margin",
    "attraction",
    "bag_of_words_loss",
    "bags_of_words",
    "bar_lip",
    "barlow_twins",
    "byol",
    "byol_lip",
    "cacr",
    "cholesky_whiten",
    "class_share",
    "clip",
    "cma",
    "cmim",
    "contrast",
    "copy_covariance_penalty",
    "copy_variance_hinge",
    "cosine_momentum",
    "covariance_penalty",
    "cross_view_cosine",
    "dcl",
    "dclw",
    "dhel",
    "draw_mixing",
    "draw_mixtures",
    "draw_pairs",
    "draw_partner_classes",
    "draw_partners",
    "draw_shares",
    "ema_update",
    "extrapolate",
    "flow_distance",
    "focal_supcon",
    "full_precision",
    "gated_cosine",
    "gated_product",
    "gather",
    "gaussian_log_density",
    "groco",
    "group_nt_xent",
    "group_ordering",
    "group_whiten",
    "gumbel_sigmoid",
    "hard_contrastive",
    "hard_mixtures",
    "hard_simple",
    "hardest_pairs",
    "hydra",
    "hydra_anchors",
    "imc",
    "in_blocks",
    "info_nce",
    "info_nce_of_views",
    "inter_clr",
    "invariance",
    "kmeans",
    "label_matched_weights",
    "level_nce",
    "lmi",
    "local_clip",
    "log_mean_potential",
    "log_potentials",
    "make_teacher",
    "map_locations",
    "mean_entropy_gap",
    "mix_partners",
    "mix_rows",
    "mix_with_queries",
    "mixup_contrast",
    "mochi",
    "moco",
    "multilevel_nce",
    "mv_dhel",
    "mv_info_nce",
    "nearest_word_distances",
    "negative_elbo",
    "next_item_loss",
    "normalize_poses",
    "nt_xent",
    "open_probability",
    "own_rows",
    "perplexity",
    "pool_parts",
    "pose_alignment",
    "query_distances",
    "query_softmax",
    "query_triplets",
    "rank_mass",
    "repulsion",
    "sep_clr",
    "sep_clr_terms",
    "sharpen",
    "sharpened_cross_entropy",
    "siam_lip",
    "similarity_gap",
    "similarity_log_weights",
    "simple_contrastive",
    "simsiam",
    "sinkhorn",
    "soft_clip",
    "soft_contrast",
    "soft_sort",
    "stochastic_gate",
    "sup_re_mix",
    "supcon",
    "swa_lip",
    "swa_lip_batch",
    "swav",
    "token_supcon",
    "uniformity_loss",
    "unit_norm",
    "variance_hinge",
    "vicreg",
    "w_mse",
    "warp_features",
    "whitened_copies",
    "whitened_cse",
    "word_locations",
    "word_logits",
    "world_size",
    "zca_whiten",
]
