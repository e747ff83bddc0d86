"""Metrics over sweeps: boxes gathered for one evaluation, and the pairs of predictions and labels that could match."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.geometry.boxes import CANDIDATES, paired_bev_iou, paired_iou_3d
from equissl.metrics.detection.boxes import WIDTH, DetectedBoxes, LabelledBoxes

BLOCK = 1 << 20  # pairs looked at in one go

Table = dict[str, Tensor]


@dataclass(frozen=True)
class BoxTables:
    """Boxes of all sweeps, in their order: columns by name, ``sweep`` among them."""

    preds: Table
    target: Table


class BoxCollector:
    """Collector of boxes, sweep after sweep, in float64 on the CPU: a few dozen bytes for each box.

    Predictions and labels with numbers that are not finite, and labels without volume, are left out and counted in
    ``unusable_preds`` and ``unusable_labels``: nothing could ever match them.

    Args:
        classes: how many; labels are -1 to classes - 1.
        preds: columns of the predictions to keep, beside boxes, scores and labels.
        target: columns of the labels to keep, beside boxes and labels.
    """

    def __init__(self, classes: int, preds: Sequence[str] = (), target: Sequence[str] = ()) -> None:
        self.classes = classes
        self._pred_names = ("boxes", "labels", "scores", *preds)
        self._target_names = ("boxes", "labels", *target)
        self.reset()

    def reset(self) -> None:
        """Forget all sweeps."""
        self._preds: list[Tensor] = []
        self._target: list[Tensor] = []
        self.unusable_preds = self.unusable_labels = 0

    def __len__(self) -> int:
        return len(self._preds)

    def add(self, preds: DetectedBoxes, target: LabelledBoxes) -> None:
        """Add one sweep.

        Args:
            preds: detected boxes of the sweep.
            target: its labels.

        Raises:
            ValueError: for class indices out of range.
        """
        self.check(preds, target)
        found, there = preds.columns(self._pred_names), target.columns(self._target_names)
        usable = found[:, :9].isfinite().all(dim=1)
        real = there[:, :7].isfinite().all(dim=1) & (there[:, 3:6] > 0).all(dim=1)
        self.unusable_preds += int((~usable).sum())
        self.unusable_labels += int((~real).sum())
        self._preds.append(found[usable])
        self._target.append(there[real])

    def check(self, preds: DetectedBoxes, target: LabelledBoxes) -> None:
        """Raise a ValueError for class indices out of range.

        Args:
            preds: detected boxes.
            target: labels.
        """
        for name, labels in (("predictions", preds.labels), ("labels", target.labels)):
            if labels.is_floating_point() or not ((labels >= -1) & (labels < self.classes)).all():
                values = f"{labels.dtype} {labels.unique().tolist()}"
                raise ValueError(f"expected integer classes of {name} in -1..{self.classes - 1}, got {values}")

    def joined(self) -> BoxTables:
        """Return the tables of all sweeps."""
        return BoxTables(_table(self._preds, self._pred_names), _table(self._target, self._target_names))


def _table(parts: list[Tensor], names: Sequence[str]) -> Table:
    widths = [WIDTH.get(name, 1) for name in names]
    rows = torch.cat([torch.zeros(0, sum(widths), dtype=torch.float64), *parts])
    columns = zip(names, rows.split(widths, dim=1), strict=True)
    table = {name: column if name in WIDTH else column[:, 0] for name, column in columns}
    counts = torch.tensor([len(part) for part in parts], dtype=torch.long)
    return {**table, "labels": table["labels"].long(), "sweep": torch.arange(len(parts)).repeat_interleave(counts)}


class DetectionMetric(ABC):
    """Metric over sweeps: ``update`` with each one, ``compute`` the results by name, ``reset`` to begin again."""

    def __init__(self, store: BoxCollector, prefix: str) -> None:
        self._store, self.prefix = store, prefix

    def update(self, preds: DetectedBoxes, target: LabelledBoxes) -> None:
        """Add one sweep; what is no box is left out and counted (see :class:`BoxCollector`).

        Args:
            preds: detected boxes of the sweep.
            target: its labels.

        Raises:
            ValueError: for class indices out of range.
        """
        self._store.add(preds, target)

    def reset(self) -> None:
        """Forget all sweeps."""
        self._store.reset()

    def compute(self) -> dict[str, float]:
        """Compute the flat results of the class, with ``sweeps``, ``unusable_preds`` and ``unusable_labels``."""
        with _one_thread():
            return self._results()

    def _results(self) -> dict[str, float]:
        store = self._store
        counts = {
            "sweeps": len(store),
            "unusable_preds": store.unusable_preds,
            "unusable_labels": store.unusable_labels,
        }
        scores = {**self._scores(store.joined()), **counts}
        return {f"{self.prefix}/{name}": float(value) for name, value in scores.items()}

    @abstractmethod
    def _scores(self, tables: BoxTables) -> dict[str, float]:
        """Results by name, without the prefix."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread: in thousands of short operations, waiting threads take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Pairs:
    """P pairs of a prediction and a label of one sweep.

    Attributes:
        pred: (P,) row of the predictions.
        target: (P,) row of the labels.
        values: (P,) by name.
    """

    pred: Tensor
    target: Tensor
    values: Table

    def __len__(self) -> int:
        return len(self.pred)

    def select(self, chosen: Tensor) -> Pairs:
        """Select pairs by index or mask."""
        values = {name: value[chosen] for name, value in self.values.items()}
        return Pairs(self.pred[chosen], self.target[chosen], values)


def overlapping_pairs(tables: BoxTables) -> Pairs:
    """Find pairs that overlap from above, with their ``bev`` and ``3d`` overlap: intersection over union."""
    pairs = _near(tables, lambda boxes: boxes[:, 3:5].clamp(min=0).norm(dim=1) / 2)
    parts = list(zip(pairs.pred.split(CANDIDATES), pairs.target.split(CANDIDATES), strict=True))
    a, b = tables.preds["boxes"], tables.target["boxes"]
    bev = torch.cat([paired_bev_iou(a[i], b[j]) for i, j in parts])
    return Pairs(
        pairs.pred, pairs.target, {"bev": bev, "3d": torch.cat([paired_iou_3d(a[i], b[j]) for i, j in parts])}
    ).select(bev > 0)


def nearby_pairs(tables: BoxTables, reach: float) -> Pairs:
    """Find pairs whose centres are closer than ``reach`` metres seen from above, with their ``distance``.

    Args:
        tables: boxes of all sweeps.
        reach: metres.
    """
    pairs = _near(tables, lambda boxes: boxes.new_full((len(boxes),), reach / 2))
    offset = tables.preds["boxes"][pairs.pred, :2] - tables.target["boxes"][pairs.target, :2]
    return Pairs(pairs.pred, pairs.target, {"distance": offset.norm(dim=1)})


def _near(tables: BoxTables, radius: Callable[[Tensor], Tensor]) -> Pairs:
    """Pairs whose circles of that radius meet."""
    a, b = tables.preds["boxes"], tables.target["boxes"]
    (ax, ay), (bx, by) = a[:, :2].unbind(1), b[:, :2].unbind(1)
    reach_a, reach_b = radius(a), radius(b)
    found = []
    for i, j in _same_sweep(tables):
        near = (ax[i] - bx[j]).square() + (ay[i] - by[j]).square() < (reach_a[i] + reach_b[j]).square()
        found.append((i[near], j[near]))
    pred, target = (torch.cat([torch.zeros(0, dtype=torch.long), *parts]) for parts in zip(*found, strict=True))
    return Pairs(pred, target, {})


def _same_sweep(tables: BoxTables) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every pair of one sweep, a bounded number at a time."""
    sweep = tables.target["sweep"]
    first, past = (torch.searchsorted(sweep, tables.preds["sweep"], right=right) for right in (False, True))
    partners, start = past - first, 0
    ends = partners.cumsum(0)
    while start < len(ends) or start == 0:
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(ends, done + BLOCK, right=True)))
        rows = torch.arange(start, min(stop, len(ends)))
        i = rows.repeat_interleave(partners[rows])
        # counts up from the first partner of each prediction
        yield i, torch.arange(len(i)) + done - (ends - partners - first)[i]
        start = stop
