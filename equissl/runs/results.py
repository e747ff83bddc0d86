"""Flat results of the evaluations of a run, one for each store and settings.

``RUN/results/STORE-HASH/`` holds one evaluation: ``results.json``, and the arrays that pages draw. The hash is of the
store's path and of the settings, the keys ``config/…`` of the results, so that another store or setting adds a folder
and an equal one replaces what it measured before. ``RUN/results.json`` and the arrays beside it are copies of the
evaluation that was written last.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equissl.util.files import atomic_path, write_json

RESULTS_FILE, RESULTS_FOLDER = "results.json", "results"
SETTINGS = "config/"  # beginning of the keys of settings
Results = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run.

    Attributes:
        results: flat.
        folder: that holds its files.
    """

    results: Results
    folder: Path


def result_folder(run_dir: str | Path, results: Results) -> Path:
    """Return the folder of an evaluation, ``RUN/results/STORE-HASH``.

    Args:
        run_dir: run folder.
        results: with ``store`` and the settings; further keys do not count.
    """
    store = str(results.get("store", ""))
    settings = {key: value for key, value in results.items() if key.startswith(SETTINGS)}
    text = json.dumps([store, settings], sort_keys=True, default=str)
    stem = re.sub(r"[^\w.-]+", "_", Path(store).stem)[:40] or "data"
    return Path(run_dir) / RESULTS_FOLDER / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_results(run_dir: str | Path, results: Results) -> Path:
    """Write the results of an evaluation atomically, with sorted keys, and copy its files to the run's folder.

    Args:
        run_dir: run folder.
        results: plain values by key; those that are not finite are written as null, see `finite`.

    Returns:
        ``RUN/results.json``.
    """
    results, run_dir = finite(results), Path(run_dir)
    folder = result_folder(run_dir, results)
    write_json(folder / RESULTS_FILE, results, sort_keys=True)
    for array in sorted(folder.glob("*.npz")):
        with atomic_path(run_dir / array.name) as temporary:
            shutil.copyfile(array, temporary)
    return write_json(run_dir / RESULTS_FILE, results, sort_keys=True)


def finite(results: Results) -> Results:
    """Replace numbers that are not finite by None: JSON has neither NaN nor infinity."""
    return {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in results.items()}


def read_results(run_dir: str | Path) -> Results:
    """Read ``RUN/results.json``, the evaluation that was written last.

    Raises:
        FileNotFoundError: naming the command that writes it.
        ValueError: a file that is not flat JSON.
    """
    file = Path(run_dir) / RESULTS_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{run_dir} holds no {RESULTS_FILE}; make it with: equissl evaluate {run_dir}")
    return _read(file)


def read_evaluations(run_dir: str | Path) -> list[Evaluation]:
    """Read all evaluations of a run, in the order in which they were written.

    Results that stand in the run's folder alone, such as those of another program, are one of them.

    Raises:
        FileNotFoundError: none, naming the command that makes one.
        ValueError: a file that is not flat JSON.
    """
    files = sorted(Path(run_dir).glob(f"{RESULTS_FOLDER}/*/{RESULTS_FILE}"), key=_written)
    found = [Evaluation(_read(file), file.parent) for file in files]
    if (Path(run_dir) / RESULTS_FILE).is_file() or not found:
        last = read_results(run_dir)
        if not any(evaluation.results == last for evaluation in found):
            found.append(Evaluation(last, Path(run_dir)))
    return found


def flat_config(config: dict[str, Any], prefix: str = SETTINGS.rstrip("/")) -> Results:
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


def _read(file: Path) -> Results:
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{file}: expected the results of `equissl evaluate` as JSON, cannot read it: {error}"
        ) from error
    if not isinstance(results, dict):
        raise ValueError(f"{file}: expected results by key, got {type(results).__name__}")
    return results


def _written(file: Path) -> tuple[int, str]:
    return file.stat().st_mtime_ns, str(file)
