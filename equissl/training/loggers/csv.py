"""Logger of ``metrics.csv``, exact over kills and resumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equissl.runs.log import RunLog
from equissl.training.loggers.base import Logger


class CsvLogger(Logger):
    """Logger by :class:`equissl.runs.log.RunLog`, which drops rows after the step that a run continues from."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._log = RunLog(folder)

    def open(self, step: int) -> None:
        self._log.open(step)

    def write(self, step: int, views: int, seconds: float, values: Mapping[str, float]) -> None:
        self._log.write(step, views, seconds, values)

    def close(self, finished: bool) -> None:
        """Do nothing: each row was flushed."""
