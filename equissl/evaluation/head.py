"""Accuracy of a method's own classifier, for methods that learn from labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.views.bias import find_bands
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.scores import Scores, classification_scores, group_scores
from equissl.methods.views.base import ViewMethod

HEAD = "head"  # first component of its keys in the results
ROWS = 8192  # classified at a time


def head_scores(method: ViewMethod, features: FeatureSet, classes: int) -> Scores:
    """Compute the accuracy of a method's own classifier on unseen views.

    Args:
        method: in eval mode.
        features: its own, of views whose classes are those of training.
        classes: of the data.

    Returns:
        ``head/all/top1``, with its standard error, and ``head/all/top5``; nothing for a method without a classifier, or
        with one of fewer classes than the data have.
    """
    logits = head_logits(method, features, classes)
    if logits is None:
        return {}
    labels, owners = _rows(features, len(logits))
    return classification_scores(logits, labels, owners, "all", HEAD)


def head_group_scores(method: ViewMethod, features: FeatureSet, classes: int, latent: str) -> Scores:
    """Compute the accuracy of a method's own classifier in the worst group of class and band of a hue.

    Args:
        method: in eval mode.
        features: its own, with latents.
        classes: of the data.
        latent: whose bands make the groups.

    Returns:
        as `group_scores`, ``worst_group/head/top1`` among them; nothing where `head_scores` gives nothing.
    """
    logits = head_logits(method, features, classes)
    if logits is None:
        return {}
    labels, owners = _rows(features, len(logits))
    bands = find_bands(features.columns(latent)[..., 0], classes).long().flatten()
    return group_scores(logits, torch.stack([labels, bands], dim=1), owners, HEAD, "worst_group")


@torch.inference_mode()
def head_logits(method: ViewMethod, features: FeatureSet, classes: int) -> Tensor | None:
    """Compute the answers (N·V, C) of a method's own classifier; None without one of at least these classes.

    Args:
        method: in eval mode.
        features: its own.
        classes: of the data.
    """
    if method.num_classes is None or method.num_classes < classes or "all" not in features.parts:
        return None
    device = next(method.parameters()).device
    rows = {part: values.flatten(0, 1) for part, values in features.parts.items()}
    count = len(next(iter(rows.values())))
    found: list[Tensor] = []
    for start in range(0, count, ROWS):
        some = {part: values[start : start + ROWS].float().to(device) for part, values in rows.items()}
        logits = method.class_logits(some)
        if logits is None:
            return None
        found.append(logits.float().cpu())
    return torch.cat(found)


def _rows(features: FeatureSet, count: int) -> tuple[Tensor, np.ndarray]:
    """Class and object of each of the views."""
    views = count // len(features.labels)
    return features.labels.repeat_interleave(views), np.repeat(np.arange(len(features.labels)), views)
