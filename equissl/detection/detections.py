"""Detections of a sweep, and the choice among overlapping candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.geometry.boxes import limit_heading, rotated_nms


@dataclass(frozen=True)
class Detections:
    """K boxes of one sweep, by falling score.

    Attributes:
        boxes: (K, 7) centre, size, heading in -π..π.
        scores: (K,) in 0..1.
        labels: (K,) int64 class.
        velocities: (K, 2) metres a second over ground, along x and y; None of a detector that tells none.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    velocities: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, chosen: Tensor) -> Detections:
        """Select detections by index or mask."""
        return self._map(lambda column: column[chosen])

    def to(self, device: torch.device | str) -> Detections:
        return self._map(lambda column: column.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Detections:
        velocities = None if self.velocities is None else change(self.velocities)
        return Detections(change(self.boxes), change(self.scores), change(self.labels), velocities)


@dataclass(frozen=True)
class SelectConfig:
    """Settings of the selection of detections. The defaults are those of SECOND on KITTI.

    Attributes:
        score: candidates of at least this score are looked at.
        overlap: of two boxes that overlap from above by more than this (intersection over union), whatever their
            classes, only the one with the higher score stays.
        before: at most so many candidates, the best ones, are compared.
        after: at most so many are kept.

    Raises:
        ValueError: for a score or an overlap outside 0..1, or counts below 1.
    """

    score: float = 0.1
    overlap: float = 0.01
    before: int = 4096
    after: int = 500

    def __post_init__(self) -> None:
        if not (0 <= self.score <= 1 and 0 <= self.overlap <= 1) or min(self.before, self.after) < 1:
            raise ValueError(f"expected score and overlap in 0..1 and positive counts, got {self}")


@torch.no_grad()
def select(
    boxes: Tensor, scores: Tensor, labels: Tensor, config: SelectConfig, velocities: Tensor | None = None
) -> Detections:
    """Select detections among candidates: (N, 7) boxes, (N,) scores, (N,) labels, perhaps (N, 2) velocities.

    Candidates that are not finite, as an untrained head can make them, are left out.

    Args:
        boxes: (N, 7).
        scores: (N,).
        labels: (N,) classes.
        config: settings of the selection.
        velocities: (N, 2), or None.
    """
    numbers = boxes if velocities is None else torch.cat([boxes, velocities], dim=1)
    kept = torch.nonzero((scores >= config.score) & numbers.isfinite().all(dim=1)).flatten()
    best = scores[kept].topk(min(config.before, len(kept))).indices
    kept = kept[best]
    kept = kept[rotated_nms(boxes[kept], scores[kept], config.overlap, config.after)]
    boxes = torch.cat([boxes[kept, :6], limit_heading(boxes[kept, 6:])], dim=1)
    return Detections(boxes, scores[kept], labels[kept], None if velocities is None else velocities[kept])
