"""Classifiers of frozen features: nearest neighbours and linear probes of every part, and their accuracies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.images.encoding import INITIAL, ImageEncoders
from equissl.evaluation.images.knn import knn_votes
from equissl.evaluation.images.scores import class_scores, gain_scores
from equissl.evaluation.probes import FeatureRows, predict, standardization, train_probes
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.scores import Scores, classification_scores
from equissl.evaluation.views.tasks import ProbeSetting, make_task

KNN, LINEAR = "knn", "linear"
Logits = dict[str, Tensor]  # (M, C) of every part


def vote_all(train: FeatureSet, val: FeatureSet, classes: int, options: ImageOptions) -> dict[str, Logits]:
    """Votes of the nearest neighbours, ``knn`` and ``knn_K``, for every part.

    Args:
        train, val: features.
        classes: C.
        options: numbers of neighbours and temperature.
    """
    first = options.neighbours[0]
    found: dict[str, Logits] = {KNN if k == first else f"{KNN}_{k}": {} for k in options.neighbours}
    for part, values in val.parts.items():
        votes = knn_votes(
            train.parts[part][:, 0], train.labels, values[:, 0], classes, options.neighbours, options.temperature
        )
        for name, k in zip(found, dict.fromkeys(options.neighbours), strict=True):
            found[name][part] = votes[k]
    return found


def probe_linear(train: FeatureSet, val: FeatureSet, classes: int, encoders: ImageEncoders) -> Logits:
    """Logits of linear classifiers of every part, trained together: the ``classification`` protocol of views.

    Args:
        train, val: features.
        classes: C.
        encoders: with options and device.
    """
    options, device = encoders.options, encoders.device
    settings = EvaluateConfig(classification=options.linear)
    task = make_task("classification", ProbeSetting(classes, "canonical", settings))
    scalings = {part: standardization(x) if options.standardize else None for part, x in train.parts.items()}
    rows = [{part: FeatureRows(s.parts[part], scalings[part], device) for part in s.parts} for s in (train, val)]
    probes = train_probes([task], rows[0], train, options.seed)
    found = predict(probes, rows[1], np.empty((0, 3), np.int64))
    return {part: logits for (_, part), logits in found.items()}


def all_scores(scores: dict[str, Logits], labels: Tensor, classes: Sequence[str]) -> Scores:
    """Accuracies of every classifier on every part, gains over the encoder before training, and accuracies by class.

    Args:
        scores: (M, C) by classifier and part.
        labels: (M,) classes.
        classes: names.
    """
    results = class_scores(scores[LINEAR]["all"], labels, classes)
    for name, found in scores.items():
        for part, logits in found.items():
            results |= classification_scores(logits, labels, np.arange(len(labels)), part, name)
        results |= gain_scores(found["all"], found[INITIAL], labels, f"{name}/gain")
    return results
