"""Base class of loggers."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from equissl.runs.config import ConfigError
from equissl.util.files import write_text


class Logger(ABC):
    """Writer of a run's curves; only the first process has one.

    Args:
        folder: of the run.
        config: of the run, as plain data.

    Raises:
        ConfigError: its library is not installed.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, config

    @abstractmethod
    def open(self, step: int) -> None:
        """Begin, or continue after ``step``; rows of later steps, which a killed run has left, come again."""

    @abstractmethod
    def write(self, step: int, views: int, seconds: float, values: Mapping[str, float]) -> None:
        """Write the values of one step.

        Args:
            step: optimiser steps done.
            views: or sweeps, seen so far.
            seconds: of training so far.
            values: by the names of their curves.
        """

    @abstractmethod
    def close(self, finished: bool) -> None:
        """End; ``finished`` is false for a run that was interrupted or failed. Does nothing before `open`."""


def required(module: str, install: str) -> Any:
    """Import a logger's library.

    Args:
        module: to import.
        install: what pip installs it by.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.split(".")[-1]
        raise ConfigError(f"trainer.loggers: {name} is not installed ({error}): pip install '{install}'") from error


def remembered_id(file: Path, make: Callable[[], str]) -> str:
    """Return the id in a file of the run folder, written the first time: a continued run is the same run.

    Args:
        file: holds the id and nothing else.
        make: gives a new one.
    """
    if not file.is_file():
        write_text(file, make() + "\n")
    return file.read_text(encoding="utf-8").strip()
