"""Checks that boxes sit on points and that poses align sweeps, which fail silently when frames are mixed up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from equissl.datasets.drives.box_points import count_points_in_boxes
from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.open3d_library import import_open3d
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.sweep import Drive, Sweep, ego_motion, move

ENOUGH_POINTS = 20
NEAR = 40.0  # metres: farther boxes may well be empty
REACH = 30.0  # metres; the beams of a 64-beam sensor are 0.2 m apart there
FEW_HELD = 0.3  # of the near boxes
MOVED = 0.3  # metres between sweeps, from which poses can be told from no poses


@dataclass
class CheckReport:
    """Results of the checks over the sweeps looked at.

    Attributes:
        boxes: number of boxes.
        boxes_20: those with at least 20 points inside.
        near_boxes, near_held: boxes within 40 m, and those of them with any point inside.
        points_in_boxes: points counted inside boxes.
        points_stated: as the data set states them; None where it does not.
        aligned, unaligned: median distance (m) from points above the ground to the next sweep, for each pair looked
            at, with and without the poses.
        warnings: what looks wrong.
    """

    boxes: int = 0
    boxes_20: int = 0
    near_boxes: int = 0
    near_held: int = 0
    points_in_boxes: int = 0
    points_stated: int | None = None
    aligned: list[float] = field(default_factory=list)
    unaligned: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the lines of the report, for people."""
        found = []
        if self.boxes:
            share = f"{self.boxes_20} of {self.boxes} ({self.boxes_20 / self.boxes:.1%})"
            stated = "" if self.points_stated is None else f", the data set states {self.points_stated}"
            found.append(f"boxes with at least {ENOUGH_POINTS} points: {share}; {self.points_in_boxes} points{stated}")
        if self.aligned:
            found.append(
                f"points above ground to the next sweep: median {100 * np.median(self.aligned):.1f} cm with the poses, "
                f"{100 * np.median(self.unaligned):.1f} cm without ({len(self.aligned)} pairs)"
            )
        return found + [f"warning: {warning}" for warning in self.warnings]


def check_drives(drives: list[Drive], sweeps: int = 24, pairs: int = 6) -> CheckReport:
    """Count points in boxes and align sweeps, on a sample that is spread evenly.

    Args:
        drives: to look at.
        sweeps: labelled sweeps to count in, in all.
        pairs: pairs to align, in all.
    """
    report = CheckReport()
    places = [(drive, index) for drive in drives for index in range(len(drive))]
    for drive, index in _spread(places, sweeps):
        count_boxes(drive[index], report)
    found = [(s, i, j) for s in drives for i, j in find_pairs(s.timestamps, s.rate, s.poses)[0].tolist()]
    for drive, i, j in _spread([place for place in found if _posed(*place)], pairs):
        _align(drive, i, j, report)
    if report.near_boxes >= 10 and report.near_held < FEW_HELD * report.near_boxes:
        report.warnings.append(
            f"only {report.near_held} of {report.near_boxes} boxes within {NEAR:.0f} m hold a point: "
            f"are boxes and points in the same frame?"
        )
    return report


def _posed(drive: Drive, *places: int) -> bool:
    """Return True if all of these sweeps have a pose."""
    return drive.poses is not None and bool(np.isfinite(drive.poses[list(places)]).all())


def _spread(items: list, most: int) -> list:
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).astype(int)]


def count_boxes(sweep: Sweep, report: CheckReport) -> None:
    """Add the boxes of one sweep to the report.

    Args:
        sweep: with or without boxes.
        report: to add to.
    """
    if sweep.boxes is None or not len(sweep.boxes):
        return
    counts = count_points_in_boxes(sweep.points, sweep.boxes.boxes)
    near = np.linalg.norm(sweep.boxes.boxes[:, :2], axis=1) <= NEAR
    report.boxes += len(counts)
    report.boxes_20 += int((counts >= ENOUGH_POINTS).sum())
    report.near_boxes += int(near.sum())
    report.near_held += int((counts[near] > 0).sum())
    report.points_in_boxes += int(counts.sum())
    if sweep.boxes.num_points is not None:
        report.points_stated = (report.points_stated or 0) + int(sweep.boxes.num_points.sum())


def _align(drive: Drive, i: int, j: int, report: CheckReport) -> None:
    first, second = drive[i], drive[j]
    aligned, unaligned = alignment(first, second)
    report.aligned.append(aligned)
    report.unaligned.append(unaligned)
    moved = float(np.linalg.norm(second.pose[:3, 3] - first.pose[:3, 3]))  # type: ignore[index]
    if moved > MOVED and aligned > 0.8 * unaligned:
        report.warnings.append(
            f"{drive.name}, frames {first.frame} and {second.frame}: the poses say {moved:.2f} m, but bring the "
            f"sweeps no nearer ({100 * aligned:.1f} cm, {100 * unaligned:.1f} cm without)"
        )


def alignment(first: Sweep, second: Sweep, most: int = 20000, seed: int = 0) -> tuple[float, float]:
    """Median distance (m) from the points above ground of one sweep to the nearest of the next, with and without poses.

    Of points within 30 m: farther away the gaps between the beams are wider than what is to be seen.

    Args:
        first, second: with poses.
        most: points of the first sweep, drawn at random.
        seed: seed of that draw.
    """
    if first.pose is None or second.pose is None:
        raise ValueError(f"expected poses of both sweeps, {first.frame} and {second.frame}")
    above = [s.points[~(s.ground if s.ground is not None else estimate_ground(s.points))] for s in (first, second)]
    chosen = above[0][np.linalg.norm(above[0], axis=1) <= REACH]
    if len(chosen) > most:
        chosen = chosen[np.sort(np.random.default_rng(seed).choice(len(chosen), most, replace=False))]
    moved = move(ego_motion(first.pose, second.pose), chosen)
    return tuple(float(np.median(nearest_distance(points, above[1]))) for points in (moved, chosen))  # type: ignore[return-value]


def nearest_distance(points: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Compute the distance (N,) of each point to the nearest of a cloud.

    Args:
        points: (N, 3).
        cloud: (M, 3).
    """
    core = import_open3d().core
    search = core.nns.NearestNeighborSearch(core.Tensor.from_numpy(np.ascontiguousarray(cloud, dtype=np.float32)))
    search.knn_index()
    _, squared = search.knn_search(core.Tensor.from_numpy(np.ascontiguousarray(points, dtype=np.float32)), 1)
    return np.sqrt(squared.numpy()[:, 0])
