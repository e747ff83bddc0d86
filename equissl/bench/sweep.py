"""Sweeps over methods, settings and seeds: a run folder each, finished ones skipped, then a table and a page."""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from equissl.bench.record import Measured
from equissl.kinds import KINDS
from equissl.reporting import format_table, write_report
from equissl.reporting.report import read_report
from equissl.runs.checkpoint import run_config
from equissl.runs.configfile import load_config
from equissl.runs.results import RESULTS_FILE, SETTINGS, flat_config, read_evaluations
from equissl.util.commands import Commands, run_commands
from equissl.util.runfolder import LAST

Setting = TypeVar("Setting")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        name: shown in front of everything it does.
        folder: of the run.
        stages: the command of each stage by its name, in order.
        product: JSON file in ``folder`` that is there when all is done.
        evaluation: flags of the evaluation whose results count; others of the same run are left alone.
    """

    name: str
    folder: Path
    stages: dict[str, list[str]]
    product: str = RESULTS_FILE
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return (self.folder / self.product).is_file() and self._read() is not None

    def results(self) -> dict[str, Any]:
        """Return the content of ``product``; of several evaluations, that of the run's own flags.

        Raises:
            FileNotFoundError: the run is not finished.
        """
        found = self._read()
        if found is None:
            raise FileNotFoundError(
                f"expected an evaluation of {self.folder} with {dict(self.evaluation)}, found others"
            )
        return found

    def _read(self) -> dict[str, Any] | None:
        if self.product != RESULTS_FILE:
            return json.loads((self.folder / self.product).read_text(encoding="utf-8"))
        held = [each.results for each in reversed(read_evaluations(self.folder))]
        fitting = [results for results in held if evaluated_with(results, self.evaluation)]
        own = _own_data(self.folder) if "--store" not in self.evaluation else ""
        return next((results for results in fitting if results.get("store") == own), fitting[0] if fitting else None)


def evaluated_with(results: Mapping[str, Any], flags: Mapping[str, Any]) -> bool:
    """Return True where results are of these flags of `equissl evaluate`, the others left at their defaults.

    Settings that the results do not name count as equal.

    Args:
        results: flat.
        flags: value by name; ``auto`` stands for whatever the evaluation chose.
    """
    kind = str(results.get("kind"))
    wanted = flat_config(asdict(KINDS[kind].options())) if kind in KINDS else {}
    for flag, value in flags.items():
        name = flag.removeprefix("--")
        if name == "store":
            wanted[name] = str(Path(str(value)).resolve())
        else:
            wanted[f"{SETTINGS}{name.replace('.', '/')}"] = yaml.safe_load(str(value))
    return all(value in ("auto", results[key]) for key, value in wanted.items() if key in results)


def _own_data(folder: Path) -> str:
    """Return the store or folder that a run learnt from; empty where there is no checkpoint."""
    if not (folder / LAST).is_file():
        return ""
    config = run_config(folder)
    return KINDS[config.data.kind].location(config.data)


def grid(settings: Iterable[Setting], seeds: int) -> list[tuple[Setting, int]]:
    """Return all pairs of setting and seed, all settings of one seed first: a sweep cut short compares them all.

    Args:
        settings: what is compared.
        seeds: runs of each, from seed 0 on.

    Raises:
        ValueError: no settings or no seeds.
    """
    settings = list(settings)
    if not settings or seeds < 1:
        raise ValueError(f"expected settings and at least 1 seed, got {len(settings)} settings and {seeds} seeds")
    return [(setting, seed) for seed in range(seeds) for setting in settings]


def paired_difference(own: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Compute the mean difference over pairs of one seed, and its standard error; NaN of a single pair.

    Args:
        own, theirs: one value for each seed.
    """
    pairs = [a - b for a, b in zip(own, theirs, strict=True)]
    error = statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else float("nan")
    return statistics.mean(pairs), error


def budget_for(points: Sequence[tuple[float, float]], gain: float) -> float | None:
    """Return the budget at which a line through gain over log(budget), by least squares, reaches ``gain``.

    Args:
        points: (budget, gain); budgets are steps, views or anything else above 0.
        gain: to reach.

    Returns:
        None where the line does not rise, or one budget gives none.
    """
    if len({budget for budget, _ in points}) < 2:
        return None
    logs, gains = np.log([budget for budget, _ in points]), np.array([value for _, value in points])
    slope, start = np.polyfit(logs, gains, 1)
    return float(np.exp((gain - start) / slope)) if slope > 0 else None


def seed_folder(out: Path, name: str, seed: int) -> Path:
    """Return the folder OUT/NAME/seedK: tables and pages take those of one name for seeds of one method.

    Args:
        out: folder of the sweep.
        name: of the setting.
        seed: of the run.
    """
    return out / name / f"seed{seed}"


def objects_in_step(recipe: str, pairs: int) -> int:
    """Return the objects in a batch with which a step of a recipe shows as many views as that many pairs have.

    Args:
        recipe: name of a packaged config.
        pairs: of views.
    """
    return 2 * pairs // load_config(recipe).method.init_args.get("views", 2)


def trained_and_evaluated(
    name: str, folder: Path, train: Mapping[str, Any], evaluate: Mapping[str, Any], verb: str = "pretrain"
) -> Run:
    """Create a run of the usual two stages.

    Args:
        name: of the run.
        folder: of the run.
        train: flags of the first stage but ``--out``.
        evaluate: flags of the second.
        verb: of the first stage: ``pretrain`` or ``finetune``.
    """
    stages = {
        verb: command(verb, flags={"--out": folder, **train}),
        "evaluate": command("evaluate", str(folder), flags=evaluate),
    }
    return Run(name, folder, stages, evaluation=evaluate)


def command(verb: str, *words: str, flags: Mapping[str, Any]) -> list[str]:
    """Return the command line of a verb of this program.

    Args:
        verb: its name.
        words: positional arguments.
        flags: value by name.
    """
    return [sys.executable, "-m", "equissl.cli", verb, *words, *(f"{name}={value}" for name, value in flags.items())]


def run_sweep(runs: Sequence[Run], logs: Path, parallel: int | None = None) -> dict[str, float]:
    """Do the runs that are not finished.

    Args:
        runs: in order.
        logs: folder of a log for each.
        parallel: runs at a time, one thread each; None takes one for each core.

    Returns:
        seconds of each stage that was run, by name of run and stage.

    Raises:
        CommandError: a run failed; with the end of its log.
    """
    work = [_commands(run, logs) for run in runs if not run.finished]
    run_commands(work, parallel)
    return {f"{each.name} {stage}": seconds for each in work for stage, seconds in each.seconds.items()}


def _commands(run: Run, logs: Path) -> Commands:
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    return Commands(run.name, run.stages, logs / f"{run.name.replace('/', '-').replace(' ', '-')}.log")


def write_table(folders: Sequence[Path], out: Path, store: Path | None = None) -> dict[str, str]:
    """Write the page of a sweep to OUT/report.html.

    Args:
        folders: of the runs, in the order of rows.
        out: folder of the sweep.
        store: data that pictures come from; the first run's where None.

    Returns:
        the table with mean and standard deviation over seeds, with the numbers of every run, and where the page is.
    """
    report = read_report(folders)
    numbers = [
        {"run": "/".join(folder.parts[-2:]), **numbers_of(each.results)}
        for folder, evaluations in report.evaluations.items()
        for each in evaluations
    ]
    table = Measured(f"\n\n{report.table()}\n", numbers)
    return {"table": table, "report": str(report.write(out / "report.html", store))}


def numbers_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of flat results, without their settings.

    Args:
        results: flat.
    """
    return {
        key: value
        for key, value in results.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not key.startswith(SETTINGS)
    }


def run_and_report(
    runs: Sequence[Run], out: Path, store: Path, title: str, times: dict[str, float]
) -> list[dict[str, Any]]:
    """Do the runs of a demo, write its page, and log the table and the time that everything took.

    Args:
        runs: in the order of rows.
        out: folder of the demo.
        store: what the runs were evaluated on.
        title: of the table.
        times: seconds of the stages before.

    Returns:
        the results of every run.
    """
    stages: dict[str, float] = {}
    times["pretrain and evaluate"] = timed(lambda: stages.update(run_sweep(runs, out / "logs")))
    results = [run.results() for run in runs]
    times["report"] = timed(lambda: write_report([run.folder for run in runs], out / "report.html", store))
    logger.info("\n%s\n\n%s\n", title, format_table(results))
    total = sum(times.values())
    logger.info("\n".join(f"{stage:>24}: {seconds:6.1f} s" for stage, seconds in (times | stages).items()))
    logger.info("Total %.0f s. Open %s in a browser.", total, out / "report.html")
    return results


def timed(work: Callable[[], Any]) -> float:
    """Do ``work`` and return the seconds that it took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
