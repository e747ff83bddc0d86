"""Charts and tables of runs on videos: errors along time, and for every velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from equissl.datasets.videos.moving_digits import MovingSpec
from equissl.reporting.blocks import Card, cards
from equissl.reporting.charts import Series, line_chart
from equissl.reporting.runs import Run
from equissl.reporting.table import Cell, Column, Row, Table
from equissl.runs.results import Results

STEPS = (
    ("Error of the next frame, true frames fed", "prediction/step_mse/", "frames after those observed", "MSE"),
    ("Error along the roll-out, predictions fed", "rollout/step_mse/", "frames after those observed", "MSE"),
    ("Accuracy after each frame", "classification/step_top1/", "frames seen", "top-1"),
)
SETTINGS = "videos/"  # beginning of the keys that hold the settings of the training sequences


@dataclass(frozen=True)
class VelocityTable(Table):
    """Numbers of one run by velocity: its part to the right across, its part down as the rows' names.

    Attributes:
        title: above it.
        trained: (row, column) names of the velocities in training, which are marked.
    """

    title: str = ""
    trained: frozenset[tuple[str, str]] = frozenset()

    def cells(self, row: Row) -> list[Cell]:
        """Return the cells of one of the rows."""
        found = zip(super().cells(row), self.columns, strict=True)
        return [replace(cell, best=(row.name, column.heading) in self.trained) for cell, column in found]


def step_curves(runs: Sequence[Run]) -> list[Card]:
    """Draw errors of the frames that follow those observed, or accuracy, frame by frame."""
    return cards(*(Card(title, _step_chart(runs, *rest)) for title, *rest in STEPS))


def velocity_tables(runs: Sequence[Run]) -> list[VelocityTable]:
    """Return one table for each run that was scored on single velocities."""
    return [_velocity_table(run, metric) for run in runs for metric in ("mse", "top1") if _values(run.results, metric)]


def videos_of(results: Results) -> MovingSpec:
    """Return the settings of the training videos."""
    return MovingSpec(**{k.removeprefix(SETTINGS): v for k, v in results.items() if k.startswith(SETTINGS)})


def _step_chart(runs: Sequence[Run], prefix: str, x_label: str, y_label: str) -> Markup:
    series = [Series(run.name, run.colour, _steps(run.results, prefix)) for run in runs]
    return line_chart(series, x_label, y_label, y_zero=True)


def _steps(results: Results, prefix: str) -> list[tuple[float, float]]:
    keys = sorted(key for key in results if key.startswith(prefix))
    return [(i, results[key]) for i, key in enumerate(keys, start=1)]


def _velocity_table(run: Run, metric: str) -> VelocityTable:
    values = _values(run.results, metric)
    across = sorted({velocity[0] for velocity in values})
    rows = [
        Row(_down(down), tuple(values.get((right, *down)) for right in across))
        for down in sorted({velocity[1:] for velocity in values})
    ]
    shown = tuple(Column(f"{right:g}", "", digits=2, significant=True) for right in across)
    trained = frozenset((_down(v[1:]), f"{v[0]:g}") for v in videos_of(run.results).velocities)
    return VelocityTable(shown, tuple(rows), "", f"{run.name}: {metric} by velocity", trained)


def _values(results: Results, metric: str) -> dict[tuple[float, ...], float]:
    """Return the numbers by velocity: (right, down) of a translation, (angle,) of a rotation."""
    prefix = f"velocity/{metric}/"
    found = {key.removeprefix(prefix): value for key, value in results.items() if key.startswith(prefix)}
    return {tuple(map(float, velocity.split(","))): value for velocity, value in found.items()}


def _down(parts: Sequence[float]) -> str:
    return ", ".join(f"{part:g}" for part in parts)
