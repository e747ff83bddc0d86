"""Merging of runs that differ in the seed alone, to means and standard deviations."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from equissl.runs.results import Results

SPREAD, LOWEST = "std_over_seeds/", "min_over_seeds/"
_SEED_FOLDER = re.compile(r"seed[-_]?\d+")


def group_seeds(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Run folders by the row they belong to: ``NAME/seed0``, ``NAME/seed1`` … make up NAME, others stand alone."""
    groups: dict[str, list[Path]] = {}
    for folder in folders:
        groups.setdefault(str(folder if seedless(folder) else folder.parent), []).append(folder)
    return groups


def seedless(folder: Path) -> bool:
    """Return True where the folder's own name is the run's name, and not that of a seed."""
    return _SEED_FOLDER.fullmatch(folder.name) is None


def merge_seeds(results: Sequence[Results], name: str) -> Results:
    """Merge results of seeds: means of all numbers, and their standard deviations under `SPREAD` and the key.

    Of RankMe also the lowest, under `LOWEST` and the key: the mean hides a seed that collapsed.

    Args:
        results: of the runs of one group.
        name: of the group.

    Raises:
        ValueError: runs of different kinds, methods or stores, or two runs of one seed.
    """
    for key in ("kind", "method", "store"):
        found = sorted({str(result.get(key)) for result in results})
        if len(found) > 1:
            raise ValueError(f"expected runs of one {key} in {name}, got {found}")
    seeds = [result.get("seed") for result in results]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"expected different seeds in {name}, got {seeds}")
    merged = dict(results[0])
    for key, value in results[0].items():
        values = [v for result in results if isinstance(v := result.get(key), int | float)]
        if isinstance(value, float) and len(values) == len(results):
            merged[key] = statistics.fmean(values)
            merged[SPREAD + key] = statistics.stdev(values)
            if key.startswith("collapse/rankme/"):
                merged[LOWEST + key] = min(values)
    return {**merged, "run": name, "name": name, "seeds": len(results), "seed": seeds}
