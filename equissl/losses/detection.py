"""Losses of box detectors, element by element; the head weights and sums them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from equissl.geometry.boxes import box_corners

# of the centre head: probabilities are kept this far from 0 and 1
_CLAMP = 1e-4


def sigmoid_focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Cross-entropy of independent classes in which easy elements count little (Lin et al., ICCV 2017, eq. 5).

    Args:
        logits: any shape.
        target: 0 or 1, of the same shape.
        alpha: weight of positive elements; negative ones have ``1 - alpha``.
        gamma: how fast the weight of an element falls with its probability of being right.

    Returns:
        one loss for each element.
    """
    probability = logits.sigmoid()
    miss = target * (1 - probability) + (1 - target) * probability
    weight = target * alpha + (1 - target) * (1 - alpha)
    return weight * miss**gamma * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def smooth_l1(difference: Tensor, beta: float = 1 / 9) -> Tensor:
    """``d² / 2β`` within β of zero, ``|d| - β/2`` beyond (Girshick, ICCV 2015), for each element.

    Args:
        difference: of any shape.
        beta: β, where the square ends.
    """
    size = difference.abs()
    return torch.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta)


def sine_difference(preds: Tensor, target: Tensor) -> Tensor:
    """Box codes' difference whose last entry is ``sin(r̂ - r)``: a box and the same turned by π are one (SECOND, 2018).

    Args:
        preds: (..., 7) codes, the angle last.
        target: likewise.

    Returns:
        (..., 7).
    """
    angle = preds[..., -1:].sin() * target[..., -1:].cos() - preds[..., -1:].cos() * target[..., -1:].sin()
    return torch.cat([preds[..., :-1] - target[..., :-1], angle], dim=-1)


def corner_loss(preds: Tensor, target: Tensor) -> Tensor:
    """Compute the distance of predicted from true corners of boxes, the heading's sign left open.

    Smooth L1 (β 1 m) of each corner's distance to its place in the box or in the same turned by π, whichever is nearer,
    in the mean over corners (Qi et al., Frustum PointNets, CVPR 2018, eq. 2).

    Args:
        preds: (..., 7) boxes.
        target: likewise.

    Returns:
        (...).
    """
    turned = torch.cat([target[..., :6], target[..., 6:] + math.pi], dim=-1)
    corners = box_corners(preds)
    distances = [(corners - box_corners(boxes)).norm(dim=-1) for boxes in (target, turned)]
    return smooth_l1(torch.minimum(*distances), beta=1.0).mean(dim=-1)


def heatmap_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of maps with Gaussian peaks (CornerNet, Law and Deng, ECCV 2018, eq. 1), over the number of peaks.

    Near a peak, where the target is close to 1, a high answer is punished little.

    Args:
        logits: any shape.
        target: of the same shape in 0..1, exactly 1 at the objects' own cells.

    Returns:
        scalar: the sum over elements over the number of those cells, at least 1.
    """
    p = logits.sigmoid().clamp(_CLAMP, 1 - _CLAMP)
    peaks = target == 1
    at_peaks = (1 - p) ** 2 * p.log()
    elsewhere = (1 - target) ** 4 * p**2 * (1 - p).log()
    return -torch.where(peaks, at_peaks, elsewhere).sum() / peaks.sum().clamp(min=1)
