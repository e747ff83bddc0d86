"""Choice of objects and views by pure functions of (seed, epoch, index), vectorised over a batch."""

from __future__ import annotations

import numpy as np

_OBJECTS = 0x0B7EC7  # keeps the choice of objects apart from those of views
_LABELS = 0x1ABE15
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(*values: np.ndarray | int) -> np.ndarray:
    """Hash integers, broadcast against each other, to uniform uint64.

    A chain of SplitMix64 finalisers (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for value in values:
            state = (state ^ np.asarray(value).astype(np.uint64)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def item_seeds(seed: int, epochs: np.ndarray | int, indices: np.ndarray | int) -> np.ndarray:
    """Return int64 seeds, at least 0, of items of a data set.

    Args:
        seed: of the data set.
        epochs: epoch of each item.
        indices: position of each item in the data set.
    """
    return (mix(seed, epochs, indices) >> np.uint64(1)).astype(np.int64)


def choose_views(seed: int, epochs: np.ndarray, indices: np.ndarray, chosen: int, stored: int) -> np.ndarray:
    """Choose ordered distinct views for each row: uniform over all ordered choices without replacement.

    Args:
        seed: of the run.
        epochs, indices: (B,) which visit of which item.
        chosen: V, how many views.
        stored: how many exist, at least V.

    Returns:
        (B, V) int64 in 0..stored-1, a function of (seed, epoch, index) alone.
    """
    draws = np.arange(chosen, dtype=np.uint64)
    ranks = mix(seed, np.asarray(epochs)[:, None], np.asarray(indices)[:, None], draws)
    ranks = (ranks % (np.uint64(stored) - draws)).astype(np.int64)
    views = np.empty_like(ranks)
    for k in range(chosen):
        views[:, k] = ranks[:, k]  # rank among the views not yet taken: step over each taken one, in ascending order
        for taken in np.sort(views[:, :k], axis=1).T:
            views[:, k] += views[:, k] >= taken
    return views


def choose_objects(objects: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """Choose ``count`` of the objects by a seed, in their order; a larger count keeps those of a smaller one.

    Args:
        objects: (N,) indices.
        count: how many; None keeps all.
        seed: of the choice.

    Raises:
        ValueError: for less than one, or more than there are.
    """
    if count is None:
        return objects
    if not 1 <= count <= len(objects):
        raise ValueError(f"expected 1 to {len(objects)} objects, got {count}")
    ranks = mix(seed, _OBJECTS, np.arange(len(objects)))
    return objects[np.sort(np.argsort(ranks, kind="stable")[:count])]


def choose_labelled(labels: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Choose the items whose labels are used, the same share of every class, and at least one item of each.

    The choice is the seed's alone, and that of a larger share keeps those of a smaller one.

    Args:
        labels: (N,) class of each item, at least 0.
        share: in (0, 1].
        seed: of the choice.

    Returns:
        (n,) positions, increasing.

    Raises:
        ValueError: for a share outside (0, 1], or items without a label.
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share of labels in (0, 1], got {share}")
    if share == 1:
        return np.arange(len(labels))
    if len(labels) and labels.min() < 0:
        raise ValueError(f"expected labels, to choose a share of {share} of them, got items without")
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, int(np.floor(share * len(members) + 0.5)))
        chosen.append(choose_objects(members, count, int(mix(seed, _LABELS, int(label)))))
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)


def epoch_order(seed: int, epoch: int, count: int, shuffle: bool) -> np.ndarray:
    """Return the order (count,) of the objects in an epoch; it is the same on every rank.

    Args:
        seed: of the data set.
        epoch: number of the epoch.
        count: number of objects.
        shuffle: False keeps the order of the store.
    """
    if not shuffle:
        return np.arange(count)
    return np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(count)
