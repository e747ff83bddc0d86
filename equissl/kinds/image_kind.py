"""Shared part of the kinds whose batches hold images: memory format, online probes, exported backbone."""

from __future__ import annotations

from typing import Any

import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.kinds.kind import Kind
from equissl.methods import Method
from equissl.runs.config import PretrainConfig
from equissl.training.metriclog import MetricLog
from equissl.training.probes import OnlineProbes
from equissl.weights.images import image_backbone


class ImageKind(Kind):
    """A kind whose batches are views, (N, 3, H, W) images of one object in V consecutive rows."""

    unit = "views"
    batch = ViewBatch
    library_backbone = staticmethod(image_backbone)

    def arrange(self, method: Method, channels_last: bool) -> Method:
        return method.to(memory_format=torch.channels_last) if channels_last else method  # type: ignore[call-overload]

    def observers(self, config: PretrainConfig, method: Method, dataset: Any, log: MetricLog) -> list[OnlineProbes]:
        classes = len(dataset.store.classes)
        if not config.probes.enabled or not classes:
            return []
        return [OnlineProbes(config.probes, log, method.feature_dim, classes, self.posed_views(method), config.seed)]

    def posed_views(self, method: Method) -> int:
        """Return the number of views of an object with known poses; the rotation probe needs two."""
        return 1
