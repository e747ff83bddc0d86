"""Flat results of an evaluated run, results.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from equissl.util.files import write_json

RESULTS_FILE = "results.json"
Results = dict[str, Any]


def write_results(run_dir: str | Path, results: Results) -> Path:
    """Write ``RUN/results.json`` atomically, with sorted keys.

    Args:
        run_dir: run folder.
        results: plain values by key, without NaN or infinity.

    Returns:
        the file.
    """
    return write_json(Path(run_dir) / RESULTS_FILE, results, sort_keys=True)


def read_results(run_dir: str | Path) -> Results:
    """Read ``RUN/results.json``.

    Raises:
        FileNotFoundError: naming the command that writes it.
    """
    file = Path(run_dir) / RESULTS_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{run_dir} holds no {RESULTS_FILE}; make it with: equissl evaluate {run_dir}")
    return json.loads(file.read_text(encoding="utf-8"))


def flat_config(config: dict[str, Any], prefix: str = "config") -> Results:
    """Flatten the options of an evaluation to keys ``config/NAME``, tuples as lists.

    Args:
        config: nested dictionaries.
        prefix: of every key.
    """
    entries: Results = {}
    for name, value in config.items():
        key = f"{prefix}/{name}"
        plain = list(value) if isinstance(value, tuple) else value
        entries |= flat_config(value, key) if isinstance(value, dict) else {key: plain}
    return entries
