"""Frozen features, probes, retrieval of predictions, and the scores of baselines."""

from equissl.evaluation.evaluate import evaluate, evaluation_kind

__all__ = ["evaluate", "evaluation_kind"]
