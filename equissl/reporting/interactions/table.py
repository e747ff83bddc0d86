"""Table of runs on interactions: full ranking of the items held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from equissl.reporting.table import Column, Row, distinct_rows
from equissl.runs.results import Results

SCORES = (("test", "hr", "HR"), ("test", "ndcg", "NDCG"), ("val", "hr", "HR"), ("val", "ndcg", "NDCG"))
BASELINES = (("what followed the last item", "last_item"), ("popularity", "popularity"))


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Return HR@k and NDCG@k of both items held out, after the parameters and steps of the runs."""
    top = results[0]["config/top"] if results else 10
    counts = (Column("parameters", "parameters", digits=0), Column("steps", "steps", digits=0))
    scores = (
        Column(f"{heading}@{top} %" + ("" if split == "test" else " val"), f"{split}/{name}", 100, digits=2, best="max")
        for split, name, heading in SCORES
    )
    return (*counts, *scores)


def baselines(results: Sequence[Results]) -> list[Row]:
    """Return the recommenders that need no learning."""
    keys = {f"{split}/{name}" for split, name, _ in SCORES}
    shown = columns(results)
    return [
        row
        for title, prefix in BASELINES
        for row in distinct_rows(
            title, results, [replace(c, key=f"{prefix}/{c.key}" if c.key in keys else "") for c in shown]
        )
    ]
