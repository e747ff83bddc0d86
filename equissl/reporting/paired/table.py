"""Table of runs on paired data: retrieval, classes named by sentences, poses, and probes of the branches."""

from __future__ import annotations

from collections.abc import Sequence

from equissl.reporting.table import Column, Row, by_store, scaled
from equissl.runs.results import Results

PAIRS = (("image", "cloud"), ("cloud", "image"), ("image", "text"), ("text", "image"))
POSE = Column("pose °", "pose/mean_deg", 1, 1, "min", "pose/mean_deg_se")
OTHERS = (
    (Column("zero-shot % image", "zero_shot/image/top1", 100, 1, "max"), "classification/majority"),
    (Column("zero-shot % cloud", "zero_shot/cloud/top1", 100, 1, "max"), "classification/majority"),
    (POSE, "pose/constant_deg"),
    (Column("probe % image", "classification/all/top1", 100, 1, "max", "classification/all/top1_se"),
     "classification/majority"),
    (Column("probe % cloud", "classification/cloud/top1", 100, 1, "max", "classification/cloud/top1_se"),
     "classification/majority"),
    (Column("rot. probe °", "rotation/mean_deg/all", 1, 1, "min", "rotation/mean_deg_se/all"),
     "rotation/mean_deg/constant"),
)  # fmt: skip


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Return the columns that any run has a value of; R@k for the smallest k."""
    return tuple(column for column, _ in _entries(results))


def baselines(results: Sequence[Results]) -> list[Row]:
    """Return the answers that need no learning: the most frequent class, and the mean rotation of training views."""
    entries = _entries(results)
    rows = [
        Row(f"constant answer{suffix}", tuple(scaled(found.get(key), column) for column, key in entries), baseline=True)
        for suffix, found in by_store(results)
    ]
    return [row for row in rows if any(value is not None for value in row.values)]


def _entries(results: Sequence[Results]) -> list[tuple[Column, str]]:
    least = min(min(found["config/at"]) for found in results) if results else 1
    retrieval = [
        (Column(f"R@{least} % {query} → {kept}", f"retrieval/{query}_to_{kept}/r{least}", 100, 1, "max"), "")
        for query, kept in PAIRS
    ]
    return [each for each in (*retrieval, *OTHERS) if any(each[0].key in found for found in results)]
