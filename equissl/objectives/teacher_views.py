"""Parts shared by the objectives with a momentum teacher and a queue of its embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.feature_queue import FeatureQueue
from equissl.losses.precision import full_precision, unit_norm
from equissl.objectives.base import Embedded


def teacher_views(batch: Embedded, purpose: str) -> Tensor:
    """Return the teacher's embeddings (B, W, D) of the first W of the V views of ``z``.

    Args:
        batch: embeddings of student and teacher.
        purpose: name of the objective, for the error.

    Raises:
        ValueError: where there are none, or they do not fit to ``z``.
    """
    if batch.teacher is None:
        raise ValueError(f"{purpose} needs the embeddings of a momentum teacher, got teacher None")
    z, teacher = batch.z.shape, batch.teacher.shape
    if len(z) != 3 or len(teacher) != 3 or (z[0], z[2]) != (teacher[0], teacher[2]) or not 1 <= teacher[1] <= z[1]:
        raise ValueError(
            f"{purpose} expected z (B, V, D) and the teacher's (B, W, D) with 1 <= W <= V, got {tuple(z)} and "
            f"{tuple(teacher)}"
        )
    return batch.teacher


def cross_view_pairs(batch: Embedded, purpose: str) -> tuple[Tensor, Tensor]:
    """Pair each view as a query with the teacher's embedding of each other view as its key.

    Small crops, which the teacher does not see, are queries only.

    Args:
        batch: V views, the first W of which the teacher has seen.
        purpose: name of the objective, for messages.

    Returns:
        queries (P B, D) with gradient and keys (P B, D), where P counts the pairs of different views; V (V - 1)
        without small crops.

    Raises:
        ValueError: without a teacher, for embeddings that do not fit, or fewer than 2 views.
    """
    teacher = teacher_views(batch, purpose)
    pairs = [(v, w) for v in range(batch.z.shape[1]) for w in range(teacher.shape[1]) if v != w]
    if not pairs:
        raise ValueError(f"{purpose} needs at least 2 views, got {batch.z.shape[1]} (shape {tuple(batch.z.shape)})")
    queries, keys = (list(side) for side in zip(*pairs, strict=True))
    return batch.z[:, queries].flatten(0, 1), teacher[:, keys].flatten(0, 1)


def promoted(memory: Tensor, queries: Tensor) -> Tensor:
    """Return the memory in float64 where the queries are: past embeddings are kept in float32.

    Args:
        memory: past embeddings.
        queries: their dtype counts.
    """
    return memory.to(torch.promote_types(memory.dtype, queries.dtype))


@torch.no_grad()
@full_precision
def enqueue_views(queue: FeatureQueue, embeddings: Tensor) -> None:
    """Store embeddings (B, V, D) as unit vectors, all views of a sample side by side.

    Args:
        queue: of past embeddings.
        embeddings: (B, V, D) of the teacher.
    """
    queue.enqueue(unit_norm(embeddings).flatten(0, 1))


def on_device(source: torch.Generator, device: torch.device) -> torch.Generator:
    """Return a generator on a device that continues a CPU one: many numbers are drawn where they are used.

    Args:
        source: generator on the CPU; a number is drawn from it.
        device: of the generator returned.
    """
    if device.type == "cpu":
        return source
    seed = int(torch.randint(2**62, (), generator=source))
    return torch.Generator(device).manual_seed(seed)
