"""From settings to views that are rendered while training."""

from __future__ import annotations

import torch

from equissl.datasets.views.live.spec import LiveSpec
from equissl.datasets.views.live.views import LiveViews
from equissl.util.configtree import ConfigError
from equissl.util.ranks import local_rank, process_rank


def open_live(spec: LiveSpec, split: str | None, views: int, seed: int, workers: int) -> LiveViews:
    """Open views that are rendered while they are trained on.

    Args:
        spec: what to render.
        split: ``train``, ``val``, or None for all.
        views: of each object.
        seed: of the order and of the latents.
        workers: loader processes.

    Raises:
        ConfigError: loader processes where views are rendered in this one.
        MeshSourceError, RendererError: without usable meshes, or with an unknown renderer.
    """
    if torch.cuda.is_available():  # where a renderer in this process works: on the GPU that the method will be moved to
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    dataset = LiveViews(spec, split, views, seed, workers, progress=process_rank() == 0)
    if dataset.in_training_process and workers:
        raise ConfigError(
            f"renderer {spec.renderer!r} draws in the training process: expected data.workers 0, got {workers}"
        )
    return dataset
