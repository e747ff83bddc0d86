"""Logger of TensorBoard events in ``RUN/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equissl.training.loggers.base import Logger, required


class TensorBoardLogger(Logger):
    """Logger of scalars by name; events of a killed run after the step of its checkpoint are purged."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._library = required("torch.utils.tensorboard", "tensorboard")
        self._writer: Any = None

    def open(self, step: int) -> None:
        purged = step + 1 if step else None
        self._writer = self._library.SummaryWriter(str(self.folder / "tensorboard"), purge_step=purged)

    def write(self, step: int, views: int, seconds: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)

    def close(self, finished: bool) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
