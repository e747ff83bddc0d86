"""Average precision of the KITTI 3D object benchmark (Geiger et al., CVPR 2012), from above and in 3D."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.metrics.detection.curves import ap_r11, ap_r40, at_recalls, class_means, mean_of_known, recall_thresholds
from equissl.metrics.detection.matching import choices, take_turns, turns
from equissl.metrics.detection.metric import BoxCollector, BoxTables, DetectionMetric, Pairs, overlapping_pairs

CLASSES = ("Car", "Pedestrian", "Cyclist")
# least overlap, the benchmark's own and a loose one
OVERLAPS = {"Car": (0.7, 0.5), "Pedestrian": (0.5, 0.25), "Cyclist": (0.5, 0.25)}
# labels that count as another class, but neither as found nor as missed
NEIGHBOURS = {"Van": "Car", "Person_sitting": "Pedestrian"}
COUNTED, IGNORED, OTHER = 0, 1, -1


@dataclass(frozen=True)
class Difficulty:
    """Labels that count: at most so far occluded and truncated, and taller than this many pixels."""

    occlusion: float
    truncation: float
    height2d: float


DIFFICULTIES = {
    "easy": Difficulty(0, 0.15, 40),
    "moderate": Difficulty(1, 0.30, 25),
    "hard": Difficulty(2, 0.50, 25),
}


def kitti_labels(names: Sequence[str], classes: Sequence[str] = CLASSES) -> tuple[Tensor, Tensor]:
    """Class indices and ``ignore`` of label names: a van counts as an ignored car, a sitting person as a pedestrian.

    Args:
        names: M names as KITTI spells them; those of no class (``DontCare``, ``Tram``) get -1.
        classes: classes of the metric.

    Returns:
        (M,) int64 and (M,) bool, for ``labels`` and ``ignore`` of :class:`LabelledBoxes`.
    """
    index = {name: number for number, name in enumerate(classes)}
    own = [index.get(name, -1) for name in names]
    near = [index.get(NEIGHBOURS.get(name, ""), -1) for name in names]
    labels = [mine if mine >= 0 else other for mine, other in zip(own, near, strict=True)]
    ignore = [mine < 0 <= other for mine, other in zip(own, near, strict=True)]
    return torch.tensor(labels, dtype=torch.long), torch.tensor(ignore, dtype=torch.bool)


class KittiAP(DetectionMetric):
    """Average precision with KITTI's difficulties and rules for what does not count.

    Labels beyond a difficulty, or with ``ignore``, are neither to be found nor wrong to find; neither are predictions
    lower than the difficulty's height in the picture, whatever their class. Overlaps are taken in the frame that the
    boxes are in: KITTI's own program has upright boxes in the rectified camera frame.

    Results are percentages named ``CLASS/KIND_CURVE_DIFFICULTY``, with KIND ``bev``, ``3d`` or ``3d_orientation`` (each
    true positive weighs (1 + cos) / 2 of the angle between the headings), CURVE ``r40`` or ``r11``, and ``_loose``
    behind it for the loose overlaps. ``mean`` as the class is the mean over the classes, and without a difficulty also
    over these. A class without labels that count is NaN, which means leave out. ``CLASS/labels_DIFFICULTY`` says how
    many there are.

    Args:
        classes: names that labels index.
        overlaps: by class, the least overlap, strict and loose; a match must exceed it.
        prefix: prefix of the results' names.

    Raises:
        ValueError: for a class without overlaps.

    Example:
        >>> from equissl.metrics.detection import DetectedBoxes, LabelledBoxes
        >>> box, car = torch.tensor([[10.0, 0, 0, 4, 2, 1.5, 0]]), torch.tensor([0])
        >>> metric = KittiAP()
        >>> for _ in range(80):
        ...     metric.update(DetectedBoxes(box, torch.rand(1), car), LabelledBoxes(box, car))
        >>> metric.compute()["detection/car/3d_r40_moderate"]
        100.0
    """

    def __init__(
        self,
        classes: Sequence[str] = CLASSES,
        overlaps: Mapping[str, tuple[float, float]] = OVERLAPS,
        prefix: str = "detection",
    ) -> None:
        if missing := [name for name in classes if name not in overlaps]:
            raise ValueError(f"expected overlaps of {', '.join(missing)}, got them of {', '.join(overlaps)}")
        target = ("ignore", "height2d", "occlusion", "truncation")
        super().__init__(BoxCollector(len(classes), ("height2d",), target), prefix)
        self.classes, self.overlaps = tuple(classes), dict(overlaps)

    def _scores(self, tables: BoxTables) -> dict[str, float]:
        pairs = overlapping_pairs(tables)
        scores: dict[str, float] = {}
        for number, name in enumerate(self.classes):
            for level, difficulty in DIFFICULTIES.items():
                status = _status(tables, number, difficulty)
                scores[f"{name.lower()}/labels_{level}"] = float((status[1] == COUNTED).sum())
                for suffix, least in zip(("", "_loose"), self.overlaps[name], strict=True):
                    for kind, value in _kinds(tables, pairs, status, least).items():
                        scores[f"{name.lower()}/{kind}_{level}{suffix}"] = value
        means = class_means(scores, [name.lower() for name in self.classes])
        return {**scores, **means, **_difficulty_means(means)}


def _difficulty_means(means: Mapping[str, float]) -> dict[str, float]:
    easy = {name: name.partition("_easy") for name in means if "_easy" in name}
    return {
        stem + suffix: mean_of_known(means[f"{stem}_{level}{suffix}"] for level in DIFFICULTIES)
        for stem, _, suffix in easy.values()
    }


def _status(tables: BoxTables, number: int, difficulty: Difficulty) -> tuple[Tensor, Tensor]:
    """Status of each prediction and each label: counted, ignored or another class's."""
    preds, target = tables.preds, tables.target
    beyond = (target["occlusion"] > difficulty.occlusion) | (target["truncation"] > difficulty.truncation)
    beyond |= (target["height2d"] <= difficulty.height2d) | (target["ignore"] > 0)
    other = torch.full_like(target["labels"], OTHER)
    labels = torch.where(target["labels"] == number, beyond.long(), other)
    found = torch.where(preds["labels"] == number, COUNTED, torch.full_like(preds["labels"], OTHER))
    # the benchmark looks at the height first: a low box of any class can take a label away
    return torch.where(preds["height2d"] < difficulty.height2d, IGNORED, found), labels


def _kinds(tables: BoxTables, pairs: Pairs, status: tuple[Tensor, Tensor], least: float) -> dict[str, float]:
    """Average precisions of one class, difficulty and overlap, by kind and curve."""
    scores: dict[str, float] = {}
    for kind in ("bev", "3d"):
        chosen = (pairs.values[kind] > least) & (status[0][pairs.pred] != OTHER) & (status[1][pairs.target] != OTHER)
        precision, orientation = _curves(tables, pairs.select(chosen), status, kind)
        scores |= {f"{kind}_r40": ap_r40(precision), f"{kind}_r11": ap_r11(precision)}
        if kind == "3d":
            scores |= {"3d_orientation_r40": ap_r40(orientation), "3d_orientation_r11": ap_r11(orientation)}
    return scores


def _curves(tables: BoxTables, pairs: Pairs, status: tuple[Tensor, Tensor], kind: str) -> tuple[Tensor, Tensor]:
    """(41,) precision, and the same with true positives weighed by their heading."""
    count = int((status[1] == COUNTED).sum())
    if not count:
        return torch.full((41,), math.nan), torch.full((41,), math.nan)
    scores, counted = tables.preds["scores"], status[0] == COUNTED
    # each label takes the surest prediction: the scores of these pairs are the ones to look at
    preference = scores[pairs.pred]
    sure, taken = _assign(tables, pairs, preference, torch.ones(1, len(scores), dtype=torch.bool))
    right = counted[sure.pred] & (status[1][sure.target] == COUNTED)
    thresholds = recall_thresholds(scores[sure.pred[right & taken[0]]], count)
    # above each of them, each label takes the prediction that overlaps most, one that is ignored only without another
    preference = torch.where(counted[pairs.pred], pairs.values[kind], -1.0)
    best, taken = _assign(tables, pairs, preference, scores >= thresholds[:, None])
    right = taken & counted[best.pred] & (status[1][best.target] == COUNTED)
    above = len(scores[counted]) - torch.searchsorted(scores[counted].sort().values, thresholds)
    true = right.sum(dim=1)
    claimed = true + above - (taken & counted[best.pred]).sum(dim=1)
    heading = tables.preds["boxes"][best.pred, 6] - tables.target["boxes"][best.target, 6]
    alike = (right * (1 + heading.cos()) / 2).sum(dim=1)
    return at_recalls(true.double() / claimed.clamp(min=1)), at_recalls(alike / claimed.clamp(min=1))


def _assign(tables: BoxTables, pairs: Pairs, preference: Tensor, available: Tensor) -> tuple[Pairs, Tensor]:
    """Pairs in another order, and (T, P) bool which of them come about when label after label chooses."""
    pairs = pairs.select(choices(pairs.target, preference))
    columns, column = pairs.pred.unique(return_inverse=True)
    turn = turns(pairs.target, tables.target["sweep"][pairs.target])
    return pairs, take_turns(pairs.target, column, turn, available[:, columns])
