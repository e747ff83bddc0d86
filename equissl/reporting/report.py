"""Tables and pages of evaluated runs, whatever their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from equissl.kinds import KINDS, Kind
from equissl.reporting.comparable import Joined, comparable, headings
from equissl.reporting.folders import LeftOut, sort_out
from equissl.reporting.html import join_pages
from equissl.reporting.plain import plain_text
from equissl.reporting.runs import Run, runs_of
from equissl.reporting.table import build_table, names
from equissl.runs.results import Results
from equissl.util.files import write_text


def format_table(results: Sequence[Results]) -> str:
    """Format plain-text tables: one of each store and setting, one row per run, with the baselines beneath.

    Rows of several seeds show mean ± standard deviation.

    Raises:
        ValueError: no results, or results of several kinds.
    """
    kind = kind_of(results)
    groups = comparable((result, result) for result in results)
    tables = [_plain_table(kind, group) for group in groups]
    if len(groups) == 1:
        return tables[0]
    titles = headings([group[0] for group in groups])
    return "\n\n".join(f"Evaluated on {title}:\n{table}" for title, table in zip(titles, tables, strict=True))


def write_report(
    run_dirs: Sequence[str | Path], out: str | Path, store: str | Path | None = None, title: str | None = None
) -> Path:
    """Write one self-contained page: what was done, data, the table, charts, diagnostics and configurations.

    Evaluations on several stores, or with several settings, each have a part of the page: what cannot be compared is
    in no common table. Folders without results are named at the top.

    Args:
        run_dirs: evaluated runs of one kind, in the order they appear.
        out: HTML file to write.
        store: where the pictures' data come from; the first run's evaluation data of each part where None.
        title: heading of the page.

    Returns:
        ``out``.

    Raises:
        ValueError: no runs, or runs of several kinds.
        FileNotFoundError: a path that does not exist, or no evaluated run; names the command that evaluates one.
    """
    return read_report(run_dirs).write(out, store, title)


@dataclass(frozen=True)
class Report:
    """Evaluated runs, read once for their table and their page.

    Attributes:
        evaluations: of each run folder.
        runs: as rows: those of several seeds are one.
        left: paths without results.
    """

    evaluations: Mapping[Path, Sequence[Joined]]
    runs: Sequence[Run]
    left: Sequence[LeftOut]

    def table(self) -> str:
        """Return the plain-text tables, see `format_table`."""
        return format_table([run.results for run in self.runs])

    def write(self, out: str | Path, store: str | Path | None = None, title: str | None = None) -> Path:
        """Write the page, see `write_report`.

        Args:
            out: HTML file to write.
            store: where the pictures' data come from; the first run's evaluation data of each part where None.
            title: heading of the page.

        Returns:
            ``out``.
        """
        kind = kind_of([run.results for run in self.runs])
        groups = comparable((run.results, run) for run in self.runs)
        pages = [kind.page(group, store, title) for group in groups]
        parts = headings([group[0].results for group in groups]) if len(groups) > 1 else [""]
        return write_text(out, join_pages(pages, parts, [str(one) for one in self.left]))


def read_report(run_dirs: Sequence[str | Path]) -> Report:
    """Read the evaluations of run folders.

    Args:
        run_dirs: in the order they appear.

    Raises:
        ValueError, FileNotFoundError: see `write_report`.
    """
    evaluations, left = sort_out(run_dirs)
    return Report(evaluations, runs_of(evaluations), left)


def _plain_table(kind: Kind, results: Sequence[Results]) -> str:
    table = build_table(results, kind.columns(results), kind.baselines(results))
    return plain_text(table, errors=any("seeds" in result for result in results))


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
