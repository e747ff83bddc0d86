"""Sampling of the views that probes see: seeded, and the same for every method."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from torch import Tensor


def fixed_pairs(objects: np.ndarray, num_views: int, pairs_per_object: int, seed: int) -> np.ndarray:
    """Draw ordered pairs of distinct views of every object, without replacement.

    Each object has its own seed, so its pairs do not depend on the method, the run or the other objects.

    Args:
        objects: (N,) store indices.
        num_views: views stored per object.
        pairs_per_object: pairs wanted; all V(V-1) are used where there are fewer.
        seed: evaluation seed.

    Returns:
        (N·k, 3) rows (position in ``objects``, first view, second view).

    Raises:
        ValueError: for fewer than two views or fewer than one pair.
    """
    if num_views < 2 or pairs_per_object < 1:
        raise ValueError(f"expected >= 2 views and >= 1 pair per object, got {num_views} and {pairs_per_object}")
    total = num_views * (num_views - 1)
    rows = []
    for position, item in enumerate(objects):
        rng = np.random.default_rng(np.random.SeedSequence([seed, int(item)]))
        chosen = rng.choice(total, size=min(pairs_per_object, total), replace=False)
        first, second = chosen // (num_views - 1), chosen % (num_views - 1)
        second = second + (second >= first)  # skips the pair of a view with itself
        rows.append(np.stack([np.full_like(first, position), first, second], axis=1))
    return np.concatenate(rows)


def object_batches(
    num_objects: int, batch_size: int, steps: int | None, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield batches of object positions (batch_size,): shuffled epochs laid end to end, so that no batch is short.

    Without end where ``steps`` is None.

    Args:
        num_objects: number of objects.
        batch_size: of every batch.
        steps: number of batches; None for no end.
        generator: of the shuffles.
    """
    pool = torch.empty(0, dtype=torch.long)
    for _ in range(steps) if steps is not None else count():
        while len(pool) < batch_size:
            pool = torch.cat([pool, torch.randperm(num_objects, generator=generator)])
        yield pool[:batch_size]
        pool = pool[batch_size:]


def random_views(num_views: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw view indices (count,).

    Args:
        num_views: number of views of an object.
        count: number of draws.
        generator: of the draws.
    """
    return torch.randint(num_views, (count,), generator=generator)


def random_pairs(num_views: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw two times (count,) distinct view indices, ordered, uniform over all V(V-1) pairs.

    Args:
        num_views: V, at least 2.
        count: number of draws.
        generator: of the draws.
    """
    first = torch.randint(num_views, (count,), generator=generator)
    second = torch.randint(num_views - 1, (count,), generator=generator)
    return first, second + (second >= first)


def num_steps(epochs: int, steps: int | None, num_objects: int, batch_size: int) -> int:
    """Return the updates of a probe: ``steps`` where given, else ``epochs`` passes over the objects.

    Args:
        epochs: passes over the objects.
        steps: updates; goes before ``epochs``.
        num_objects: number of objects.
        batch_size: objects in a batch.

    Raises:
        ValueError: for a budget below one update.
    """
    wanted = steps if steps is not None else -(-epochs * num_objects // batch_size)
    if wanted < 1:
        raise ValueError(f"expected a probe budget of at least one update, got epochs={epochs}, steps={steps}")
    return wanted
