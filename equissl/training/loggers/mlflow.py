"""Logger of MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equissl.training.loggers.base import Logger, remembered_id, required
from equissl.util.configtree import flatten

LONGEST = 500  # characters of a parameter's value that every MLflow store takes
BATCH = 100  # parameters of one call


class MlflowLogger(Logger):
    """Logger of one run of MLflow, with the flat config as its parameters.

    The library's own variables say where to: ``MLFLOW_TRACKING_URI`` (a server, ``file:`` or ``sqlite:`` store) and
    ``MLFLOW_EXPERIMENT_NAME``, or else ``equissl``. A continued run is the same MLflow run; steps that come again after
    a kill repeat the same values.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._library = required("mlflow", "equissl[mlflow]")
        self._client: Any = None
        self._id = ""

    def open(self, step: int) -> None:
        self._client = self._library.MlflowClient()
        self._id = remembered_id(self.folder / "mlflow.txt", self._create)
        self._client.update_run(self._id, status="RUNNING")

    def write(self, step: int, views: int, seconds: float, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        rows = {**values, "seconds": seconds}
        metrics = [self._library.entities.Metric(name, float(value), now, step) for name, value in rows.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, finished: bool) -> None:
        if self._client is not None:
            self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")
            self._client = None

    def _create(self) -> str:
        name = self._library.environment_variables.MLFLOW_EXPERIMENT_NAME.get() or "equissl"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        id = self._client.create_run(experiment, run_name=self.folder.name).info.run_id
        flat = [(key, str(value)[:LONGEST]) for key, value in flatten(dict(self.config)).items()]
        params = [self._library.entities.Param(key, value) for key, value in flat]
        for first in range(0, len(params), BATCH):
            self._client.log_batch(id, params=params[first : first + BATCH])
        return id
