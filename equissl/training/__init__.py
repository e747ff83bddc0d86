"""Pretraining: configs, the training loop, online probes, collapse diagnostics, checkpoints and logs."""

from equissl.runs.checkpoint import CheckpointError, load_method, read_checkpoint
from equissl.runs.config import (
    CollapseConfig,
    ConfigError,
    DataConfig,
    FrameConfig,
    MethodConfig,
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    SceneConfig,
    TrainerConfig,
)
from equissl.runs.configfile import build_method, load_config, save_config
from equissl.runs.log import read_metrics

# Last: this name hides the submodule of the same name, which stays importable as `equissl.training.pretrain`.
from equissl.training.pretrain import TrainingDivergedError, pretrain  # isort: skip

__all__ = [
    "CheckpointError",
    "CollapseConfig",
    "ConfigError",
    "DataConfig",
    "FrameConfig",
    "MethodConfig",
    "OptimConfig",
    "PretrainConfig",
    "ProbeConfig",
    "SceneConfig",
    "TrainerConfig",
    "TrainingDivergedError",
    "build_method",
    "load_config",
    "load_method",
    "pretrain",
    "read_checkpoint",
    "read_metrics",
    "save_config",
]
