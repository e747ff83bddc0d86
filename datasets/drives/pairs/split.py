"""Train and validation split of pairs of sweeps: by drives, or the end of the only one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_GUARD = 0.05  # of a drive's sweeps, left out between its two parts
Pair = tuple[str, int, int]


def split_pairs(
    pairs: Sequence[Pair],
    split: str | None,
    val_fraction: float = 0.2,
    val_drives: Sequence[str] | None = None,
) -> list[Pair]:
    """Select the pairs of one split. Train and val never share a drive, or, of a single drive, never a sweep.

    A function of the pairs alone: every run on a store holds out the same ones, whatever its seed.

    Args:
        pairs: (drive, earlier position, later position).
        split: ``train``, ``val``, or None for all.
        val_fraction: of several drives, this share is held out, at least one and never all. Of a single drive, its
            last part is; the sweeps just before that part (a twentieth of the drive, at least one) are in neither
            split, since neighbouring sweeps show the same things.
        val_drives: hold out these drives instead, such as 08 of SemanticKITTI.

    Raises:
        ValueError: for a split or a fraction that is not one, unknown ``val_drives``, or any that leave no drive to
            train on.
    """
    if split not in ("train", "val", None):
        raise ValueError(f"expected split to be train, val or None, got {split!r}")
    if not 0 < val_fraction < 1:
        raise ValueError(f"expected 0 < val_fraction < 1, got {val_fraction}")
    names = sorted({name for name, _, _ in pairs})
    held_out = _held_out(names, val_fraction, val_drives)
    if split is None:
        return list(pairs)
    if held_out is None:
        return _part_of_drive(pairs, split, val_fraction)
    return [pair for pair in pairs if (pair[0] in held_out) == (split == "val")]


def _held_out(names: list[str], fraction: float, chosen: Sequence[str] | None) -> set[str] | None:
    """Drives of the val split; None where there is only one drive to divide."""
    if chosen is not None:
        if unknown := sorted(set(chosen) - set(names)):
            raise ValueError(f"expected val_drives to be among the drives with pairs {names}, got {unknown}")
        if set(chosen) == set(names):
            raise ValueError(f"expected val_drives to leave a drive for training, got all of {names}")
        return set(chosen)
    if len(names) < 2:
        return None
    count = min(max(1, math.floor(fraction * len(names) + 0.5)), len(names) - 1)
    order = np.random.default_rng(np.random.SeedSequence([len(names)])).permutation(len(names))
    return {names[index] for index in order[:count]}


def _part_of_drive(pairs: Sequence[Pair], split: str, fraction: float) -> list[Pair]:
    first = min((i for _, i, _ in pairs), default=0)
    count = max((j for _, _, j in pairs), default=0) + 1 - first
    val_start = first + count - max(1, math.floor(fraction * count + 0.5))
    train_end = val_start - max(1, round(_GUARD * count))
    if split == "val":
        return [pair for pair in pairs if pair[1] >= val_start]
    return [pair for pair in pairs if pair[2] < train_end]
