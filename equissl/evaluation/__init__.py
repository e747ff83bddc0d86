"""Frozen features, probes, look-up of predictions, and the scores of trivial predictors beside them."""

from equissl.evaluation.drives.config import SceneEvaluateConfig
from equissl.evaluation.evaluate import evaluate
from equissl.evaluation.sweeps.config import DetectionEvaluateConfig
from equissl.evaluation.videos.evaluate import FlowEvaluateConfig
from equissl.evaluation.views.config import (
    EvaluateConfig,
    HueProbeConfig,
    LinearProbeConfig,
    RetrievalConfig,
    RotationProbeConfig,
    SequenceConfig,
)
from equissl.evaluation.views.probing import probe_all
from equissl.evaluation.views.tasks import PROBES, ProbeSetting, Task

__all__ = [
    "PROBES",
    "DetectionEvaluateConfig",
    "EvaluateConfig",
    "FlowEvaluateConfig",
    "HueProbeConfig",
    "LinearProbeConfig",
    "ProbeSetting",
    "RetrievalConfig",
    "RotationProbeConfig",
    "SceneEvaluateConfig",
    "SequenceConfig",
    "Task",
    "evaluate",
    "probe_all",
]
