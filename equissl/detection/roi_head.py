"""Voxel R-CNN's second stage: proposals refined by the voxels inside them, with OpenPCDet's parameter names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equissl.detection.box_code import decode_refinement, encode_refinement
from equissl.detection.detections import Detections, SelectConfig, select
from equissl.detection.grid_pool import GridPool, PoolConfig
from equissl.detection.roi_targets import SampleConfig, confidence_target, sample_proposals
from equissl.encoders.voxel import SweepFeatures
from equissl.geometry.box_frames import box_grid
from equissl.losses.detection import corner_loss, smooth_l1
from equissl.sparse import VoxelGrid


@dataclass(frozen=True)
class RoILayers:
    """Fully connected layers behind the pooling, and weights of their losses.

    Attributes:
        shared, classes, boxes: widths of the layers of both branches, and of each.
        dropout: between the layers of a branch.
        class_weight, box_weight, corner_weight: of the losses.

    Raises:
        ValueError: for a branch without layers, widths that are not positive, or a dropout outside 0..1.
    """

    shared: tuple[int, ...] = (256, 256)
    classes: tuple[int, ...] = (256, 256)
    boxes: tuple[int, ...] = (256, 256)
    dropout: float = 0.3
    class_weight: float = 1.0
    box_weight: float = 1.0
    corner_weight: float = 1.0

    def __post_init__(self) -> None:
        branches = (self.shared, self.classes, self.boxes)
        if not all(widths and min(widths) > 0 for widths in branches) or not 0 <= self.dropout < 1:
            raise ValueError(f"expected branches of positive widths and a dropout in [0, 1), got {self}")


class RoIHead(nn.Module):
    """Head that pools voxels at a grid of points in each proposal, and refines its confidence and box.

    Confidence and box are the same layers' for all classes; a refined box keeps its proposal's class.

    Args:
        channels: channels of the backbone's stages.
        grid: grid of the voxeliser.
        pool: what is pooled.
        sample: which proposals are learnt from.
        layers: behind the pooling.
        choose: how detections are selected.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        grid: VoxelGrid,
        pool: PoolConfig,
        sample: SampleConfig,
        layers: RoILayers,
        choose: SelectConfig,
    ) -> None:
        super().__init__()
        self.pool, self.sample, self.layers, self.choose = pool, sample, layers, choose
        radii = pool.radii if pool.query == "ball" else (None,) * len(pool.stages)
        self.roi_grid_pool_layers = nn.ModuleList(
            GridPool(channels[stage], grid, pool, radius) for stage, radius in zip(pool.stages, radii, strict=True)
        )
        pooled = pool.points**3 * pool.width * len(pool.stages)
        self.shared_fc_layer = _connected(pooled, layers.shared, layers.dropout)
        self.cls_fc_layers = _connected(layers.shared[-1], layers.classes, layers.dropout)
        self.cls_pred_layer = _last(layers.classes[-1], 1, std=0.01)
        self.reg_fc_layers = _connected(layers.shared[-1], layers.boxes, layers.dropout)
        self.reg_pred_layer = _last(layers.boxes[-1], 7, std=0.001)

    def openpcdet(self) -> dict[str, Any]:
        """Return the keys ``MODEL.ROI_HEAD`` of OpenPCDet's configs, and the kind of query, which there is a ball."""
        pool, layers = self.pool, self.layers
        return {
            "NAME": "VoxelRCNNHead",
            "CLASS_AGNOSTIC": True,
            "SHARED_FC": list(layers.shared),
            "CLS_FC": list(layers.classes),
            "REG_FC": list(layers.boxes),
            "DP_RATIO": layers.dropout,
            "ROI_GRID_POOL.GRID_SIZE": pool.points,
            "ROI_GRID_POOL.FEATURES_SOURCE": [f"x_{stage}" for stage in pool.stages],
            "ROI_GRID_POOL.POOL_LAYERS": {
                f"x_{stage}": {
                    "MLPS": [[pool.width, pool.width]],
                    "QUERY_RANGES": [[pool.reach] * 3],
                    "POOL_RADIUS": [layer.radius],
                    "NSAMPLE": [pool.samples],
                    "POOL_METHOD": "max_pool",
                }
                for stage, layer in zip(pool.stages, self.roi_grid_pool_layers, strict=True)
            },
            "query": pool.query,
        }

    def forward(self, encoded: SweepFeatures, rois: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute logits (R,) of confidence and codes (R, 7) of refinement of the joined regions of each sweep.

        Args:
            encoded: features of the batch.
            rois: (R_b, 7) regions of each sweep.
        """
        joined = torch.cat(list(rois))
        if len(joined) == 0:
            return joined.new_zeros(0), joined
        shared = self.shared_fc_layer(self.pooled(encoded, rois).flatten(1))
        logits = self.cls_pred_layer(self.cls_fc_layers(shared)).squeeze(1)
        return logits.float(), self.reg_pred_layer(self.reg_fc_layers(shared)).float()

    def pooled(self, encoded: SweepFeatures, rois: Sequence[Tensor]) -> Tensor:
        """Pool (R, points³, stages · width) features at the grid points of regions, at least one.

        Args:
            encoded: features of the batch.
            rois: (R_b, 7) regions of each sweep.
        """
        points = box_grid(torch.cat(list(rois)), self.pool.points)
        counts = torch.tensor([len(boxes) for boxes in rois], device=points.device)
        batch = torch.arange(len(rois), device=points.device).repeat_interleave(counts * points.shape[1])
        features = [
            layer(encoded.stage(name), points.flatten(0, 1), batch)
            for name, layer in zip(self.pool.stages, self.roi_grid_pool_layers, strict=True)
        ]
        return torch.cat(features, dim=1).unflatten(0, points.shape[:2])

    def loss(
        self,
        encoded: SweepFeatures,
        proposals: Sequence[Detections],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        seeds: Sequence[int],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its detached terms, over the proposals drawn of each sweep.

        Args:
            encoded: features of B sweeps.
            proposals: proposals of each sweep.
            boxes: (M_b, 7) its objects.
            labels: (M_b,) int64 their classes.
            seeds: seeds of the draw in each sweep.
        """
        sweeps = zip(proposals, boxes, labels, seeds, strict=True)
        drawn = [sample_proposals(found, own, kinds, self.sample, seed) for found, own, kinds, seed in sweeps]
        logits, codes = self(encoded, [targets.rois for targets in drawn])
        rois, overlaps, objects = (torch.cat([getattr(t, n) for t in drawn]) for n in ("rois", "overlaps", "objects"))
        wanted = confidence_target(overlaps, self.sample)
        confidence = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / max(1, len(rois))
        matched = overlaps >= self.sample.matched
        rois, objects, codes = rois[matched], objects[matched], codes[matched]
        share = 1 / max(1, len(rois))
        terms = {
            "roi_classification": confidence,
            "roi_box": smooth_l1(codes - encode_refinement(objects, rois)).sum() * share,
            "roi_corner": corner_loss(decode_refinement(codes, rois), objects).sum() * share,
        }
        weights = (self.layers.class_weight, self.layers.box_weight, self.layers.corner_weight)
        loss = torch.stack([w * term for w, term in zip(weights, terms.values(), strict=True)]).sum()
        terms["roi_positives"] = matched.sum() / len(drawn)
        return loss, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def detect(self, encoded: SweepFeatures, proposals: Sequence[Detections]) -> list[Detections]:
        """Refine the proposals of each sweep, and choose by confidence among those that overlap.

        Args:
            encoded: features of the batch.
            proposals: proposals of each sweep.
        """
        rois = [found.boxes for found in proposals]
        logits, codes = self(encoded, rois)
        boxes = decode_refinement(codes, torch.cat(rois))
        counts = [len(found) for found in proposals]
        return [
            select(refined, scores, found.labels, self.choose)
            for refined, scores, found in zip(
                boxes.split(counts), logits.sigmoid().split(counts), proposals, strict=True
            )
        ]


def _connected(inputs: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        if layers and dropout > 0:
            layers.append(nn.Dropout(dropout))
        linear = nn.Linear(inputs, width, bias=False)
        nn.init.xavier_normal_(linear.weight)
        layers += [linear, nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers)


def _last(inputs: int, outputs: int, std: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return linear
