"""Shared part of the kinds whose batches hold images: memory format, online probes, exported backbone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.kinds.kind import Kind
from equissl.methods import Method
from equissl.runs.config import ConfigError, PretrainConfig
from equissl.training.collapse import SHORTCUT
from equissl.training.metriclog import MetricLog
from equissl.training.probes import OnlineProbes
from equissl.util.ranks import process_rank
from equissl.weights.images import image_backbone

ACTIONS = 4096  # pairs that the actions' statistics are taken from
FREE = 0.3
NEARLY_FREE = (
    "an invariant embedding costs this predictor little, so that it may learn to ignore the action "
    "(docs/actions.md; whiten_actions with init: identity makes it cost the whole equivariance loss)"
)
logger = logging.getLogger(__name__)


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

    def prepare(self, config: PretrainConfig, method: Any, dataset: Any, out: Path, fresh: bool) -> dict[str, float]:
        """Whiten the actions that a predictor is told, and say what an invariant embedding would cost it.

        Args:
            config: of the run.
            method: with its initial weights.
            dataset: training data.
            out: run folder.
            fresh: False where a run continues, or starts from given weights.

        Returns:
            the shortcut share, of a fresh run whose predictor can tell.
        """
        if not method.fits_actions:
            return {}
        share = method.fit_actions(training_actions(method.action.raw, dataset))
        if share is None or not fresh:
            return {}
        if process_rank() == 0:
            _say(out, share)
        return {SHORTCUT: share}

    def check_classes(self, method: Any, dataset: Any) -> None:
        """Refuse a classifier for another number of classes than the data have.

        Args:
            method: of the run.
            dataset: training data.

        Raises:
            ConfigError: naming both numbers.
        """
        wanted, held = getattr(method, "num_classes", None), len(dataset.store.classes)
        if wanted is not None and held > wanted:
            raise ConfigError(f"expected method.num_classes {held}, the classes of {dataset.store.path}, got {wanted}")
        if wanted is not None and not held:
            raise ConfigError(f"{type(method).__name__} learns from labels, and {dataset.store.path} has none")

    def posed_views(self, method: Method) -> int:
        """Return the number of views of an object with known poses; the rotation probe needs two."""
        return 1


def _say(out: Path, share: float) -> None:
    if share < FREE:
        logger.warning("%s: shortcut share %.3f of 1: %s", out, share, NEARLY_FREE)
    else:
        logger.info("%s: shortcut share %.3f of 1 (docs/actions.md)", out, share)


def training_actions(action: Any, dataset: Any) -> Tensor:
    """Compute the actions (N, A) of `ACTIONS` training pairs: of each object in turn, epoch after epoch.

    Args:
        action: from a batch and two positions to (B, A).
        dataset: training data.
    """
    epochs = -(-ACTIONS // len(dataset))
    addresses = [(epoch, index) for epoch in range(epochs) for index in range(len(dataset))][:ACTIONS]
    parts = [addresses[start : start + 256] for start in range(0, len(addresses), 256)]  # images may come along
    return torch.cat([action(dataset.without_images(part)) for part in parts])
