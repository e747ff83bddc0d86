"""The results of several runs as one plain-text table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from equissl.reporting.seeds import SPREAD, Results
from equissl.reporting.sweeps.table import detection_keys, of_detection
from equissl.reporting.videos.table import format_video_table, of_videos


@dataclass(frozen=True)
class Column:
    """A heading, the results key it shows, the factor to its unit, its decimals, and which direction is better."""

    heading: str
    key: str
    scale: float = 1.0
    digits: int = 1
    best: str = ""  # "max", "min" or no winner


COLUMNS = (
    Column("top-1 %", "classification/all/top1", 100, 1, "max"),
    Column("top-1 % inv", "classification/inv/top1", 100, 1, "max"),
    Column("rot. mean °", "rotation/mean_deg/all", 1, 1, "min"),
    Column("mean ° equi", "rotation/mean_deg/equi", 1, 1, "min"),
    Column("median °", "rotation/median_deg/all", 1, 1, "min"),
    Column("R² uniform", "rotation/r2_uniform/all", 1, 3, "max"),
    Column("R² global", "rotation/r2_global/all", 1, 3, "max"),
)

# Of runs on driving scenes. Errors are relative: 0 is exact, 1 as far as unrelated cells.
SCENE_COLUMNS = (
    Column("flow error", "equivariance/flow/trained", 1, 3, "min"),
    Column("no motion", "equivariance/flow_no_motion/trained", 1, 3),
    Column("moving", "equivariance/flow_moving/trained", 1, 3, "min"),
    Column("rotation error", "equivariance/rotation/trained", 1, 3),
    Column("shift error", "equivariance/translation/trained", 1, 3, "min"),
    Column("rot. acc. %", "rotation/accuracy", 100, 1, "max"),
    Column("wedge acc. %", "rotation_wedge/accuracy", 100, 1),
    Column("cell RankMe", "collapse/rankme/cells", 1, 1),
)


@dataclass(frozen=True)
class Row:
    """One line of the table; ``baseline`` marks what needs no learning."""

    name: str
    values: tuple[float | None, ...]
    errors: tuple[float | None, ...]
    baseline: bool = False


def names(results: Sequence[Results]) -> list[str]:
    """The method of each run, with the run's folder behind it where a method occurs twice; a label goes first."""
    methods = [str(result.get("label", result["method"])) for result in results]
    return [
        f"{method} ({result['run']})" if methods.count(method) > 1 else method
        for method, result in zip(methods, results, strict=True)
    ]


def of_drives(results: Sequence[Results]) -> bool:
    """Whether these are results of runs on driving scenes, and not on views of objects.

    Raises:
        ValueError: for some of each, which no table could compare.
    """
    kinds = {result.get("data", "views") for result in results}
    if len(kinds) > 1:
        listed = ", ".join(
            f"{name} ({r.get('data', 'views')})" for name, r in zip(names(results), results, strict=True)
        )
        raise ValueError(f"expected runs on views or runs on scenes, got both: {listed}")
    return kinds == {"scenes"}


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """The columns of these results' table."""
    if of_detection(results):
        keys = detection_keys(results)
        return (
            Column(*keys[0], digits=0),
            *(Column(heading, key, 100 if key.startswith("nuscenes/") else 1, 1, "max") for heading, key in keys[1:]),
        )
    return SCENE_COLUMNS if of_drives(results) else COLUMNS


def rows(results: Sequence[Results]) -> list[Row]:
    """One row per run, then those of what needs no learning, for every store among them.

    Raises:
        ValueError: for no results, or results without the scores of the constant predictor.
    """
    if not results:
        raise ValueError("expected the results of at least one run, got none")
    shown = columns(results)
    table = [
        Row(name, tuple(_value(result, column) for column in shown), tuple(_error(result, c) for c in shown))
        for name, result in zip(names(results), results, strict=True)
    ]
    if of_detection(results):
        return table
    return table + (_scene_baselines(results) if shown is SCENE_COLUMNS else _view_baselines(results))


def _view_baselines(results: Sequence[Results]) -> list[Row]:
    table: list[Row] = []
    stores = list(dict.fromkeys(str(result["store"]) for result in results))
    for store in stores:
        result = next(item for item in results if str(item["store"]) == store)
        suffix = f" ({store})" if len(stores) > 1 else ""
        table += [_baseline(f"constant predictor{suffix}", result), _guess(f"chance{suffix}", result)]
    return table


def _scene_baselines(results: Sequence[Results]) -> list[Row]:
    """The encoders before training (runs of one seed and architecture share theirs), the cloud's outline, chance."""
    none = (None,) * len(SCENE_COLUMNS)
    befores: dict[tuple[float | None, ...], str] = {}
    for name, result in zip(names(results), results, strict=True):
        befores.setdefault(tuple(_value(result, _before(column)) for column in SCENE_COLUMNS), name)
    table = [
        Row("before training" if len(befores) == 1 else f"{name} before", values, none, baseline=True)
        for values, name in befores.items()
    ]
    for store in dict.fromkeys(str(result["store"]) for result in results):
        result = next(item for item in results if str(item["store"]) == store)
        suffix = f" ({store})" if len({str(r["store"]) for r in results}) > 1 else ""
        for name, leaf in (("outline alone", "outline"), ("chance", "chance")):
            keys = [c.key.replace("accuracy", leaf) if c.key.endswith("/accuracy") else "" for c in SCENE_COLUMNS]
            values = tuple(_value(result, replace(c, key=key)) for c, key in zip(SCENE_COLUMNS, keys, strict=True))
            table.append(Row(name + suffix, values, none, baseline=True))
    return table


def _before(column: Column) -> Column:
    """The same number of the encoder that training started from."""
    key = (
        column.key.replace("/trained", "/initial").replace("/accuracy", "/initial").replace("/cells", "/initial_cells")
    )
    return replace(column, key=key)


def _value(result: Results, column: Column) -> float | None:
    value = result.get(column.key)
    return None if value is None else column.scale * value


def _error(result: Results, column: Column) -> float | None:
    """Standard deviation over seeds, or the standard error of a single run where it is known."""
    if "seeds" in result:
        value = result.get(SPREAD + column.key)
        return None if value is None else column.scale * value
    key = column.key.replace("/top1", "/top1_se").replace("/mean_deg/", "/mean_deg_se/")
    value = result.get(key) if key != column.key else None
    return None if value is None else column.scale * value


def _baseline(name: str, result: Results) -> Row:
    if "rotation/mean_deg/constant" not in result:
        raise ValueError(f"expected 'rotation/mean_deg/constant' in the results of {result.get('run')}, it is missing")
    keys = [column.key.rsplit("/", 1)[0] + "/constant" for column in COLUMNS]
    scores = [
        result.get(key) if column.key.endswith("/all") else None for key, column in zip(keys, COLUMNS, strict=True)
    ]
    scores[0] = 100 * result["classification/majority"]
    return Row(name, tuple(scores), (None,) * len(COLUMNS), baseline=True)


def _guess(name: str, result: Results) -> Row:
    chance = 100 * result["classification/chance"]
    return Row(name, (chance, *(None,) * (len(COLUMNS) - 1)), (None,) * len(COLUMNS), baseline=True)


def cell(value: float | None, column: Column, error: float | None = None) -> str:
    """A number with the column's decimals, and what follows ±; or a dash."""
    plus = "" if error is None else f" ± {error:.{column.digits}f}"
    return "–" if value is None else f"{value:.{column.digits}f}{plus}"


def format_table(results: Sequence[Results]) -> str:
    """Plain-text table: one row per run, with what needs no learning beneath.

    ``inv`` and ``equi`` columns stay empty for methods that do not split their features; the constant predictor's top-1
    is that of always naming the most frequent training class. Rows of several seeds show mean ± standard deviation.
    """
    if of_videos(results):
        return format_video_table(results)
    table, shown = rows(results), columns(results)
    lines = [["method", *(column.heading for column in shown)]]
    several = any("seeds" in result for result in results)
    lines += [
        [
            row.name,
            *(cell(v, c, e if several else None) for v, c, e in zip(row.values, shown, row.errors, strict=True)),
        ]
        for row in table
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    rule = "-" * len(text[0])
    learned = sum(not row.baseline for row in table)
    return "\n".join([text[0], rule, *text[1 : 1 + learned], rule, *text[1 + learned :]])
