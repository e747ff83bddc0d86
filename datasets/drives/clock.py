"""Times in seconds, milliseconds, microseconds or nanoseconds, and date-times; all become integer nanoseconds."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from equissl.datasets.drives.text_files import parse_rows, read_text

NO_TIME = int(np.datetime64("NaT", "ns").astype(np.int64))
UNITS = {"s": 10**9, "ms": 10**6, "µs": 10**3, "ns": 1}
DATE = re.compile(r"(\d{4}-\d\d-\d\d)[T ]+(\d\d:\d\d:\d\d(?:\.\d+)?)Z?")
EPOCH = (946_684_800, 4_102_444_800)  # seconds of the years 2000 and 2100
USUAL = 0.1  # seconds between sweeps
LIKELY = (1e-3, 1e3)  # seconds between sweeps of a recording whose times are those of the day


@dataclass(frozen=True)
class Times:
    """Times of rows.

    Attributes:
        nanoseconds: (T,) int64, ``NO_TIME`` where unknown.
        unit: of the file: s, ms, µs, ns or date.
        problems: what is wrong with a row, by its place.
    """

    nanoseconds: np.ndarray
    unit: str
    problems: dict[int, str]

    def __len__(self) -> int:
        return len(self.nanoseconds)

    @property
    def said(self) -> str | None:
        """Unit that the times are taken to have, for people; None for seconds and dates, which are expected."""
        known = self.nanoseconds[self.nanoseconds != NO_TIME]
        if self.unit in ("s", "date") or len(known) < 1:
            return None
        step = f", {float(np.median(np.diff(known))) / 1e9:.3g} s apart" if len(known) > 1 else ""
        return f"times are taken as {self.unit} by their magnitude{step}"


def read_times(path: Path, expected: int | None = None) -> Times:
    """Read a time a row: numbers of any unit, or ``2011-09-26 13:02:25.594360375``.

    Args:
        path: path of the file.
        expected: number of rows, where it is known; see `equissl.datasets.drives.text_files.read_rows`.
    """
    text, dates = DATE.subn(_nanoseconds_of_date, read_text(path))
    rows = parse_rows(text, 1, expected)
    nanoseconds, unit = to_nanoseconds([words[0] if words else None for words in rows.words])
    return Times(nanoseconds, "date" if dates else unit, rows.problems)


def to_nanoseconds(words: Sequence[str | None]) -> tuple[np.ndarray, str]:
    """Convert times of one unit, which their magnitude tells, without the rounding of floats.

    Args:
        words: numbers as text; None for an unknown time.

    Returns:
        (T,) int64, ``NO_TIME`` where unknown; and the unit.
    """
    values = [None if word is None else Decimal(word) for word in words]
    unit = time_unit([value for value in values if value is not None])
    scale = UNITS[unit]
    found = [NO_TIME if value is None else int((value * scale).to_integral_value()) for value in values]
    return np.array(found, dtype=np.int64), unit


def time_unit(values: Sequence[Decimal]) -> str:
    """Tell the unit of times: that in which they are of the years 2000 to 2100 and sweeps are 1 ms to 1000 s apart.

    Else that in which sweeps are nearest to 0.1 s apart; seconds for a single time.

    Args:
        values: times in order.
    """
    numbers = np.array([float(value) for value in values])
    steps = np.abs(np.diff(numbers))
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    for unit, scale in UNITS.items():
        seconds = numbers * scale / 1e9
        of_the_day = len(numbers) > 0 and EPOCH[0] <= seconds.min() and seconds.max() <= EPOCH[1]
        if of_the_day and (step == 0 or LIKELY[0] <= step * scale / 1e9 <= LIKELY[1]):
            return unit
    if step == 0:
        return "s"
    return min(UNITS, key=lambda unit: abs(np.log(step * UNITS[unit] / 1e9 / USUAL)))


def times_of_names(names: Sequence[str]) -> Times | None:
    """Read times that are the names of files, such as ``1532402927.647951``; None where not all are of 2000 to 2100.

    Args:
        names: without suffix.
    """
    try:
        values = [Decimal(name) for name in names]
    except InvalidOperation:
        return None
    scale = UNITS[time_unit(values)]
    if not values or not all(value.is_finite() and EPOCH[0] <= value * scale / 10**9 <= EPOCH[1] for value in values):
        return None
    nanoseconds, unit = to_nanoseconds(names)
    return Times(nanoseconds, unit, {})


def _nanoseconds_of_date(found: re.Match[str]) -> str:
    try:
        return str(np.datetime64(f"{found[1]}T{found[2]}", "ns").astype(np.int64))
    except ValueError:
        return found[0]  # no such day: the line is named as one without a number


def increasing(times: np.ndarray) -> list[int]:
    """Choose the most times that increase strictly: one that is out of order is left out, not those after it.

    Args:
        times: (T,) int64; ``NO_TIME`` is never chosen.

    Returns:
        places, increasing; of equal times the first.
    """
    ends: list[int] = []  # place of the smallest last time of a chain of each length
    before: dict[int, int] = {}
    values = times.tolist()
    for place, value in enumerate(values):
        if value == NO_TIME:
            continue
        length = bisect_left(ends, value, key=values.__getitem__)
        if length < len(ends) and values[ends[length]] == value:
            continue
        before[place] = ends[length - 1] if length else -1
        ends[length : length + 1] = [place]
    chosen, place = [], ends[-1] if ends else -1
    while place >= 0:
        chosen.append(place)
        place = before[place]
    return chosen[::-1]
