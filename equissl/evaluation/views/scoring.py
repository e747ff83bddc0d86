"""Scoring of the outputs of probes, with their baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from equissl.evaluation.views.scores import (
    DISTANCE,
    Measure,
    Scores,
    classification_scores,
    group_scores,
    identity_prediction,
    label_baselines,
    regression_scores,
    rotation_scores,
)
from equissl.metrics import constant_rotation_prediction

Same = Callable[[], Tensor] | None


class Scoring(ABC):
    """Scores of the outputs of a head, and of predictors that see no features."""

    @abstractmethod
    def scores(self, preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str) -> Scores:
        """Score predictions.

        Args:
            preds: (P, D) outputs of the head.
            target: (P, …) what they should be.
            owners: (P,) object of every row; standard errors count objects.
            part: name of the probed features, or of a trivial predictor.
            group: name of the protocol, the first component of the keys.
        """

    def varies(self, target: Tensor) -> bool:
        """Return True where the targets (P, …) differ; where they do not, every R² is 0/0."""
        return bool((target.double().var(0, correction=0) > 1e-12).any())

    def trivial(self, target: Tensor, source: Tensor, same: Same) -> dict[str, Tensor]:
        """Predict without features.

        Args:
            target: (P, D) of the validation rows.
            source: (Q, D) of the training rows.
            same: gives (P, D), the answer of one who takes both views of a pair for the same; None for single views.

        Returns:
            (P, D) by name: ``constant``, the mean of the training rows, and ``identity`` where there are pairs.
        """
        constant = source.double().mean(0).expand(len(target), -1)
        return {"constant": constant} | ({} if same is None else {"identity": same()})

    def baselines(self, target: Tensor, source: Tensor, owners: np.ndarray, group: str, same: Same) -> Scores:
        """Score the predictors of `trivial`.

        Args:
            target: (P, D) of the validation rows.
            source: (Q, D) of the training rows.
            owners: (P,) object of every row.
            group: name of the protocol, the first component of the keys.
            same: see `trivial`.
        """
        found: Scores = {}
        for name, preds in self.trivial(target, source, same).items():
            found |= self.scores(preds, target, owners, name, group)
        return found


@dataclass(frozen=True)
class Regression(Scoring):
    """R², and errors of a measure.

    Attributes:
        measure: of the errors.
    """

    measure: Measure

    def scores(self, preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str) -> Scores:
        return regression_scores(preds, target, owners, part, group, self.measure)


DISTANCES = Regression(DISTANCE)


class Rotations(Scoring):
    """R² and geodesic errors of quaternions."""

    def scores(self, preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str) -> Scores:
        return rotation_scores(preds, target, owners, part, group)

    def trivial(self, target: Tensor, source: Tensor, same: Same) -> dict[str, Tensor]:
        """Return the best constant rotation of the training rows, and no rotation.

        Args:
            target: (P, 4) of the validation rows.
            source: (Q, 4) of the training rows.
            same: not used.
        """
        return {
            "constant": constant_rotation_prediction(target, source),
            "identity": identity_prediction(len(target)),
        }


@dataclass(frozen=True)
class Classes(Scoring):
    """Top-1 and top-5 accuracy.

    Attributes:
        count: number of classes.
    """

    count: int

    def scores(self, preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str) -> Scores:
        return classification_scores(preds, target, owners, part, group)

    def varies(self, target: Tensor) -> bool:
        """Return True: accuracy has a meaning where all validation objects are of one class, too."""
        return True

    def trivial(self, target: Tensor, source: Tensor, same: Same) -> dict[str, Tensor]:
        """Return no predictions: the baselines are known without them.

        Args:
            target: not used.
            source: not used.
            same: not used.
        """
        return {}

    def baselines(self, target: Tensor, source: Tensor, owners: np.ndarray, group: str, same: Same) -> Scores:
        """Return the accuracy of a uniform guess, and of always naming the most frequent class.

        Args:
            target: (P,) of the validation rows.
            source: (Q,) of the training rows.
            owners: not used.
            group: name of the protocol, the first component of the keys.
            same: not used.
        """
        return label_baselines(source, target, self.count, group)


@dataclass(frozen=True)
class Groups(Classes):
    """Top-1 accuracy of the worst group, of all, and of the views that follow a bias or go against it.

    A class has two groups: views whose band is that of their class, and all others. Targets are (P, 2), class and band
    (:func:`equissl.datasets.views.bias.find_bands`).
    """

    def scores(self, preds: Tensor, target: Tensor, owners: np.ndarray, part: str, group: str) -> Scores:
        return group_scores(preds, target, owners, part, group)

    def baselines(self, target: Tensor, source: Tensor, owners: np.ndarray, group: str, same: Same) -> Scores:
        """Return the accuracy of a uniform guess; always naming one class gives its worst group nothing.

        Args:
            target: not used.
            source: not used.
            owners: not used.
            group: name of the protocol, the first component of the keys.
            same: not used.
        """
        return {f"{group}/chance": 1.0 / self.count, f"{group}/majority": 0.0}
