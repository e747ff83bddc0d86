"""Frozen features, probes, look-up of predictions, and the scores of trivial predictors beside them."""

from equissl.evaluation.config import (
    EvaluateConfig,
    HueProbeConfig,
    LinearProbeConfig,
    RetrievalConfig,
    RotationProbeConfig,
)
from equissl.evaluation.evaluate import evaluate
from equissl.evaluation.probing import PROTOCOLS, probe_all

__all__ = [
    "PROTOCOLS",
    "EvaluateConfig",
    "HueProbeConfig",
    "LinearProbeConfig",
    "RetrievalConfig",
    "RotationProbeConfig",
    "evaluate",
    "probe_all",
]
