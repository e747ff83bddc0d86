"""Benchmark of live rendering: the share of its time that training waits for views."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from equissl.datasets.loader import ViewLoader
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.live.spec import LiveSpec
from equissl.datasets.views.live.views import LiveViews
from equissl.encoders.config import EncoderConfig
from equissl.methods import VICReg
from equissl.training.data import EndlessBatches
from equissl.util.processes import usable_cores

logger = logging.getLogger(__name__)


def bench_live(
    meshes: str = "procedural",
    objects: int = 1024,
    size: int = 128,
    renderer: str = "raycast",
    renderer_options: dict[str, Any] | None = None,
    workers: int | None = None,
    batch_size: int = 256,
    steps: int = 50,
    warmup: int = 10,
    width: int = 64,
    precision: str = "bf16",
    device: str = "auto",
) -> dict[str, float | str]:
    """Train VICReg with ResNet-18 on pairs of fresh views and measure the share of time that rendering costs.

    One command for a GPU machine: ``equissl bench live --renderer warp`` (on the training GPU), or ``equissl bench
    live`` (rays on the CPU cores). Every step is forward, backward and Adam. The same steps are timed twice, without
    waiting for the GPU in between: on batches as they are rendered, and on one batch that is at hand. ``data_share`` is
    the share of time that the second way saves: what training loses to data, whether it waits for it or shares its GPU
    with the renderer. ``wait_share`` is measured in further steps that wait for the GPU: time until the next batch is
    there, over all time; while it passes, nothing trains. Reading each mesh for the first time is part of the result
    unless ``warmup`` steps visit all objects (in every process).

    Args:
        meshes, objects, size: what is rendered; two views of each object.
        renderer, renderer_options: and how.
        workers: rendering processes; by default all cores but one, and none for renderers that work in this process.
        batch_size: objects in one batch.
        steps: measured, each way.
        warmup: steps before.
        width: of the first stage; 64 is ResNet-18 itself.
        precision: of activations: bf16 or 32.
        device: ``cuda``, ``cpu`` or ``auto``.

    Returns:
        ``data_share``, ``wait_share``, ``images_per_s`` with rendering, ``images_per_s_at_hand`` without, and settings.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    spec = LiveSpec(meshes, objects, size, renderer=renderer, renderer_options=renderer_options or {}, val_fraction=0.0)
    views = LiveViews(spec, workers=usable_cores(), progress=True)
    inside = views.in_training_process
    processes = 0 if inside else max(1, usable_cores() - 1) if workers is None else workers
    endless = EndlessBatches(ViewLoader(views, batch_size), processes, pin_memory=place.type == "cuda")
    stream: Iterator[Any] = iter(endless)
    training = _Training(place, width, precision)
    for _ in range(warmup):
        training.step(next(stream))
    live = training.time(stream, steps)
    at_hand = training.time(_repeat(next(stream).to(place)), steps)
    for _ in range(2 * processes):  # which rendered ahead meanwhile
        next(stream)
    waited = training.time_waiting(stream, steps)
    images = 2 * batch_size * steps
    result: dict[str, float | str] = {
        "data_share": max(0.0, 1 - at_hand / live),
        "wait_share": waited,
        "images_per_s": images / live,
        "images_per_s_at_hand": images / at_hand,
        "renderer": renderer,
        "where": "training process" if inside else f"{processes} processes",
        "size": size,
        "batch_size": batch_size,
        "objects": len(views),
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else f"{usable_cores()} CPU cores",
    }
    logger.info(
        f"training on views rendered by {renderer} ({result['where']}): {result['images_per_s']:.0f} images/s; "
        f"with data at hand {result['images_per_s_at_hand']:.0f}: {100 * float(result['data_share']):.0f} % of the "
        f"time lost to data, {100 * waited:.0f} % spent waiting for it"
    )
    return result


@dataclass
class _Training:
    """Steps of VICReg with ResNet-18."""

    device: torch.device
    width: int
    precision: str

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        method = VICReg(EncoderConfig(width=self.width))
        self.method = method.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.method.parameters(), lr=1e-3, fused=True)

    def step(self, batch: ViewBatch) -> None:
        batch = batch.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.method.step(batch).loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def time(self, batches: Iterator[ViewBatch], steps: int) -> float:
        """Measure seconds of ``steps`` steps, the fetching of their batches included."""
        self._wait()
        start = time.perf_counter()
        for _ in range(steps):
            self.step(next(batches))
        self._wait()
        return time.perf_counter() - start

    def time_waiting(self, batches: Iterator[ViewBatch], steps: int) -> float:
        """Measure the share of the time in which a batch is fetched and nothing trains."""
        self._wait()
        waited, start = 0.0, time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(batches)
            self._wait()
            waited += time.perf_counter() - asked
            self.step(batch)
            self._wait()
        return waited / (time.perf_counter() - start)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _repeat(batch: ViewBatch) -> Iterator[ViewBatch]:
    while True:
        yield batch
