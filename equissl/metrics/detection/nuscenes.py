"""Mean average precision and detection score of nuScenes (Caesar et al., CVPR 2020), matched by distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from equissl.geometry.boxes import points_in_boxes
from equissl.metrics.detection.boxes import DetectedBoxes, LabelledBoxes
from equissl.metrics.detection.curves import class_means, interpolate, mean_of_known
from equissl.metrics.detection.matching import by_score, choices, take_turns, turns
from equissl.metrics.detection.metric import BoxCollector, BoxTables, DetectionMetric, Pairs, nearby_pairs

# metres from the car up to which a class is scored
RANGES = {
    "car": 50.0,
    "truck": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "construction_vehicle": 50.0,
    "pedestrian": 40.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "traffic_cone": 30.0,
    "barrier": 30.0,
}
CLASSES = tuple(RANGES)
DISTANCES = (0.5, 1.0, 2.0, 4.0)
ERROR_DISTANCE = 2.0  # the errors of true positives are those of matches within this
ERRORS = ("ate", "ase", "aoe", "ave", "aae")
# errors that say nothing of a class: what never moves, and what has no front
WITHOUT = {"traffic_cone": ("aoe", "ave", "aae"), "barrier": ("ave", "aae")}
IN_RACKS = ("bicycle", "motorcycle")
LOWEST = 0.1  # recall and precision below which nothing counts
FIRST = 11  # of the 101 recalls 0, 0.01 ... 1: the first above the lowest
MOST_BOXES = 500


class NuScenesDetection(DetectionMetric):
    """Average precision over four distances, errors of the true positives, and their combination, NDS.

    Predictions and labels beyond the class's range do not count, nor do labels without points or with ``ignore``, nor
    bicycles and motorcycles in ``racks``. A class without labels has AP 0 and errors 1, as in the benchmark.

    Results are shares, not percentages: ``CLASS/ap``, and by distance ``CLASS/ap_0.5m`` and so on; and errors:
    ``CLASS/ate`` (metres), ``ase`` (1 - IoU), ``aoe`` (radians), ``ave`` (metres a second) and ``aae`` (1 - accuracy),
    NaN where the benchmark leaves them out. ``mean/ap`` (mAP), ``mean/ate`` ... are the means over the classes; ``nds``
    is the detection score.

    Args:
        classes: names that labels index.
        ranges: metres by class.
        prefix: prefix of the results' names.

    Raises:
        ValueError: for a class without a range.
    """

    def __init__(
        self, classes: Sequence[str] = CLASSES, ranges: Mapping[str, float] = RANGES, prefix: str = "detection"
    ) -> None:
        if missing := [name for name in classes if name not in ranges]:
            raise ValueError(f"expected ranges of {', '.join(missing)}, got them of {', '.join(ranges)}")
        columns = ("velocity", "attributes")
        super().__init__(BoxCollector(len(classes), columns, columns), prefix)
        self.classes = tuple(classes)
        self._ranges = torch.tensor([ranges[name] for name in classes], dtype=torch.float64)
        racks = [number for number, name in enumerate(classes) if name in IN_RACKS]
        self._in_racks = torch.tensor(racks, dtype=torch.long)

    def update(self, preds: DetectedBoxes, target: LabelledBoxes, origin: tuple[float, float] = (0.0, 0.0)) -> None:
        """Add one sample.

        Args:
            preds: at most 500 boxes.
            target: the labels.
            origin: x and y of the car's own frame (above the rear axle), from which ranges are measured.

        Raises:
            ValueError: for class indices out of range, or more than 500 predictions.
        """
        if len(preds) > MOST_BOXES:
            raise ValueError(f"expected at most {MOST_BOXES} predictions of a sample, got {len(preds)}")
        self._store.check(preds, target)
        points, ignored = target.columns(("num_points", "ignore")).unbind(1)
        hidden = (points == 0) | (ignored > 0)
        labels = target.select(~(self._excluded(target, target.racks, origin) | hidden.to(target.labels.device)))
        self._store.add(preds.select(~self._excluded(preds, target.racks, origin)), labels)

    def _excluded(
        self, boxes: DetectedBoxes | LabelledBoxes, racks: Tensor | None, origin: tuple[float, float]
    ) -> Tensor:
        classes, centres = boxes.labels.cpu().long(), boxes.boxes.detach().cpu().double()[:, :3]
        distance = (centres[:, :2] - torch.tensor(origin, dtype=torch.float64)).norm(dim=1)
        # what is not finite is kept here, for the store to count
        excluded = (classes < 0) | (distance >= self._ranges[classes.clamp(min=0)])
        if racks is not None:
            parked = points_in_boxes(centres, racks.detach().cpu().double()).any(dim=1)
            excluded |= parked & torch.isin(classes, self._in_racks)
        return excluded.to(boxes.labels.device)

    def _scores(self, tables: BoxTables) -> dict[str, float]:
        pairs = nearby_pairs(tables, max(DISTANCES))
        scores: dict[str, float] = {}
        for number, name in enumerate(self.classes):
            scores |= {f"{name}/{kind}": value for kind, value in _score(tables, pairs, number, name).items()}
        scores |= class_means(scores, self.classes)
        good = sum(max(0.0, 1 - scores[f"mean/{error}"]) for error in ERRORS)
        return {**scores, "nds": (5 * scores["mean/ap"] + good) / 10}


def _score(tables: BoxTables, pairs: Pairs, number: int, name: str) -> dict[str, float]:
    preds, count = tables.preds, int((tables.target["labels"] == number).sum())
    order, place = by_score(preds["scores"], preds["sweep"], last_first=True)
    order = order[preds["labels"][order] == number]
    own = (preds["labels"][pairs.pred] == number) & (tables.target["labels"][pairs.target] == number)
    pairs, precisions = pairs.select(own), {}
    scores = dict.fromkeys(ERRORS, 1.0)
    for distance in DISTANCES:
        matched = _match(tables, pairs.select(pairs.values["distance"] < distance), place)
        hits = torch.zeros(len(place), dtype=torch.bool)
        hits[matched.pred] = True
        precision, confidence = _curves(hits[order], preds["scores"][order], count)
        precisions[f"ap_{distance:g}m"] = _average_precision(precision)
        if distance == ERROR_DISTANCE and len(matched):
            rank = torch.empty_like(place).scatter(0, order, torch.arange(len(order)))
            matched = matched.select(rank[matched.pred].argsort())
            scores |= _mean_errors(tables, matched, confidence, name)
    scores |= dict.fromkeys(WITHOUT.get(name, ()), math.nan)
    return {"ap": mean_of_known(precisions.values()), **precisions, **scores}


def _match(tables: BoxTables, pairs: Pairs, place: Tensor) -> Pairs:
    """The pairs that come about when prediction after prediction takes the nearest label left."""
    pairs = pairs.select(choices(place[pairs.pred], -pairs.values["distance"]))
    turn = turns(place[pairs.pred], tables.preds["sweep"][pairs.pred])
    everything = torch.ones(1, len(tables.target["labels"]), dtype=torch.bool)
    return pairs.select(take_turns(pairs.pred, pairs.target, turn, everything)[0])


def _curves(hits: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(101,) precision and score at recalls 0, 0.01 ... 1; zero where the recall was never reached."""
    # as numpy.linspace rounds and torch's does not: whether a recall of 0.7 reaches 70 * 0.01 decides what is there
    recalls = torch.arange(101, dtype=torch.float64) * 0.01
    if not hits.any():
        return torch.zeros_like(recalls), torch.zeros_like(recalls)
    true = hits.cumsum(0).double()
    recall, precision = true / count, true / torch.arange(1, len(true) + 1)
    return interpolate(recalls, recall, precision, right=0.0), interpolate(recalls, recall, scores, right=0.0)


def _average_precision(precision: Tensor) -> float:
    """Mean precision above 0.1 at recalls above 0.1, so that 1 stays 1."""
    return float((precision[FIRST:] - LOWEST).clamp(min=0).mean()) / (1 - LOWEST)


def _mean_errors(tables: BoxTables, matched: Pairs, confidence: Tensor, name: str) -> dict[str, float]:
    """Each error's running mean down to every recall's score, averaged over the recalls above 0.1 that were reached."""
    reached = confidence.nonzero()[:, 0]
    last = int(reached[-1]) if len(reached) else 0
    if last < FIRST:
        return {}
    scores = tables.preds["scores"][matched.pred].flip(0)
    means = {}
    for kind, error in _errors(tables, matched, name).items():
        by_recall = interpolate(confidence.flip(0), scores, _running_mean(error).flip(0)).flip(0)
        means[kind] = float(by_recall[FIRST : last + 1].mean())
    return means


def _errors(tables: BoxTables, matched: Pairs, name: str) -> dict[str, Tensor]:
    found = {key: column[matched.pred] for key, column in tables.preds.items()}
    true = {key: column[matched.target] for key, column in tables.target.items()}
    size_found, size_true = found["boxes"][:, 3:6], true["boxes"][:, 3:6]
    common = torch.minimum(size_found, size_true).prod(dim=1)
    period = math.pi if name == "barrier" else 2 * math.pi
    turned = (true["boxes"][:, 6] - found["boxes"][:, 6] + period / 2) % period - period / 2
    differs = (true["attributes"] != found["attributes"]).double()
    return {
        "ate": matched.values["distance"],
        "ase": 1 - common / (size_found.prod(dim=1) + size_true.prod(dim=1) - common),
        "aoe": turned.abs(),
        "ave": (found["velocity"] - true["velocity"]).norm(dim=1),
        "aae": torch.where(true["attributes"] < 0, math.nan, differs),
    }


def _running_mean(values: Tensor) -> Tensor:
    """Mean of the known ones up to each; 0 before the first, and 1 throughout where none is known."""
    known = ~values.isnan()
    if not known.any():
        return torch.ones_like(values)
    return values.nan_to_num(0.0).cumsum(0) / known.cumsum(0).clamp(min=1)
