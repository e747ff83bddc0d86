"""Scores of probe outputs as flat entries of results.json, with those of baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from torch import Tensor

from equissl.metrics import r2_global, r2_uniform, rotation_errors_deg, top_k_accuracy

Scores = dict[str, float | None]


def classification_scores(
    logits: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str = "classification"
) -> Scores:
    """Compute top-1 and top-5 over all validation views.

    The standard error counts objects, not views: views of one object are not independent.

    Args:
        logits: (P, C).
        target: (P,) classes.
        owners: (P,) object of every row.
        part: name of the probed features.
        group: first component of the keys.
    """
    right = (logits.argmax(-1) == target).double().numpy()
    return {
        f"{group}/{part}/top1": top_k_accuracy(logits, target),
        f"{group}/{part}/top1_se": standard_error(per_object_means(right, owners)),
        f"{group}/{part}/top5": top_k_accuracy(logits, target, k=min(5, logits.shape[-1])),
    }


def label_baselines(
    train_labels: Tensor, val_labels: Tensor, num_classes: int, group: str = "classification"
) -> Scores:
    """Compute the accuracy of a uniform guess and of always naming the most frequent training class.

    Args:
        train_labels, val_labels: classes of the rows, one dimension each.
        num_classes: of the store.
        group: first component of the keys.
    """
    frequent = torch.bincount(train_labels, minlength=num_classes).argmax()
    return {
        f"{group}/chance": 1.0 / num_classes,
        f"{group}/majority": float((val_labels == frequent).double().mean()),
    }


def group_scores(logits: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str) -> Scores:
    """Compute top-1 of the worst group, of all views, and of those that follow or go against a bias.

    A class has two groups: views whose band is that of their class, and all others. A group without views does not
    count. The standard error of the worst group counts its objects.

    Args:
        logits: (P, C).
        target: (P, 2) class and band.
        owners: (P,) object of every row.
        part: name of the probed features.
        group: first component of the keys.
    """
    labels, follows = target[:, 0], target[:, 0] == target[:, 1]
    right = (logits.argmax(-1) == labels).double().numpy()
    groups = (2 * labels + follows).numpy()
    means = {int(number): float(right[groups == number].mean()) for number in np.unique(groups)}
    worst = groups == min(means, key=means.__getitem__)
    sides = {"follows": follows.numpy(), "against": ~follows.numpy()}
    scores: Scores = {
        f"{group}/{part}/top1": float(right[worst].mean()),
        f"{group}/{part}/top1_se": standard_error(per_object_means(right[worst], owners[worst])),
        f"{group}/{part}/all_views": float(right.mean()),
    }
    return scores | {f"{group}/{part}/{name}": float(right[rows].mean()) for name, rows in sides.items() if rows.any()}


def rotation_scores(preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str = "rotation") -> Scores:
    """Compute both R², and geodesic errors in degrees.

    A quaternion component that never varies in the targets (x and y, where objects turn about z only) is left out of
    ``r2_uniform``: its own R² is 0/0, and the usual conventions for that would hand a constant predictor half a point.
    ``r2_global`` keeps all four, as published.

    Args:
        preds, target: (P, 4) quaternions; ``preds`` need not be normalised.
        owners: (P,) object of every pair; the standard error counts objects.
        part: name of the probed features, or of a trivial predictor.
        group: first component of the keys.
    """
    varies = target.double().var(0, correction=0) > 1e-12
    errors = rotation_errors_deg(preds, target).double().numpy()
    return {
        f"{group}/r2_global/{part}": float(r2_global(preds, target)),
        f"{group}/r2_uniform/{part}": float(r2_uniform(preds[:, varies], target[:, varies])),
        f"{group}/mean_deg/{part}": float(errors.mean()),
        f"{group}/mean_deg_se/{part}": standard_error(per_object_means(errors, owners)),
        f"{group}/median_deg/{part}": float(np.median(errors)),
    }


@dataclass(frozen=True)
class Measure:
    """Error measure of a regression.

    Attributes:
        unit: ends the names of its keys: ``mean_unit``, ``median_unit``.
        errors: (preds, target), (P, D) each in float64, to (P,) or, per component, (P, K).
        components: names of the K components.
    """

    unit: str
    errors: Callable[[Tensor, Tensor], Tensor]
    components: tuple[str, ...] = ()


def hue_steps(preds: Tensor, target: Tensor) -> Tensor:
    """Compute (P, 2) distances on the hue circle, in turns (0 to 0.5), between differences of hues.

    Args:
        preds: (P, 2) differences in turns.
        target: (P, 2) differences in turns.
    """
    apart = (preds - target).remainder(1)
    return torch.minimum(apart, 1 - apart)


def hue_steps_of_points(preds: Tensor, target: Tensor) -> Tensor:
    """Compute `hue_steps` of differences given as points on the circle: (P, 4) two cosines, then two sines.

    Args:
        preds: (P, 4) points of any length.
        target: (P, 4) points of any length.
    """
    return hue_steps(*(torch.atan2(x[:, 2:], x[:, :2]) / (2 * pi) for x in (preds, target)))


def direction_errors_deg(preds: Tensor, target: Tensor) -> Tensor:
    """Compute (P,) angles in degrees between vectors of any length, exact near 0 and 180; 90 where one is zero.

    Args:
        preds: (P, 3) vectors.
        target: (P, 3) vectors.
    """
    dot, cross = (preds * target).sum(1), torch.linalg.cross(preds, target).norm(dim=1)
    angles = torch.rad2deg(torch.atan2(cross, dot))
    return torch.where((dot == 0) & (cross == 0), torch.full_like(angles, 90.0), angles)


def distances(preds: Tensor, target: Tensor) -> Tensor:
    """Compute (P,) Euclidean distances, in the scene's unit (an object's diagonal).

    Args:
        preds: (P, D) positions.
        target: (P, D) positions.
    """
    return (preds - target).norm(dim=1)


HUE_STEPS = Measure("turns", hue_steps, ("floor", "light"))
HUE_POINTS = Measure("turns", hue_steps_of_points, ("floor", "light"))
DIRECTION = Measure("deg", direction_errors_deg)
DISTANCE = Measure("distance", distances)


def regression_scores(
    preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str, measure: Measure = DISTANCE
) -> Scores:
    """Compute both R², and the errors of a measure.

    Target dimensions that never vary are left out of ``r2_uniform``, as in :func:`rotation_scores`.

    Args:
        preds, target: (P, D).
        owners: (P,) object of every row; the standard error counts objects.
        part: name of the probed features, or of a trivial predictor.
        group: protocol, the first component of the keys.
        measure: of the errors.
    """
    preds, target = preds.double().cpu(), target.double().cpu()
    varies = target.var(0, correction=0) > 1e-12
    errors = measure.errors(preds, target)
    columns = dict(zip(measure.components, errors.unbind(1), strict=True)) if measure.components else {}
    mean = (errors.mean(1) if errors.ndim == 2 else errors).numpy()
    scores: Scores = {
        f"{group}/r2_global/{part}": r2_global(preds, target),
        f"{group}/r2_uniform/{part}": r2_uniform(preds[:, varies], target[:, varies]),
        f"{group}/mean_{measure.unit}/{part}": float(mean.mean()),
        f"{group}/mean_{measure.unit}_se/{part}": standard_error(per_object_means(mean, owners)),
        f"{group}/median_{measure.unit}/{part}": float(np.median(mean)),
    }
    return scores | {f"{group}/mean_{measure.unit}_{name}/{part}": float(x.mean()) for name, x in columns.items()}


def per_object_means(values: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Compute the mean of (P,) values over the rows of each object.

    Args:
        values: (P,).
        owners: (P,) position of each row's object.
    """
    totals, counts = np.bincount(owners, values), np.bincount(owners)
    return totals[counts > 0] / counts[counts > 0]


def identity_prediction(rows: int) -> Tensor:
    """Return (rows, 4) identity quaternions."""
    return torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(rows, 4)


def standard_error(per_object: np.ndarray) -> float | None:
    """Compute the standard error of the mean of independent values; None (null in JSON) for a single one."""
    return float(np.std(per_object, ddof=1) / np.sqrt(len(per_object))) if len(per_object) > 1 else None
