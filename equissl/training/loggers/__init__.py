"""Loggers of a run's curves beside ``metrics.csv``, by name; see ``trainer.loggers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equissl.runs.config import ConfigError
from equissl.training.loggers.base import Logger
from equissl.util.registry import Registry

ALWAYS = "csv"
LOGGERS: Registry[type[Logger]] = Registry(
    "logger",
    {
        ALWAYS: "equissl.training.loggers.csv:CsvLogger",
        "tensorboard": "equissl.training.loggers.tensorboard:TensorBoardLogger",
        "wandb": "equissl.training.loggers.wandb:WandbLogger",
        "mlflow": "equissl.training.loggers.mlflow:MlflowLogger",
    },
    group="equissl.loggers",
    base=Logger,
    error=ConfigError,
)


def create_loggers(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """Create the loggers of these names, ``csv`` among them in any case.

    Args:
        names: registered, or import paths.
        folder: of the run.
        config: of the run, as plain data.

    Raises:
        ConfigError: an unknown name, or a library that is not installed.
    """
    return [LOGGERS[name](folder, config) for name in dict.fromkeys([ALWAYS, *names])]


__all__ = ["LOGGERS", "Logger", "create_loggers"]
