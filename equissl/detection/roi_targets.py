"""Proposals that a second stage learns from, and their targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.detection.detections import Detections
from equissl.geometry.boxes import iou_3d


@dataclass(frozen=True)
class SampleConfig:
    """Settings of the sampling of proposals by overlap with an object. The defaults are those of Voxel R-CNN.

    Attributes:
        count: proposals drawn of each sweep, at least 2; with repetition where there are too few.
        foreground: share of foreground ones at most.
        matched: of at least this overlap is foreground, whose boxes are refined.
        hard: background of at least this overlap is hard.
        hard_share: largest share of hard proposals in the background.
        unsure, sure: overlaps at which the confidence to answer is 0 and 1; it rises linearly between them.

    Raises:
        ValueError: for shares outside 0..1, thresholds out of order, or fewer than 2 proposals.
    """

    count: int = 128
    foreground: float = 0.5
    matched: float = 0.55
    hard: float = 0.1
    hard_share: float = 0.8
    unsure: float = 0.25
    sure: float = 0.75

    def __post_init__(self) -> None:
        shares = 0 <= self.foreground <= 1 and 0 <= self.hard_share <= 1
        if self.count < 2 or not shares or not (0 <= self.hard <= self.matched <= 1 and self.unsure < self.sure):
            raise ValueError(f"expected count >= 2, shares in 0..1, hard <= matched and unsure < sure, got {self}")


@dataclass(frozen=True)
class RoITargets:
    """R proposals of one sweep and their targets.

    Attributes:
        rois: (R, 7) boxes.
        overlaps: (R,) with the object of their class that they overlap most; 0 without any.
        objects: (R, 7) that object; zeros without any.
    """

    rois: Tensor
    overlaps: Tensor
    objects: Tensor


@torch.no_grad()
def match_proposals(proposals: Detections, boxes: Tensor, labels: Tensor) -> RoITargets:
    """Match all proposals of a sweep with the objects that they overlap most in 3D.

    Args:
        proposals: proposals of the sweep.
        boxes: (M, 7) objects.
        labels: (M,) classes.
    """
    if len(boxes) == 0:
        return RoITargets(proposals.boxes, torch.zeros_like(proposals.scores), torch.zeros_like(proposals.boxes))
    boxes = boxes.to(proposals.boxes)
    same = proposals.labels[:, None] == labels
    overlaps, owner = (iou_3d(proposals.boxes, boxes) * same).max(dim=1)
    objects = torch.where(overlaps[:, None] > 0, boxes[owner], torch.zeros_like(proposals.boxes))
    return RoITargets(proposals.boxes, overlaps, objects)


def draw_proposals(overlaps: Tensor, config: SampleConfig, seed: int) -> Tensor:
    """Rows (count,) of the proposals drawn: foreground without repetition, background with it; none of none.

    Where one of the two is missing, the other fills its place, with repetition.

    Args:
        overlaps: (K,) of the proposals.
        config: how many of which.
        seed: seed of the draw.
    """
    draw = torch.Generator().manual_seed(seed)
    overlap = overlaps.cpu()
    foreground = torch.nonzero(overlap >= config.matched).flatten()
    hard = torch.nonzero((overlap < config.matched) & (overlap >= config.hard)).flatten()
    easy = torch.nonzero(overlap < config.hard).flatten()
    if len(hard) + len(easy) == 0:
        chosen = _repeated(foreground, config.count, draw)
    else:
        most = min(round(config.count * config.foreground), len(foreground))
        rest = config.count - most
        difficult = min(int(rest * config.hard_share), len(hard)) if len(easy) else rest
        shuffled = foreground[torch.randperm(len(foreground), generator=draw)[:most]]
        chosen = torch.cat([shuffled, _repeated(hard, difficult, draw), _repeated(easy, rest - difficult, draw)])
    return chosen.to(overlaps.device)


def confidence_target(overlaps: Tensor, config: SampleConfig) -> Tensor:
    """Compute the target confidence of proposals: 0 up to ``unsure``, 1 from ``sure`` on.

    Args:
        overlaps: (...) with an object, in 3D.
        config: settings of the sampling.
    """
    return ((overlaps - config.unsure) / (config.sure - config.unsure)).clamp(0, 1)


def sample_proposals(
    proposals: Detections, boxes: Tensor, labels: Tensor, config: SampleConfig, seed: int
) -> RoITargets:
    """Sample the proposals of a sweep to learn from, see `match_proposals` and `draw_proposals`.

    Args:
        proposals: proposals of the sweep.
        boxes: (M, 7) objects.
        labels: (M,) classes.
        config: settings of the sampling.
        seed: seed of the draw.
    """
    found = match_proposals(proposals, boxes, labels)
    rows = draw_proposals(found.overlaps, config, seed)
    return RoITargets(found.rois[rows], found.overlaps[rows], found.objects[rows])


def _repeated(rows: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """(count,) of them, each drawn anew; none where there are none."""
    if len(rows) == 0:
        return rows
    return rows[torch.randint(len(rows), (count,), generator=draw)]
