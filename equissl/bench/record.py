"""Records of benchmarks: numbers as JSON, beside the command, commit, machine and seeds that they come from."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from equissl.runs.versions import versions
from equissl.util.files import write_json
from equissl.util.machine import describe_machine


class Measured(str):
    """Text that shows numbers, with the numbers: a benchmark prints the one and records the other.

    Args:
        text: shown.
        numbers: plain JSON values.
    """

    numbers: Any

    def __new__(cls, text: str, numbers: Any) -> Measured:
        made = super().__new__(cls, text)
        made.numbers = numbers
        return made


def describe_bench(
    name: str, words: Sequence[str], values: Mapping[str, Any], results: Mapping[str, Any]
) -> dict[str, Any]:
    """Create the record of one benchmark.

    Args:
        name: of the benchmark.
        words: of the command line after the name.
        values: of its arguments, among them ``seeds`` and ``first``, or ``seed``, and ``threads``, where it has them.
        results: what it returned. Text without numbers, such as the path of a page, is left out.
    """
    import torch

    threads = values.get("threads") or torch.get_num_threads()
    found = versions()
    return {
        "bench": name,
        "command": shlex.join(["equissl", "bench", name, *words]),
        "commit": found["git"],
        "version": found["equissl"],
        "machine": {**describe_machine(), "threads": threads},
        "date": date.today().isoformat(),
        "seeds": seeds_of(values),
        "results": {key: plain(value) for key, value in results.items() if _has_numbers(value)},
    }


def seeds_of(values: Mapping[str, Any]) -> list[int]:
    """Return the seeds that arguments of a benchmark name; empty where it has none.

    Args:
        values: by name: ``seeds`` counts from ``first`` or 0, ``seed`` is one.
    """
    if "seeds" in values:
        first = values.get("first", 0)
        return list(range(first, first + values["seeds"]))
    return [values["seed"]] if "seed" in values else []


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers behind text, None for those that are not finite, lists for tuples."""
    value = value.numbers if isinstance(value, Measured) else value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _has_numbers(value: Any) -> bool:
    return isinstance(value, Measured) or not isinstance(value, str)


def read_records(file: str | Path) -> list[dict[str, Any]]:
    """Read the records of a file; none where there is no such file.

    Raises:
        ValueError: a file that is no list of records.
    """
    file = Path(file)
    if not file.exists():
        return []
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"expected a JSON list of records in {file}: {error}") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"expected a JSON list of records in {file}, found something else")
    return records


def add_record(file: str | Path, record: dict[str, Any]) -> Path:
    """Add a record to the end of a file, which is made where it is missing.

    Args:
        file: of a list of records.
        record: see `describe_bench`.

    Raises:
        ValueError: a file that is no list of records.
    """
    return write_json(file, [*read_records(file), record])
