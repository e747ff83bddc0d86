"""Page of runs on videos: examples, table, errors along time and by velocity, roll-outs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equissl.datasets.videos.moving_digits import DigitSource, MovingSpec, load_digits
from equissl.reporting.blocks import Tile
from equissl.reporting.diagnostics import COLUMNS as DIAGNOSTICS
from equissl.reporting.diagnostics import collapse_rows
from equissl.reporting.figures import LOSS, RANK, training_curves
from equissl.reporting.page import budget, counted, listed, run_page
from equissl.reporting.runs import Run
from equissl.reporting.table import Column, Table
from equissl.reporting.tiles import best_tile
from equissl.reporting.videos.figures import step_curves, velocity_tables, videos_of
from equissl.reporting.videos.rollouts import rollout_pictures, sequence_pictures
from equissl.reporting.videos.table import baselines, columns

TITLE = "Flow equivariant recurrent networks"
SEEN, UNIT = "videos_seen", "videos"
TILES: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    (
        "Lowest error of the next frame",
        "prediction/next_mse",
        "min",
        {"a copy of the last frame": "prediction/copy_mse"},
    ),
    ("Lowest error of a roll-out", "rollout/mse", "min", {}),
    ("Highest top-1", "classification/top1", "max", {"chance": "classification/chance"}),
)


def page(runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
    """Create the page about runs on videos.

    Args:
        runs: evaluated, in the order they appear.
        store: folder of digits of the sequences that are shown; the first run's evaluation data where None.
        title: heading.
    """
    results = [run.results for run in runs]
    digits, spec = load_digits(store if store is not None else results[0]["store"], "val"), videos_of(results[0])
    return run_page(
        "videos/page.html",
        runs,
        columns(results),
        baselines(results),
        {"store": digits.path, "unseen digits": len(digits.labels)},
        title=title or TITLE,
        setup=_setup(runs, digits, spec),
        tiles=_tiles(runs),
        bars=step_curves(runs),
        curves=training_curves(runs, (LOSS, RANK), SEEN, UNIT),
        sequences=sequence_pictures(digits, spec),
        velocities=velocity_tables(runs),
        rollouts=rollout_pictures(runs),
        diagnostics=Table(DIAGNOSTICS, tuple(collapse_rows(runs)), "features"),
    )


def _setup(runs: Sequence[Run], digits: DigitSource, spec: MovingSpec) -> str:
    held_out = f", {counted(len(spec.held_out), 'velocity', 'velocities')} held out" if spec.held_out else ""
    return (
        f"{listed(runs)}, trained on sequences of {spec.frames} frames of {spec.size}×{spec.size} pixels "
        f"({counted(spec.digits, 'digit')} in {spec.motion} at constant velocity{held_out}){budget(runs, SEEN, UNIT)}. "
        f"They are scored on sequences of {len(digits.labels):,} digits that no run has seen."
    )


def _tiles(runs: Sequence[Run]) -> list[Tile]:
    return [
        tile
        for heading, key, best, beside in TILES
        for tile in best_tile(runs, Column("", key, digits=3, best=best, significant=True), heading, beside=beside)
    ]
