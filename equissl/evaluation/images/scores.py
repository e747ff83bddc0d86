"""Accuracies of classifiers on unseen images, with what needs no learning beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.evaluation.views.scores import Scores, label_baselines, standard_error


def gain_scores(scores: Tensor, before: Tensor, labels: Tensor, key: str) -> Scores:
    """Compute the gain in top-1, with the standard error of the difference on the same images.

    Args:
        scores, before: (M, C) of two classifiers.
        labels: (M,) classes.
        key: that the entries' names begin with.
    """
    right = [(found.argmax(1) == labels).double() for found in (scores, before)]
    gain = (right[0] - right[1]).numpy()
    return {f"{key}/top1": float(gain.mean()), f"{key}/top1_se": standard_error(gain)}


def label_scores(train: Tensor, val: Tensor, classes: int) -> Scores:
    """Accuracy of a uniform guess and of always naming the most frequent training class.

    Args:
        train, val: (N,) and (M,) classes.
        classes: C.
    """
    return {key.rpartition("/")[2]: value for key, value in label_baselines(train, val, classes).items()}


def class_scores(scores: Tensor, labels: Tensor, classes: Sequence[str]) -> Scores:
    """Accuracy on the images of each class, ``class/NAME/top1``; None for a class without images.

    Args:
        scores: (M, C).
        labels: (M,) classes.
        classes: names.
    """
    counts = confusion(scores.argmax(1), labels, len(classes))
    totals = counts.sum(1).tolist()
    right = counts.diagonal().tolist()
    return {f"class/{name}/top1": r / n if n else None for name, r, n in zip(classes, right, totals, strict=True)}


def confusion(named: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(C, C) counts of images by true class (row) and named class (column).

    Args:
        named, labels: (M,) classes.
        classes: C.
    """
    return torch.bincount(labels * classes + named, minlength=classes * classes).view(classes, classes)
