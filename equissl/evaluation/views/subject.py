"""Retrieval of the subject: which object a view shows, asked of the nearest other view."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.scores import Scores, standard_error
from equissl.evaluation.views.tasks import SUBJECT
from equissl.metrics.instance_retrieval import instance_hits


def why_no_subject(views: FeatureSet) -> str | None:
    """Return the reason why subjects cannot be looked up among these views, or None."""
    if views.num_views < 2 or len(views.objects) < 2:
        return "it looks up another view of an object among those of others: it needs two views of two objects"
    return None


def subject_scores(views: FeatureSet, parts: Sequence[str], device: torch.device | str = "cpu") -> Scores:
    """Compute R@1 of the subject, ``subject/PART/top1``: the nearest other view by cosine shows the same object.

    Views of one object differ in pose, floor and light. The standard error counts objects.

    Args:
        views: unseen ones.
        parts: names of features.
        device: to compute on.
    """
    count = len(views.objects) * views.num_views
    results: Scores = {f"{SUBJECT}/chance": (views.num_views - 1) / (count - 1)}
    for part in parts:
        found = instance_hits(views.parts[part].to(device))
        results[f"{SUBJECT}/{part}/top1"] = float(found.mean())
        results[f"{SUBJECT}/{part}/top1_se"] = standard_error(found.mean(dim=1).numpy())
    return results
