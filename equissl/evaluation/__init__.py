"""Frozen features, probes, look-up of predictions, and the scores of trivial predictors beside them."""

from equissl.evaluation.drives.config import DriveEvaluateConfig
from equissl.evaluation.evaluate import evaluate
from equissl.evaluation.sweeps.config import DetectionEvaluateConfig
from equissl.evaluation.videos.evaluate import VideoEvaluateConfig
from equissl.evaluation.views.config import (
    EvaluateConfig,
    HueProbeConfig,
    LinearProbeConfig,
    RetrievalConfig,
    RotationProbeConfig,
    SequenceConfig,
)
from equissl.evaluation.views.probing import PROTOCOLS, probe_all

__all__ = [
    "PROTOCOLS",
    "DetectionEvaluateConfig",
    "DriveEvaluateConfig",
    "EvaluateConfig",
    "HueProbeConfig",
    "LinearProbeConfig",
    "RetrievalConfig",
    "RotationProbeConfig",
    "SequenceConfig",
    "VideoEvaluateConfig",
    "evaluate",
    "probe_all",
]
