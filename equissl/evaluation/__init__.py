"""Frozen features, probes, look-up of predictions, and the scores of trivial predictors beside them."""

from equissl.evaluation.config import (
    EvaluateConfig,
    HueProbeConfig,
    LinearProbeConfig,
    RetrievalConfig,
    RotationProbeConfig,
    SequenceConfig,
)
from equissl.evaluation.detection_config import DetectionEvaluateConfig
from equissl.evaluation.evaluate import evaluate
from equissl.evaluation.flows import FlowEvaluateConfig
from equissl.evaluation.probing import PROTOCOLS, probe_all
from equissl.evaluation.scene_config import SceneEvaluateConfig

__all__ = [
    "PROTOCOLS",
    "DetectionEvaluateConfig",
    "EvaluateConfig",
    "FlowEvaluateConfig",
    "HueProbeConfig",
    "LinearProbeConfig",
    "RetrievalConfig",
    "RotationProbeConfig",
    "SceneEvaluateConfig",
    "SequenceConfig",
    "evaluate",
    "probe_all",
]
