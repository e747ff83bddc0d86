"""Average precision without a camera's difficulties: by distance and by number of points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from equissl.metrics.detection.curves import average_precision, class_means
from equissl.metrics.detection.matching import by_score, choices, take_turns, turns
from equissl.metrics.detection.metric import BoxCollector, BoxTables, DetectionMetric, Pairs, overlapping_pairs

KINDS = ("bev", "3d")


class RangeAP(DetectionMetric):
    """Area under the precision-recall curve, over all labels and by bins of distance and number of points.

    Predictions choose by falling score, each the label that it overlaps most among those left, one that is ignored only
    without another. What is ignored (labels with ``ignore``, with too few points, outside of the limits or of the bin)
    is neither to be found nor wrong to find. A prediction on nothing is wrong in the bin of its own distance, and in
    every bin of points. There is no grid of recalls: a perfect detector scores 100 on a single label too.

    Results are percentages: ``CLASS/KIND_ap`` with KIND ``bev`` or ``3d``; ``CLASS/3d_aph``, where a true positive
    counts by 1 - |angle| / π of the angle between the headings (the weighting of Waymo); ``CLASS/KIND_recall`` of all
    predictions; and ``CLASS/labels``. With ``_0_20m``, ``_40m_up``, ``_1_9points`` and so on behind them those of a
    bin. ``mean`` as the class is the mean over classes. NaN without labels, which means leave out.

    Args:
        overlaps: by class, in the order that labels index, the least overlap; a match must exceed it.
        distances: edges of the bins in metres from the origin, seen from above; none with fewer than two.
        points: edges of the bins in LiDAR points; none with fewer than two.
        fewest_points: labels with fewer points are ignored.
        limits: (x, y, z, x, y, z) lowest and highest; what has its centre outside does not count.
        prefix: prefix of the results' names.

    Raises:
        ValueError: for edges that do not rise, or limits that are no six numbers.
    """

    def __init__(
        self,
        overlaps: Mapping[str, float],
        distances: Sequence[float] = (0, 20, 40, math.inf),
        points: Sequence[float] = (1, 10, 50, math.inf),
        fewest_points: int = 1,
        limits: Sequence[float] | None = None,
        prefix: str = "detection",
    ) -> None:
        for name, edges in (("distances", distances), ("points", points)):
            if any(low >= high for low, high in pairwise(edges)):
                raise ValueError(f"expected rising edges of {name}, got {tuple(edges)}")
        if limits is not None and len(limits) != 6:
            raise ValueError(f"expected limits (x, y, z, x, y, z), got {tuple(limits)}")
        super().__init__(BoxCollector(len(overlaps), (), ("ignore", "num_points")), prefix)
        self.overlaps = dict(overlaps)
        self.distances, self.points, self.fewest_points, self.limits = distances, points, fewest_points, limits

    def _scores(self, tables: BoxTables) -> dict[str, float]:
        preds, target = tables.preds, tables.target
        pairs, inside = overlapping_pairs(tables), [self._inside(table["boxes"]) for table in (preds, target)]
        pairs = pairs.select(preds["labels"][pairs.pred] == target["labels"][pairs.target])
        ignored = (target["ignore"] > 0) | (target["num_points"] < self.fewest_points) | ~inside[1]
        scores: dict[str, float] = {}
        for suffix, wrong, counted in self._bins(tables):
            for number, (name, least) in enumerate(self.overlaps.items()):
                own = (preds["labels"] == number) & wrong & inside[0]
                chosen = pairs.select(preds["labels"][pairs.pred] == number)
                found = _score(tables, chosen, own, counted & ~ignored & (target["labels"] == number), least)
                scores |= {f"{name.lower()}/{kind}{suffix}": value for kind, value in found.items()}
        return {**scores, **class_means(scores, [name.lower() for name in self.overlaps])}

    def _inside(self, boxes: Tensor) -> Tensor:
        if self.limits is None:
            return torch.ones(len(boxes), dtype=torch.bool)
        low, high = torch.tensor(self.limits, dtype=torch.float64).split(3)
        return ((boxes[:, :3] >= low) & (boxes[:, :3] < high)).all(dim=1)

    def _bins(self, tables: BoxTables) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Suffix of the name; which predictions are wrong without a label; which labels count."""
        everywhere = torch.ones(len(tables.preds["labels"]), dtype=torch.bool)
        yield "", everywhere, torch.ones(len(tables.target["labels"]), dtype=torch.bool)
        distance = [table["boxes"][:, :2].norm(dim=1) for table in (tables.preds, tables.target)]
        for low, high in pairwise(self.distances):
            within = [(values >= low) & (values < high) for values in distance]
            yield f"_{low:g}m_up" if high == math.inf else f"_{low:g}_{high:g}m", within[0], within[1]
        points = tables.target["num_points"]
        for low, high in pairwise(self.points):
            known = points.isfinite() & (points >= low) & (points < high)
            yield f"_{low:g}points_up" if high == math.inf else f"_{low:g}_{high - 1:g}points", everywhere, known


def _score(tables: BoxTables, pairs: Pairs, own: Tensor, counted: Tensor, least: float) -> dict[str, float]:
    """Scores of one class and bin, from predictions that are wrong without a label and labels that count."""
    count = int(counted.sum())
    scores = {"labels": float(count)}
    order, place = by_score(tables.preds["scores"], tables.preds["sweep"])
    for kind in KINDS:
        matched = _match(tables, pairs.select(pairs.values[kind] > least), place, counted, kind)
        right = counted[matched.target]
        scored, hits, headed = own.clone(), torch.zeros(len(own)), torch.zeros(len(own), dtype=torch.float64)
        scored[matched.pred] = right
        hits[matched.pred] = right.float()
        headed[matched.pred] = right * _heading_accuracy(tables, matched)
        parts = {"ap": hits, "aph": headed} if kind == "3d" else {"ap": hits}
        for name, part in parts.items():
            value = average_precision(part[order], scored[order], count) if count else math.nan
            scores[f"{kind}_{name}"] = value
        scores[f"{kind}_recall"] = 100 * float(hits.sum()) / count if count else math.nan
    return scores


def _match(tables: BoxTables, pairs: Pairs, place: Tensor, counted: Tensor, kind: str) -> Pairs:
    preference = pairs.values[kind] + counted[pairs.target].double()
    pairs = pairs.select(choices(place[pairs.pred], preference))
    turn = turns(place[pairs.pred], tables.preds["sweep"][pairs.pred])
    everything = torch.ones(1, len(counted), dtype=torch.bool)
    return pairs.select(take_turns(pairs.pred, pairs.target, turn, everything)[0])


def _heading_accuracy(tables: BoxTables, pairs: Pairs) -> Tensor:
    """1 for the same heading, 0 for the opposite one."""
    turned = tables.preds["boxes"][pairs.pred, 6] - tables.target["boxes"][pairs.target, 6]
    return 1 - ((turned + math.pi) % (2 * math.pi) - math.pi).abs() / math.pi
