"""Velocities of labelled objects over ground, from the positions of their tracks at other times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from equissl.datasets.drives.sweep import Boxes, move

LONGEST = 1.5  # seconds between two labels of a track from which a velocity is told, as in the nuScenes devkit


def track_velocities(tracks: Sequence[str], times: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Velocities over ground of N labels: nuScenes' definition (Caesar et al., CVPR 2020, and its devkit).

    The difference between the next label of the same track and the one before, divided by their time; at an end of a
    track that between this label and its only neighbour. Unknown where no neighbour is within 1.5 s, or where the two
    are more than 3 s apart.

    Args:
        tracks: N identities; an empty one has no neighbours.
        times: (N,) int64 nanoseconds.
        centres: (N, 3) in the world.

    Returns:
        (N, 3) float64 metres a second in the world, NaN where unknown.
    """
    named = np.array([track != "" for track in tracks], dtype=bool)
    numbers = np.unique(np.array(tracks, dtype=str), return_inverse=True)[1]
    order = np.lexsort((times, numbers))
    place, joined = np.arange(len(order)), np.diff(numbers[order]) == 0
    has_previous, has_next = np.append(False, joined)[: len(order)], np.append(joined, False)[: len(order)]
    first, last = order[place - has_previous], order[place + has_next]
    seconds = (times[last] - times[first]) * 1e-9
    longest = np.where(has_previous & has_next, 2 * LONGEST, LONGEST)
    known = (seconds > 0) & (seconds <= longest) & named[order]
    found = np.full(centres.shape, np.nan)
    found[order[known]] = (centres[last] - centres[first])[known] / seconds[known, None]
    return found


def with_velocities(boxes: Mapping[int, Boxes], poses: Mapping[int, np.ndarray]) -> dict[int, Boxes]:
    """Add velocities over ground to the tracked boxes of a drive, in the axes of their own sweep.

    Args:
        boxes: by time in nanoseconds, each in the frame of its sweep.
        poses: (4, 4) sweep -> world by the same times; boxes without one, or with NaN in it, have no velocity and give
            none to others.
    """
    placed = [time for time in boxes if time in poses and np.isfinite(poses[time]).all()]
    tracks = [track for time in placed for track in boxes[time].tracks]
    times = np.array([time for time in placed for _ in boxes[time].tracks], dtype=np.int64)
    centres = [move(poses[time], boxes[time].boxes[:, :3]) for time in placed]
    found = track_velocities(tracks, times, np.concatenate([np.zeros((0, 3)), *centres]))
    moving = {time: in_axes(found[times == time], poses[time]) for time in placed}
    return {
        time: replace(known, velocities=moving.get(time, np.full((len(known), 2), np.nan)))
        for time, known in boxes.items()
    }


def in_axes(velocities: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Express world velocities along x and y of a sweep: (M, 2).

    Args:
        velocities: (M, 3) in the world.
        pose: (4, 4) sweep -> world.
    """
    return (velocities @ pose[:3, :3])[:, :2]
