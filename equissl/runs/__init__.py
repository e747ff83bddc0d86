"""Run folders: config, checkpoint, log and results."""

from equissl.runs.checkpoint import CheckpointError, load_method, read_checkpoint
from equissl.runs.config import (
    CollapseConfig,
    ConfigError,
    MethodConfig,
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    TrainerConfig,
)
from equissl.runs.configfile import build_method, load_config, resolve_config, save_config
from equissl.runs.log import read_metrics
from equissl.runs.results import read_results, write_results

__all__ = [
    "CheckpointError",
    "CollapseConfig",
    "ConfigError",
    "MethodConfig",
    "OptimConfig",
    "PretrainConfig",
    "ProbeConfig",
    "TrainerConfig",
    "build_method",
    "load_config",
    "load_method",
    "read_checkpoint",
    "read_metrics",
    "read_results",
    "resolve_config",
    "save_config",
    "write_results",
]
