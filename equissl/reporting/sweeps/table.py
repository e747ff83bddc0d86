"""Table of detectors: average precision of every class, and its mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from equissl.reporting.table import Column, Row
from equissl.runs.results import Results

LABELS = Column("labels", "labelled_sweeps", digits=0)
MEASURES = (("3D", "3d_ap"), ("BEV", "bev_ap"))  # heading, and last part of the key


def columns(results: Sequence[Results]) -> tuple[Column, ...]:
    """Return the columns: labels used, average precision of every class in any result, and the other protocols."""
    classes = list(dict.fromkeys(name for result in results for name in result["classes"]))
    others = [*_kitti(classes), Column("nuScenes mAP", "nuscenes/mean/ap", 100, best="max")]
    return (LABELS, *_precisions(classes), *(c for c in others if any(c.key in result for result in results)))


def baselines(results: Sequence[Results]) -> list[Row]:
    """Return none: nothing is found without learning."""
    return []


def _precisions(classes: Iterable[str]) -> list[Column]:
    found = [
        Column(f"{name} {heading}", f"detection/{name.lower()}/{measure}", best="max")
        for heading, measure in MEASURES
        for name in classes
    ]
    return found + [Column(f"mean {heading}", f"detection/mean/{measure}", best="max") for heading, measure in MEASURES]


def _kitti(classes: Iterable[str]) -> list[Column]:
    return [
        Column(f"{name} R40 mod.", f"kitti/{name.lower()}/3d_r40_moderate", best="max") for name in (*classes, "mean")
    ]
