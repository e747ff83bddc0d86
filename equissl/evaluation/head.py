"""Accuracy of a method's own classifier, for methods that learn from labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.scores import Scores, classification_scores
from equissl.methods.views.base import ViewMethod

HEAD = "head"  # first component of its keys in the results
ROWS = 8192  # classified at a time


@torch.inference_mode()
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
    if method.num_classes is None or method.num_classes < classes or "all" not in features.parts:
        return {}
    device = next(method.parameters()).device
    rows = {part: values.flatten(0, 1) for part, values in features.parts.items()}
    count = len(next(iter(rows.values())))
    found: list[Tensor] = []
    for start in range(0, count, ROWS):
        some = {part: values[start : start + ROWS].float().to(device) for part, values in rows.items()}
        logits = method.class_logits(some)
        if logits is None:
            return {}
        found.append(logits.float().cpu())
    views = count // len(features.labels)
    owners = np.repeat(np.arange(len(features.labels)), views)
    return classification_scores(torch.cat(found), features.labels.repeat_interleave(views), owners, "all", HEAD)
