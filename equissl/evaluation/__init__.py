"""Frozen features, probes, and the scores of trivial predictors beside them."""

from equissl.evaluation.config import EvaluateConfig, LinearProbeConfig, RotationProbeConfig
from equissl.evaluation.evaluate import evaluate, probe_all

__all__ = ["EvaluateConfig", "LinearProbeConfig", "RotationProbeConfig", "evaluate", "probe_all"]
