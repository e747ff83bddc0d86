"""Evaluation of a run of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equissl.kinds import KINDS, Kind
from equissl.runs import load_method
from equissl.runs.checkpoint import run_config
from equissl.runs.results import finite
from equissl.util.progress import Log


def evaluate(
    run_dir: str | Path,
    options: Any = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Measure the frozen method of a run on data it has never seen, and write ``RUN/results.json``.

    Another store or other settings add a result beside the earlier ones, see `equissl.runs.results`.

    Args:
        run_dir: folder written by `pretrain`.
        options: what to measure, of the type of the run's kind, see `evaluation_kind`; its defaults where None.
        store: data to evaluate on; the run's own where None.
        log: called with one line per stage.

    Returns:
        the flat results, as written; None stands for a number that is not finite.

    Raises:
        TypeError: options of another kind of data.
        ValueError: data without validation items, or a protocol that they or the method do not allow.
    """
    method, training = load_method(run_dir)
    kind = KINDS[training.data.kind]
    options = kind.options() if options is None else options
    if not isinstance(options, kind.options):
        got = type(options).__name__
        raise TypeError(f"{run_dir} learnt from {kind.name}: expected {kind.options.__name__}, got {got}")
    place = None if store is None else str(Path(store).resolve())  # one name of the data, whatever the current folder
    return finite(kind.evaluate(Path(run_dir), method, training, options, place, log))


def evaluation_kind(run_dir: str | Path) -> Kind:
    """Return the kind of data that a run learnt from.

    Raises:
        FileNotFoundError: no such run.
    """
    return KINDS[run_config(run_dir).data.kind]
