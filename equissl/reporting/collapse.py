"""Collapse of representations in words, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from equissl.metrics.collapse import is_collapsed
from equissl.reporting.seeds import LOWEST
from equissl.runs.results import Results

if TYPE_CHECKING:
    from equissl.reporting.table import Column

RANKME, DIM, STD, ROWS = "collapse/rankme/", "collapse/dim/", "collapse/std/", "collapse/rows/"
COLLAPSED, ONE_SEED = "collapsed", "a seed collapsed"
CONTROL = "initial"  # beginning of the parts of an encoder before training


def parts_of(result: Results) -> list[str]:
    """Return the parts of the representation that RankMe was measured of, whole ones first."""
    found = [key.removeprefix(RANKME) for key in result if key.startswith(RANKME)]
    return sorted(found, key=lambda part: (part.startswith(CONTROL), part != "all", part))


def trained_parts(result: Results) -> list[str]:
    """Return the parts of the trained representation."""
    return [part for part in parts_of(result) if not part.startswith(CONTROL)]


def verdict(result: Results, part: str) -> str:
    """Return ``collapsed`` where a part spans hardly more than one direction; empty where it does not.

    Args:
        result: of a run, or merged over seeds.
        part: of the representation.
    """
    dim, rows = result.get(DIM + part), result.get(ROWS + part)
    for key, word in ((RANKME + part, COLLAPSED), (LOWEST + RANKME + part, ONE_SEED)):
        rank = result.get(key)
        if rank is not None and is_collapsed(rank, dim, rows):
            return word
    return ""


def rank_flags(result: Results, columns: Sequence[Column]) -> dict[int, str]:
    """Return the words beside RankMe in the row of a result, by the column's place.

    Args:
        result: of a run.
        columns: of the table.
    """
    places = [(i, c.key.removeprefix(RANKME)) for i, c in enumerate(columns) if c.key.startswith(RANKME)]
    return {i: word for i, part in places if (word := verdict(result, part))}
