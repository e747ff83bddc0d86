"""Evaluations that can be compared: of one store, with the same settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from equissl.runs.results import SETTINGS, Evaluation, Results

# Settings that leave the numbers as they are: how they are computed, which of them, and what pages draw.
FREE = frozenset(
    f"{SETTINGS}{name}"
    for name in (
        "batch_size", "cache", "device", "individual", "maps", "parts", "protocols", "rollouts", "seed", "workers",
    )
)  # fmt: skip
Item = TypeVar("Item")


def comparison(results: Results) -> str:
    """Return what must be equal for numbers to be comparable: the store, and the settings that they depend on."""
    settings = {key: value for key, value in results.items() if key.startswith(SETTINGS) and key not in FREE}
    return json.dumps([str(results.get("store", "")), settings], sort_keys=True, default=str)


def comparable(items: Iterable[tuple[Results, Item]]) -> list[list[Item]]:
    """Group what can be compared, in the order of first appearance.

    Args:
        items: anything, each with its results.
    """
    groups: dict[str, list[Item]] = {}
    for results, item in items:
        groups.setdefault(comparison(results), []).append(item)
    return list(groups.values())


def headings(groups: Sequence[Results]) -> list[str]:
    """Name comparisons by their store, and by the settings in which they differ from others on that store.

    Args:
        groups: the results of one run of each.
    """
    stores = [str(results.get("store", "")) for results in groups]
    alike = [[other for other, held in zip(groups, stores, strict=True) if held == store] for store in stores]
    return [
        ", ".join([_short(store, stores), *_differing(results, others)])
        for store, results, others in zip(stores, groups, alike, strict=True)
    ]


def _differing(results: Results, others: Sequence[Results]) -> list[str]:
    """Return the settings, as ``NAME VALUE``, in which some of the others differ."""
    known = sorted(key for key in results if key.startswith(SETTINGS) and key not in FREE)
    found = [key for key in known if any(other.get(key) != results[key] for other in others)]
    return [f"{key.removeprefix(SETTINGS)} {results[key]}" for key in found]


@dataclass(frozen=True)
class Joined:
    """Evaluations of one run with the same settings; the results, and the folders of their files, the last first."""

    results: Results
    folders: tuple[Path, ...]


def join_selections(evaluations: Iterable[Evaluation]) -> list[Joined]:
    """Join evaluations of a run that differ in what was selected alone, such as in protocols; the later ones win.

    Args:
        evaluations: in the order in which they were written.
    """
    joined: dict[tuple[str, ...], Joined] = {}
    for new in evaluations:
        telling = (str(new.results.get(key)) for key in ("kind", "steps", f"{SETTINGS}seed"))
        key = (comparison(new.results), *telling)
        old = joined.get(key, Joined({}, ()))
        joined[key] = Joined({**old.results, **new.results}, (new.folder, *old.folders))
    return list(joined.values())


def _short(store: str, stores: Sequence[str]) -> str:
    """Return the file's name, or the path where another store has that name."""
    return Path(store).name if len({s for s in stores if Path(s).name == Path(store).name}) == 1 else store
