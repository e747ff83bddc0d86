"""KITTI's average precision once more, label by label in plain loops, with shapely for the overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
import shapely.affinity

Frame = dict[str, dict[str, np.ndarray]]
LIMITS = {"easy": (0, 0.15, 40), "moderate": (1, 0.30, 25), "hard": (2, 0.50, 25)}


def overlap(a: np.ndarray, b: np.ndarray, kind: str) -> float:
    """Intersection over union of two boxes (7,), ``bev`` or ``3d``."""
    shapes = []
    for x, y, _, dx, dy, _, heading in (a, b):
        flat = shapely.box(x - dx / 2, y - dy / 2, x + dx / 2, y + dy / 2)
        shapes.append(shapely.affinity.rotate(flat, heading, origin=(x, y), use_radians=True))
    common, sizes = shapes[0].intersection(shapes[1]).area, [shape.area for shape in shapes]
    if kind == "3d":
        common *= max(0.0, min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2))
        sizes = [area * box[5] for area, box in zip(sizes, (a, b), strict=True)]
    return common / (sum(sizes) - common)


def average_precisions(frames: list[Frame], number: int, least: float, level: str, kind: str) -> dict[str, float]:
    """R40, R11 and orientation R40 of class ``number`` in percent."""
    occlusion, truncation, height = LIMITS[level]
    images = [_prepare(frame, number, occlusion, truncation, height, kind) for frame in frames]
    total = sum(state == 0 for image in images for state in image["labels"])
    scores = sorted((s for image in images for s in _true_scores(image, least)), reverse=True)
    precision, orientation = np.zeros(41), np.zeros(41)
    for index, threshold in enumerate(_thresholds(scores, total)):
        counts = np.sum([_count(image, least, threshold) for image in images], axis=0)
        precision[index] = counts[0] / (counts[0] + counts[1])
        orientation[index] = counts[2] / (counts[0] + counts[1])
    for curve in (precision, orientation):
        for index in range(41):
            curve[index] = curve[index:].max()
    r40, r11 = precision[1:].sum() / 40, precision[::4].sum() / 11
    return {"r40": 100 * r40, "r11": 100 * r11, "orientation_r40": 100 * orientation[1:].sum() / 40}


def _prepare(
    frame: Frame, number: int, occlusion: float, truncation: float, height: float, kind: str
) -> dict[str, Any]:
    """States: 0 counts, 1 ignored, -1 no part of it."""
    preds, target = frame["preds"], frame["target"]
    labels = []
    for row, label in enumerate(target["labels"]):
        hard = target["occlusion"][row] > occlusion or target["truncation"][row] > truncation
        hard = hard or target["height2d"][row] <= height or target["ignore"][row]
        labels.append(-1 if label != number else int(hard))
    found = []
    for row, label in enumerate(preds["labels"]):
        found.append(1 if preds["height2d"][row] < height else (0 if label == number else -1))
    overlaps = frame.setdefault("overlaps", {})  # kept: the other classes and levels need them too
    if kind not in overlaps:
        overlaps[kind] = np.array([[overlap(a, b, kind) for a in preds["boxes"]] for b in target["boxes"]])
    headings = [[a[6] - b[6] for a in preds["boxes"]] for b in target["boxes"]]
    return {
        "labels": labels,
        "found": found,
        "scores": preds["scores"],
        "overlaps": overlaps[kind],
        "headings": headings,
    }


def _true_scores(image: dict[str, Any], least: float) -> list[float]:
    """Each label takes the free prediction of the highest score."""
    taken, scores = set(), []
    for row, state in enumerate(image["labels"]):
        if state == -1:
            continue
        best = None
        for column, other in enumerate(image["found"]):
            if other == -1 or column in taken or not image["overlaps"][row][column] > least:
                continue
            if best is None or image["scores"][column] > image["scores"][best]:
                best = column
        if best is not None:
            taken.add(best)
            if state == 0 and image["found"][best] == 0:
                scores.append(image["scores"][best])
    return scores


def _thresholds(scores: list[float], total: int) -> list[float]:
    target, kept = 0.0, []
    for index, score in enumerate(scores):
        here = (index + 1) / total
        following = (index + 2) / total if index < len(scores) - 1 else here
        if following - target < target - here and index < len(scores) - 1:
            continue
        kept.append(score)
        target += 1 / 40
    return kept


def _count(image: dict[str, Any], least: float, threshold: float) -> tuple[int, int, float]:
    """True positives, false positives, and the sum of the true positives' heading similarities."""
    taken, true, alike = set(), 0, 0.0
    present = [c for c, other in enumerate(image["found"]) if other != -1 and image["scores"][c] >= threshold]
    for row, state in enumerate(image["labels"]):
        if state == -1:
            continue
        free = [c for c in present if c not in taken and image["overlaps"][row][c] > least]
        counted = [c for c in free if image["found"][c] == 0]
        if not free:
            continue
        best = max(counted, key=lambda c: image["overlaps"][row][c]) if counted else free[0]
        taken.add(best)
        if state == 0 and image["found"][best] == 0:
            true += 1
            alike += (1 + np.cos(image["headings"][row][best])) / 2
    false = sum(image["found"][c] == 0 and c not in taken for c in present)
    return true, false, alike
