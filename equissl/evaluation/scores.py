"""Turns probe outputs into the flat entries of results.json, with the trivial predictors beside them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from equissl.metrics import r2_global, r2_uniform, rotation_errors_deg, top_k_accuracy

Scores = dict[str, float | None]


def classification_scores(logits: Tensor, labels: Tensor, part: str) -> Scores:
    """Top-1 and top-5 over all validation views.

    The standard error counts objects, not views: views of one object are not independent.

    Args:
        logits: (M, V, C).
        labels: (M,).
        part: name of the probed features.
    """
    rows, target = logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1])
    per_object = (logits.argmax(-1) == labels[:, None]).double().mean(1)
    return {
        f"classification/{part}/top1": top_k_accuracy(rows, target),
        f"classification/{part}/top1_se": standard_error(per_object.numpy()),
        f"classification/{part}/top5": top_k_accuracy(rows, target, k=min(5, logits.shape[-1])),
    }


def label_baselines(train_labels: Tensor, val_labels: Tensor, num_classes: int) -> Scores:
    """Accuracy of a uniform guess and of always naming the most frequent training class."""
    frequent = torch.bincount(train_labels, minlength=num_classes).argmax()
    return {
        "classification/chance": 1.0 / num_classes,
        "classification/majority": float((val_labels == frequent).double().mean()),
    }


def rotation_scores(
    preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str = "rotation"
) -> tuple[Scores, np.ndarray]:
    """Both R², and geodesic errors in degrees.

    A quaternion component that never varies in the targets (x and y, where objects turn about z only) is left out of
    ``r2_uniform``: its own R² is 0/0, and the usual conventions for that would hand a constant predictor half a point.
    ``r2_global`` keeps all four, as published.

    Args:
        preds, target: (P, 4) quaternions; ``preds`` need not be normalised.
        owners: (P,) object of every pair; the standard error counts objects.
        part: name of the probed features, or of a trivial predictor.
        group: first component of the keys.

    Returns:
        The entries, and the (P,) errors in degrees.
    """
    varies = target.double().var(0, correction=0) > 1e-12
    errors = rotation_errors_deg(preds, target).double().numpy()
    totals = np.bincount(owners, errors)
    counts = np.bincount(owners)
    scores: Scores = {
        f"{group}/r2_global/{part}": float(r2_global(preds, target)),
        f"{group}/r2_uniform/{part}": float(r2_uniform(preds[:, varies], target[:, varies])),
        f"{group}/mean_deg/{part}": float(errors.mean()),
        f"{group}/mean_deg_se/{part}": standard_error(totals[counts > 0] / counts[counts > 0]),
        f"{group}/median_deg/{part}": float(np.median(errors)),
    }
    return scores, errors


def identity_prediction(rows: int) -> Tensor:
    """(rows, 4) no rotation."""
    return torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(rows, 4)


def standard_error(per_object: np.ndarray) -> float | None:
    """Standard error of the mean of independent values; None (null in JSON) for a single one."""
    return float(np.std(per_object, ddof=1) / np.sqrt(len(per_object))) if len(per_object) > 1 else None
