"""Frozen features, probes, look-up of predictions, and the scores of trivial predictors beside them."""

from equissl.evaluation.evaluate import evaluate, evaluation_kind

__all__ = ["evaluate", "evaluation_kind"]
