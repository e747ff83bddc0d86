"""Results of detectors: which columns their table has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Results = dict[str, Any]
# heading and end of the results' key
KINDS = (("3D", "3d_ap"), ("BEV", "bev_ap"))


def of_detection(results: Sequence[Results]) -> bool:
    """Whether all of these are results of detectors."""
    return bool(results) and all(result.get("data") == "detection" for result in results)


def detection_keys(results: Sequence[Results]) -> list[tuple[str, str]]:
    """Heading and key of each column: average precision of every class that any of them has, and its mean."""
    names = list(dict.fromkeys(name for result in results for name in result["classes"]))
    plain = [(f"{name} {kind}", f"detection/{name.lower()}/{key}") for kind, key in KINDS for name in names]
    plain += [(f"mean {kind}", f"detection/mean/{key}") for kind, key in KINDS]
    kitti = [(f"{name} R40 mod.", f"kitti/{name.lower()}/3d_r40_moderate") for name in names]
    kitti += [("mean R40 mod.", "kitti/mean/3d_r40_moderate")]
    nuscenes = [("nuScenes mAP", "nuscenes/mean/ap")]
    found = plain + [column for column in kitti + nuscenes if any(column[1] in result for result in results)]
    return [("labels", "labelled_sweeps"), *found]
