"""SECOND's head: class, box and direction of every anchor, with OpenPCDet's parameter names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equissl.detection.anchors import IGNORED, ROTATIONS, AnchorClass, assign_objects, make_anchors
from equissl.detection.box_code import DIRECTIONS, decode_boxes, direction_bin, encode_boxes, point_along
from equissl.detection.detections import Detections, SelectConfig, select
from equissl.detection.head import DetectionHead
from equissl.losses.detection import sigmoid_focal_loss, sine_difference, smooth_l1

PRIOR = 0.01  # probability of every class at initialisation


@dataclass(frozen=True)
class AnchorOutputs:
    """Outputs for B sweeps and A anchors, in the order (y, x, class, rotation).

    Attributes:
        classes: (B, A, C) logits.
        codes: (B, A, 7) box codes.
        directions: (B, A, 2) logits.
    """

    classes: Tensor
    codes: Tensor
    directions: Tensor


@dataclass(frozen=True)
class AnchorTargets:
    """Targets of the anchors of one sweep.

    Attributes:
        labels: (A,) int64 class, `BACKGROUND` or `IGNORED`.
        codes: (A, 7) code of the object that an anchor answers for; zeros elsewhere.
        directions: (A,) int64 bin of its heading.
    """

    labels: Tensor
    codes: Tensor
    directions: Tensor


@dataclass(frozen=True)
class AnchorWeights:
    """Weights of the three losses."""

    classes: float = 1.0
    boxes: float = 2.0
    directions: float = 0.2


class AnchorHead(DetectionHead):
    """Anchor-based head: 1 x 1 convolutions on the map (B, channels, Y, X).

    Args:
        channels: channels of the map.
        classes: C of them, with their anchors.
        point_range: lowest x, y, z and highest x, y, z in metres.
        cells: cells of the map along y, x.
        choose: how detections are selected.
        weights: weights of the losses.
    """

    anchors: Tensor

    def __init__(
        self,
        channels: int,
        classes: Sequence[AnchorClass],
        point_range: Sequence[float],
        cells: tuple[int, int],
        choose: SelectConfig,
        weights: AnchorWeights,
    ) -> None:
        super().__init__()
        self.classes, self.choose, self.weights = tuple(classes), choose, weights
        per_cell = len(classes) * len(ROTATIONS)
        self.conv_cls = nn.Conv2d(channels, per_cell * len(classes), 1)
        self.conv_box = nn.Conv2d(channels, per_cell * 7, 1)
        self.conv_dir_cls = nn.Conv2d(channels, per_cell * DIRECTIONS, 1)
        nn.init.constant_(self.conv_cls.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]
        nn.init.normal_(self.conv_box.weight, mean=0, std=0.001)
        self.register_buffer("anchors", make_anchors(classes, point_range, cells), persistent=False)

    def openpcdet(self, stride: int) -> dict[str, Any]:
        generators = [
            {
                "class_name": kind.name,
                "anchor_sizes": [list(kind.size)],
                "anchor_rotations": list(ROTATIONS),
                "anchor_bottom_heights": [kind.bottom],
                "align_center": False,
                "feature_map_stride": stride,
                "matched_threshold": kind.matched,
                "unmatched_threshold": kind.unmatched,
            }
            for kind in self.classes
        ]
        return {"NAME": "AnchorHeadSingle", "ANCHOR_GENERATOR_CONFIG": generators}

    def forward(self, x: Tensor) -> AnchorOutputs:
        """Compute the outputs of all anchors, in full precision."""
        batch = len(x)
        classes, codes, directions = (
            layer(x).permute(0, 2, 3, 1).reshape(batch, -1, width).float()
            for layer, width in (
                (self.conv_cls, len(self.classes)), (self.conv_box, 7), (self.conv_dir_cls, DIRECTIONS)
            )
        )  # fmt: skip
        return AnchorOutputs(classes, codes, directions)

    @torch.no_grad()
    def targets(self, boxes: Tensor, labels: Tensor) -> AnchorTargets:
        """Compute the anchors' targets for the objects (M, 7) of one sweep, whose classes are ``labels`` (M,).

        Every class' anchors are matched with that class' objects alone.

        Args:
            boxes: (M, 7).
            labels: (M,) classes.
        """
        flat = self.anchors.flatten(0, -2)
        owner = flat.new_full(self.anchors.shape[:-1], IGNORED, dtype=torch.int64)
        for number, kind in enumerate(self.classes):
            rows = torch.nonzero(labels == number).flatten()
            anchors = self.anchors[:, :, number].reshape(-1, 7)
            found = assign_objects(anchors, boxes[rows].to(anchors), kind.matched, kind.unmatched)
            if len(rows):
                found = torch.where(found >= 0, rows[found.clamp(min=0)], found)
            owner[:, :, number] = found.view(owner[:, :, number].shape)
        owner = owner.flatten()
        codes, directions, wanted = torch.zeros_like(flat), torch.zeros_like(owner), owner.clone()
        positive = torch.nonzero(owner >= 0).flatten()
        objects = boxes.to(flat)[owner[positive]]
        codes[positive] = encode_boxes(objects, flat[positive])
        directions[positive] = direction_bin(objects[:, 6])
        wanted[positive] = labels[owner[positive]]
        return AnchorTargets(wanted, codes, directions)

    def loss(
        self,
        outputs: AnchorOutputs,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        velocities: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum each sweep's losses over anchors, divided by its number of positive ones, at least 1.

        Args:
            outputs: outputs of `forward`.
            boxes: (M, 7) of each sweep.
            labels: (M,) classes of each sweep.
            velocities: not used.
        """
        found = [self.targets(*objects) for objects in zip(boxes, labels, strict=True)]
        wanted = torch.stack([target.labels for target in found])
        codes, directions = (torch.stack([getattr(t, name) for t in found]) for name in ("codes", "directions"))
        positive = wanted >= 0
        share = 1 / positive.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
        one_hot = F.one_hot(wanted.clamp(min=0), len(self.classes)) * positive[..., None]
        focal = sigmoid_focal_loss(outputs.classes, one_hot.to(outputs.classes)).sum(dim=-1)
        box = smooth_l1(sine_difference(outputs.codes, codes)).sum(dim=-1)
        direction = F.cross_entropy(outputs.directions.transpose(1, 2), directions, reduction="none")
        terms = {
            "classification": (focal * (wanted != IGNORED) * share).sum() / len(found),
            "box": (box * positive * share).sum() / len(found),
            "direction": (direction * positive * share).sum() / len(found),
        }
        weights = (self.weights.classes, self.weights.boxes, self.weights.directions)
        loss = torch.stack([w * term for w, term in zip(weights, terms.values(), strict=True)]).sum()
        terms["positives"] = positive.sum() / len(found)
        return loss, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def detect(self, outputs: AnchorOutputs, choose: SelectConfig | None = None) -> list[Detections]:
        """Choose among the overlapping boxes of each anchor's best class.

        Args:
            outputs: outputs of `forward`.
            choose: another selection than the head's own.
        """
        anchors = self.anchors.flatten(0, -2)
        found = []
        for classes, codes, directions in zip(outputs.classes, outputs.codes, outputs.directions, strict=True):
            scores, labels = classes.sigmoid().max(dim=-1)
            boxes = decode_boxes(codes, anchors)
            heading = point_along(boxes[:, 6], directions.argmax(dim=-1))
            found.append(
                select(torch.cat([boxes[:, :6], heading[:, None]], dim=1), scores, labels, choose or self.choose)
            )
        return found
