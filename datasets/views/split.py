"""Split of objects into training and held-out ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equissl.datasets.splits import SPLITS, TRAIN, VAL

_TAG = 0x59117  # keeps this stream apart from those of latents, which have three words


def split_objects(
    labels: Sequence[int] | np.ndarray,
    sources: Sequence[str],
    val_fraction: float,
    seed: int,
    val_source: str | None = None,
    published: Sequence[int | None] = (),
) -> np.ndarray:
    """Split objects by a seed, stratified by class; objects with a published split keep that.

    Of each class with n objects, ``round(val_fraction · n)`` are held out, but at least one and never all: a class of a
    single object stays in train.

    Args:
        labels: (N,) class of each object.
        sources: (N,) mesh source of each object.
        val_fraction: in [0, 1).
        seed: seed of the choice.
        val_source: hold out objects of this source only; ``val_fraction`` then counts over that source.
        published: (N,) split that the mesh source publishes, None where it publishes none; empty for none at all.
            It has no say where ``val_source`` is given.

    Returns:
        (N,) uint8: 0 train, 1 val.

    Raises:
        ValueError: for a fraction outside [0, 1), or a ``val_source`` that no object has.
    """
    labels = np.asarray(labels, dtype=np.int64)
    if not 0 <= val_fraction < 1:
        raise ValueError(f"expected 0 <= val_fraction < 1, got {val_fraction}")
    if val_source is not None and val_source not in sources:
        raise ValueError(f"expected val_source to be one of {sorted(set(sources))}, got {val_source!r}")
    eligible = np.array([val_source in (None, source) for source in sources], dtype=bool)
    split = np.full(len(labels), TRAIN, dtype=np.uint8)
    if val_source is None and len(published):
        known = np.array([value is not None for value in published], dtype=bool)
        split[known] = [value for value in published if value is not None]
        eligible &= ~known
    for label in np.unique(labels):
        members = np.flatnonzero((labels == label) & eligible)
        held_out = count_held_out(len(members), int((labels == label).sum()), val_fraction)
        order = np.random.default_rng(np.random.SeedSequence([seed, int(label), _TAG, 1])).permutation(len(members))
        split[members[order[:held_out]]] = VAL
    return split


def count_held_out(eligible: int, in_class: int, val_fraction: float) -> int:
    """Count how many of a class's ``eligible`` objects are held out.

    Args:
        eligible: objects that may be held out.
        in_class: objects of the class.
        val_fraction: share to hold out.
    """
    if val_fraction == 0 or eligible == 0 or in_class < 2:
        return 0
    return min(max(1, int(np.floor(val_fraction * eligible + 0.5))), eligible, in_class - 1)


def select_split(assigned: np.ndarray, split: str | None, where: str) -> np.ndarray:
    """Find the indices of the objects in ``split``.

    Args:
        assigned: (N,) 0 train, 1 val.
        split: ``train``, ``val``, or None for all.
        where: whose objects they are, for messages.

    Raises:
        ValueError: for another name, or a split without objects.
    """
    if split is None:
        return np.arange(len(assigned))
    if split not in SPLITS:
        raise ValueError(f"expected split to be one of {[*SPLITS]} or None, got {split!r}")
    chosen = np.flatnonzero(assigned == SPLITS[split])
    if not len(chosen):
        raise ValueError(f"expected objects in split {split!r} of {where}, but all {len(assigned)} are outside")
    return chosen
