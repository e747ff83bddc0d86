"""Tables and pages of evaluated runs, whatever their kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equissl.kinds import KINDS, Kind
from equissl.reporting.plain import plain_text
from equissl.reporting.runs import load_runs
from equissl.reporting.table import build_table, names
from equissl.runs.results import Results
from equissl.util.files import write_text


def format_table(results: Sequence[Results]) -> str:
    """Format a plain-text table: one row per run, with the baselines beneath.

    Rows of several seeds show mean ± standard deviation.

    Raises:
        ValueError: no results, or results of several kinds.
    """
    kind = kind_of(results)
    table = build_table(results, kind.columns(results), kind.baselines(results))
    return plain_text(table, errors=any("seeds" in result for result in results))


def write_report(
    run_dirs: Sequence[str | Path], out: str | Path, store: str | Path | None = None, title: str | None = None
) -> Path:
    """Write one self-contained page: what was done, data, the table, charts, diagnostics and configurations.

    Args:
        run_dirs: evaluated runs of one kind, in the order they appear.
        out: HTML file to write.
        store: where the pictures' data come from; the first run's evaluation data where None.
        title: heading of the page.

    Returns:
        ``out``.

    Raises:
        ValueError: no runs, or runs of several kinds.
        FileNotFoundError: a run without results.json; names the command that makes it.
    """
    runs = load_runs(run_dirs)
    page = kind_of([run.results for run in runs]).page(runs, store, title)
    return write_text(out, page)


def kind_of(results: Sequence[Results]) -> Kind:
    """Return the kind that all of the results are of.

    Raises:
        ValueError: no results, results of several kinds (no table could compare them), or of an unknown one.
    """
    if not results:
        raise ValueError("expected the results of at least one run, got none")
    for result in results:
        if "kind" not in result:
            raise ValueError(f"expected 'kind' in the results of {result.get('run')}, it is missing; evaluate it again")
    kinds = {str(result["kind"]) for result in results}
    if len(kinds) > 1:
        listed = ", ".join(f"{name} ({r['kind']})" for name, r in zip(names(results), results, strict=True))
        raise ValueError(f"expected runs of one kind, got {listed}")
    return KINDS[kinds.pop()]
