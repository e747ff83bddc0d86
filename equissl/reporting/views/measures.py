"""Columns of any protocol on views, found by the names of the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from equissl.reporting.collapse import parts_of
from equissl.reporting.table import Column
from equissl.runs.results import Results

ALL = "all"
LOOKED_UP = (("MRR", "mrr", "max"), ("H@1", "h1", "max"), ("PRE", "pre", "min"))  # of retrieval: heading, measure, best
# Protocols of view sequences: heading, key of the measure up to the number of views, factor, digits.
SEQUENCES = (
    ("top-1 % of {} views", "aggregate/top1", 100.0, 1),
    ("path R² over {} steps", "path_integration/r2_uniform/full", 1.0, 3),
    ("MRR after {} views", "sequence_retrieval/mrr", 1.0, 3),
)


@dataclass(frozen=True)
class Measured:
    """A column, and the keys of its baselines; an empty key leaves the baseline's cell empty."""

    column: Column
    constant: str = ""
    chance: str = ""


def measured(results: Sequence[Results]) -> list[Measured]:
    """Return columns of every protocol and part that any of the results holds."""
    parts = list(dict.fromkeys(part for result in results for part in parts_of(result)))
    found = [entry for group in _groups(results) for part in parts for entry in _of_part(results, group, part)]
    return [*found, *_of_retrieval(results), *_of_sequences(results)]


def group_of(column: Column) -> str:
    """Return the protocol of a column."""
    return column.key.partition("/")[0]


def holds(results: Iterable[Results], key: str) -> bool:
    """Return True where any of the results has the key.

    Args:
        results: of runs.
        key: of a number.
    """
    return any(key in result for result in results)


def _groups(results: Sequence[Results]) -> list[str]:
    """Return the protocols in alphabetical order, but the second name of absolute rotation."""
    keys = (key.split("/") for result in results for key in result)
    return sorted({key[0] for key in keys if len(key) == 3 and key[0] not in ("collapse", "config", "individual")})


def _of_part(results: Sequence[Results], group: str, part: str) -> Iterator[Measured]:
    name = group.replace("_", " ") + ("" if part == ALL else f" {part}")
    if holds(results, key := f"{group}/{part}/top1"):
        column = Column(f"{name} top-1 %", key, 100, 1, "max", f"{key}_se")
        yield Measured(column, f"{group}/majority", f"{group}/chance")
    if holds(results, key := f"{group}/r2_uniform/{part}"):
        if unit := _unit(results, group, part):
            mean, error = f"{group}/mean_{unit}", f"{group}/mean_{unit}_se/{part}"
            column = Column(f"{name} {unit}", f"{mean}/{part}", 1, 3, "min", error, significant=True)
            yield Measured(column, f"{mean}/constant")
        yield Measured(Column(f"{name} R² uniform", key, 1, 3, "max"), f"{group}/r2_uniform/constant")


def _unit(results: Sequence[Results], group: str, part: str) -> str:
    """Return the unit of the mean error of a protocol; components of it (``turns_floor``) have longer names."""
    start, end = f"{group}/mean_", f"/{part}"
    units = {k[len(start) : -len(end)] for r in results for k in r if k.startswith(start) and k.endswith(end)}
    return min(units, key=len, default="")


def _of_retrieval(results: Sequence[Results]) -> list[Measured]:
    return [
        Measured(Column(heading, key, 1, 3, best, f"{key}_se"), chance=f"{key}/chance")
        for heading, measure, best in LOOKED_UP
        if holds(results, key := f"retrieval/{measure}")
    ]


def _of_sequences(results: Sequence[Results]) -> Iterator[Measured]:
    """Yield the measures of view sequences at the largest number of views."""
    for heading, start, scale, digits in SEQUENCES:
        ends = [key.removeprefix(f"{start}/") for result in results for key in result if key.startswith(f"{start}/")]
        if numbers := [int(end) for end in ends if end.isdecimal()]:
            most = max(numbers)
            column = Column(heading.format(most), f"{start}/{most}", scale, digits, "max")
            yield Measured(column, chance=f"{start}/chance")
