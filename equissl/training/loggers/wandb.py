"""Logger of Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from equissl.training.loggers.base import Logger, remembered_id, required


class WandbLogger(Logger):
    """Logger of one run of Weights & Biases in the project ``equissl``, its files under ``RUN/wandb``.

    The library's own variables say where to and as whom: ``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_API_KEY``;
    ``WANDB_MODE=offline`` sends nothing (``wandb sync`` does later). A continued run has the same id. Steps that come
    again after a kill carry the same values, and the server keeps the first.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._library = required("wandb", "equissl[wandb]")
        self._run: Any = None

    def open(self, step: int) -> None:
        id = remembered_id(self.folder / "wandb" / "id.txt", lambda: uuid4().hex[:8])
        self._run = self._library.init(
            dir=str(self.folder),
            id=id,
            name=self.folder.name,
            config=dict(self.config),
            resume="allow",
            reinit="return_previous",
        )

    def write(self, step: int, views: int, seconds: float, values: Mapping[str, float]) -> None:
        self._run.log({**values, "seconds": seconds}, step=step)

    def close(self, finished: bool) -> None:
        if self._run is not None:
            self._run.finish(exit_code=0 if finished else 1)
            self._run = None
