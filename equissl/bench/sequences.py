"""Benchmark of a training step of seq-JEPA beside a plain implementation, and of sequences made from images."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import threediebench_schema
from equissl.encoders.aggregator import Aggregator
from equissl.encoders.config import EncoderConfig
from equissl.geometry import euler_to_rotmat
from equissl.methods import SeqJEPA
from equissl.methods.views.base import normalize_images

logger = logging.getLogger(__name__)


class PlainSeqJEPA(nn.Module):
    """Plain implementation of the model, organised as the authors' code.

    Standard memory layout, the action projector called once for the sequence and once for the prediction, every output
    of the transformer computed, a teacher updated one parameter at a time.

    Args:
        method: whose networks it takes copies of.
    """

    def __init__(self, method: SeqJEPA) -> None:
        super().__init__()
        assert method.teacher is not None and isinstance(method.aggregator, Aggregator)
        self.encoder, self.target = copy.deepcopy(method.encoder), copy.deepcopy(method.teacher["encoder"])
        self.project, self.predictor = copy.deepcopy(method.action_projector), copy.deepcopy(method.predictor)
        self.transformer, self.token = copy.deepcopy(method.aggregator.encoder), copy.deepcopy(method.aggregator.token)

    def loss(self, images: Tensor, actions: Tensor) -> Tensor:
        """Compute the loss of predicting the last view of each sequence.

        Args:
            images: normalised, (B, M + 1, 3, S, S).
            actions: (B, M, A).
        """
        batch, seen = len(images), images.shape[1] - 1
        z = self.encoder(images[:, :-1].reshape(-1, *images.shape[2:])).view(batch, seen, -1)
        moves = self.project(actions.reshape(batch * seen, -1)).view(batch, seen, -1)
        moves = torch.cat([moves[:, :-1], torch.zeros_like(moves[:, :1])], dim=1)
        tokens = torch.cat([self.token.expand(batch, -1, -1), torch.cat([z, moves], dim=2)], dim=1)
        aggregate = self.transformer(tokens)[:, 0]
        predicted = self.predictor(torch.cat([aggregate, self.project(actions[:, -1])], dim=1))
        with torch.no_grad():
            target = self.target(images[:, -1])
        return 1 - nn.functional.cosine_similarity(predicted, target).mean()

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Update the teacher."""
        for slow, fast in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            slow.data = slow.data * momentum + fast.data * (1 - momentum)


def bench_sequences(
    batch_size: int = 32,
    views: int = 4,
    size: int = 64,
    encoder: str = "torchvision/resnet18",
    width: int = 64,
    steps: int = 10,
    threads: int | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """Measure training steps of seq-JEPA, from uint8 images to the teacher's update, beside a plain implementation.

    Steps of both take turns, and the fastest one counts: other work on the machine makes steps slower, never faster.

    Args:
        batch_size: objects in a batch.
        views: M + 1.
        size: side of the images.
        encoder, width: see :func:`equissl.encoders.create_encoder`.
        steps: of each, after two that do not count.
        threads: of torch; None keeps its choice.
        device: where.

    Returns:
        milliseconds of a step, ours and plain, and how many times as fast ours is.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    ours = SeqJEPA(EncoderConfig(encoder, width), views=views)
    plain = PlainSeqJEPA(ours).to(device)
    ours = ours.to(device).to(memory_format=torch.channels_last)  # as `pretrain` does
    batch = _batch(batch_size, views, size).to(device)
    logger.info(f"{batch_size} objects, {views} views of {size} pixels, {torch.get_num_threads()} threads, {device}")
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    moves = {"ours": _our_step(ours, batch, steps), "plain": _plain_step(plain, batch)}
    for step in range(steps + 2):
        for name, move in moves.items():
            times[name].append(_timed(lambda move=move, step=step: move(step), device))  # type: ignore[misc]
    best = {name: 1e3 * min(values[2:]) for name, values in times.items()}
    ratio = best["plain"] / best["ours"]
    return {"seq-JEPA ms/step": best["ours"], "plain ms/step": best["plain"], "times as fast": ratio}


def _our_step(method: SeqJEPA, batch: ViewBatch, steps: int) -> Callable[[int], None]:
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=4e-4, weight_decay=1e-3, fused=True)

    def step(number: int) -> None:
        loss = method.step(batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        method.after_step(number, steps + 2)

    return step


def _plain_step(model: PlainSeqJEPA, batch: ViewBatch) -> Callable[[int], None]:
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=4e-4, weight_decay=1e-3)

    def step(number: int) -> None:
        actions = [batch.relative_quats(view, view + 1) for view in range(batch.num_views - 1)]
        loss = model.loss(normalize_images(batch.images), torch.stack(actions, dim=1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.follow(0.996)

    return step


def _batch(objects: int, views: int, size: int) -> ViewBatch:
    generator = torch.Generator().manual_seed(0)
    schema = threediebench_schema()
    latents = torch.rand(objects, views, len(schema), generator=generator)
    images = torch.randint(0, 256, (objects * views, size, size, 3), generator=generator, dtype=torch.uint8)
    stored: Any = images.permute(0, 3, 1, 2).view(objects, views, 3, size, size)  # channels last, as a store gives them
    labels = torch.zeros(objects, dtype=torch.int64)
    return ViewBatch(stored, euler_to_rotmat(latents[..., :3]), latents, labels, schema)


def _timed(work: Callable[[], None], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start
