"""Greedy one-to-one matching of predictions and labels, of all sweeps and several score thresholds at once."""

from __future__ import annotations

import torch
from torch import Tensor


def turns(place: Tensor, sweep: Tensor) -> Tensor:
    """Turn of each row: how many others of its sweep come before.

    Args:
        place: (P,) integer that orders those who choose, and grows from sweep to sweep; entries may repeat.
        sweep: (P,) sweep of each.

    Returns:
        (P,) from 0 on in every sweep.
    """
    rows, inverse = place.unique(return_inverse=True)
    tables = sweep.new_zeros(len(rows)).scatter(0, inverse, sweep)
    return (torch.arange(len(rows)) - torch.searchsorted(tables, tables))[inverse]


def by_score(scores: Tensor, sweep: Tensor, last_first: bool = False) -> tuple[Tensor, Tensor]:
    """Order predictions by falling score, with their places in it sweep by sweep.

    Args:
        scores: (N,).
        sweep: (N,) sweep of each.
        last_first: of equal scores the later prediction comes first.

    Returns:
        (N,) indices of the predictions, surest first; (N,) place of each prediction when they are sorted by sweep
        first, for :func:`turns`.
    """
    order = scores.argsort(stable=True).flip(0) if last_first else scores.argsort(descending=True, stable=True)
    place = torch.empty_like(order)
    place[order[sweep[order].argsort(stable=True)]] = torch.arange(len(order))
    return order, place


def choices(row: Tensor, preference: Tensor) -> Tensor:
    """Order pairs row by row, in each the one of the highest preference first, the first of equals: (P,) indices.

    Args:
        row: (P,) int64.
        preference: (P,).
    """
    order = preference.argsort(descending=True, stable=True)
    return order[row[order].argsort(stable=True)]


def take_turns(row: Tensor, column: Tensor, turn: Tensor, available: Tensor) -> Tensor:
    """Let each row take the first column on its list that nobody took before.

    Args:
        row: (P,) who chooses; the pairs of one row lie together, the one it likes best first.
        column: (P,) what it may take.
        turn: (P,) when the row chooses; rows that choose at the same time have no column in common.
        available: (T, C) bool, the columns that there are, in each of T separate matchings.

    Returns:
        (T, P) bool: which pairs came about.
    """
    order = turn.argsort(stable=True)
    column, start = column[order], _starts(row[order])
    free, taken = available.clone(), torch.zeros(len(available), len(row), dtype=torch.bool)
    done = 0
    for pairs in order.split(turn.bincount().tolist()):
        now = slice(done, done + len(pairs))
        left = free[:, column[now]]
        count, begin = left.cumsum(dim=1, dtype=torch.int32), start[now] - done
        first = left & (count - count[:, begin] + left[:, begin].int() == 1)
        which, pair = first.nonzero(as_tuple=True)
        free[which, column[now][pair]] = False
        taken[:, pairs] = first
        done += len(pairs)
    return taken


def _starts(row: Tensor) -> Tensor:
    """(P,) where the run of equal entries that each belongs to begins."""
    index = torch.arange(len(row))
    begins = torch.ones(len(row), dtype=torch.bool)
    begins[1:] = row[1:] != row[:-1]
    return torch.where(begins, index, torch.zeros_like(index)).cummax(0).values if len(row) else index
