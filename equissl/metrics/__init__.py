"""Metrics as functions of ``(preds, target)`` or of features, in float64; they return floats or CPU tensors."""

from equissl.metrics.classification import top_k_accuracy
from equissl.metrics.collapse import feature_std, is_collapsed, rankme
from equissl.metrics.hypersphere import alignment, tolerance, uniformity
from equissl.metrics.r2 import r2_global, r2_uniform
from equissl.metrics.rotation import constant_quaternion, constant_rotation_prediction, rotation_errors_deg
from equissl.metrics.shortcut import shortcut_share
from equissl.metrics.temperature import penalty_entropy, relative_penalty

__all__ = [
    "alignment",
    "constant_quaternion",
    "constant_rotation_prediction",
    "feature_std",
    "is_collapsed",
    "penalty_entropy",
    "r2_global",
    "r2_uniform",
    "rankme",
    "relative_penalty",
    "rotation_errors_deg",
    "shortcut_share",
    "tolerance",
    "top_k_accuracy",
    "uniformity",
]
