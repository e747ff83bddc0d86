"""Table of detectors: a column for every class and protocol that any of them has."""

from __future__ import annotations

from equissl.reporting.sweeps.table import columns


def test_columns_are_those_of_all_results_together() -> None:
    one = {"classes": ["Car"], "nuscenes/mean/ap": 0.5}
    other = {"classes": ["Car", "Truck"], "kitti/car/3d_r40_moderate": 10.0}
    assert [column.heading for column in columns([one, other])] == [
        "labels", "Car 3D", "Truck 3D", "Car BEV", "Truck BEV", "mean 3D", "mean BEV", "Car R40 mod.", "nuScenes mAP",
    ]  # fmt: skip
    assert {column.heading: column.scale for column in columns([one])}["nuScenes mAP"] == 100
