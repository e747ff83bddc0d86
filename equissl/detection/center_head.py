"""CenterPoint's head: a map of centres for each class, and the box at each centre, with OpenPCDet's parameter names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.detection.detections import Detections, SelectConfig, select
from equissl.detection.head import DetectionHead
from equissl.detection.heatmaps import draw_peak, gaussian_radius
from equissl.losses.detection import heatmap_focal_loss

# outputs of each task beside its heatmaps, and their channels: together a box as offset, z, log sizes, cos and sin
REGRESSION = {"center": 2, "center_z": 1, "dim": 3, "rot": 2}
VELOCITY = {"vel": 2}  # and this where velocities are asked for: metres a second along x and y
MOST_OBJECTS = 500
WIDTH = 64
PEAK_BIAS = -2.19  # of the heatmaps: a probability of 0.1 at initialisation


@dataclass(frozen=True, kw_only=True)
class CenterClass(ObjectClass):
    """A class, and the group of classes (task) that it shares a branch of the head with."""

    task: int = 0


@dataclass(frozen=True)
class CenterWeights:
    """Weights of the maps' loss and of the boxes' loss; within the latter, of two of its parts.

    Attributes:
        heatmap: weight of the maps.
        boxes: weight of the boxes.
        heading: weight of cosine and sine.
        velocity: of the velocity, where it is told; 0.2 as in CenterPoint. OpenPCDet has its 0.2 at the same positions
            of another order of outputs, where heading's cosine and sine are.
    """

    heatmap: float = 1.0
    boxes: float = 2.0
    heading: float = 1.0
    velocity: float = 0.2


@dataclass(frozen=True)
class CenterTargets:
    """Targets of one task for one sweep.

    Attributes:
        heatmaps: (C, Y, X) in 0..1.
        cells: (N,) int64 flat cell of each object's centre.
        boxes: (N, 8) offset in the cell (x, y), z, log sizes, cosine and sine of the heading.
        velocities: (N, 2) metres a second along x and y, NaN where unknown.
    """

    heatmaps: Tensor
    cells: Tensor
    boxes: Tensor
    velocities: Tensor


class SeparateHead(nn.Module):
    """One task's convolutions: 3 x 3, BatchNorm, ReLU, 3 x 3 for each output."""

    def __init__(self, channels: int, outputs: dict[str, int], bias: bool) -> None:
        super().__init__()
        for name, width in outputs.items():
            first, last = (
                nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
                nn.Conv2d(channels, width, 3, padding=1),
            )
            setattr(self, name, nn.Sequential(nn.Sequential(first, nn.BatchNorm2d(channels), nn.ReLU()), last))
            if name == "hm":
                nn.init.constant_(last.bias, PEAK_BIAS)  # type: ignore[arg-type]
                continue
            for layer in (first, last):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: layer(x).float() for name, layer in self.named_children()}


class CenterHead(DetectionHead):
    """Centre-based head on a map (B, channels, Y, X).

    Args:
        channels: channels of the map.
        classes: with the task of each.
        point_range: lowest x, y, z and highest x, y, z in metres.
        cells: cells of the map along y, x.
        choose: how detections are selected; each task by itself.
        weights: weights of the losses.
        bias: bias of the convolutions before a BatchNorm, which it makes no difference to; OpenPCDet's recipes have it.
        velocity: also tell how fast objects move over ground.
    """

    def __init__(
        self,
        channels: int,
        classes: Sequence[CenterClass],
        point_range: Sequence[float],
        cells: tuple[int, int],
        choose: SelectConfig,
        weights: CenterWeights,
        bias: bool = True,
        velocity: bool = False,
    ) -> None:
        super().__init__()
        self.choose, self.weights, self.cells, self.velocity = choose, weights, cells, velocity
        self.low = tuple(point_range[:2])
        self.size = tuple((point_range[3 + axis] - point_range[axis]) / cells[1 - axis] for axis in (0, 1))
        tasks = sorted({kind.task for kind in classes})
        self.tasks = [[i for i, kind in enumerate(classes) if kind.task == task] for task in tasks]
        self.shared_conv = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, padding=1, bias=bias), nn.BatchNorm2d(WIDTH), nn.ReLU()
        )
        self.regression = REGRESSION | VELOCITY if velocity else REGRESSION
        self.heads_list = nn.ModuleList(
            SeparateHead(WIDTH, {**self.regression, "hm": len(members)}, bias) for members in self.tasks
        )

    def openpcdet(self, stride: int) -> dict[str, Any]:
        return {"NAME": "CenterHead"}

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        """Compute for each task ``hm`` (B, classes, Y, X) logits, and maps of `REGRESSION`, perhaps of `VELOCITY`."""
        x = self.shared_conv(x)
        return [head(x) for head in self.heads_list]

    @torch.no_grad()
    def targets(self, boxes: Tensor, labels: Tensor, task: int, velocities: Tensor | None = None) -> CenterTargets:
        """Compute a task's targets for the objects (M, 7) of one sweep; those centred out of range are left out.

        Args:
            boxes: (M, 7).
            labels: (M,) classes.
            task: index of the task.
            velocities: (M, 2), or None.
        """
        velocities = boxes.new_full((len(boxes), 2), math.nan) if velocities is None else velocities
        members = self.tasks[task]
        position = (boxes[:, :2] - boxes.new_tensor(self.low)) / boxes.new_tensor(self.size)  # x, y in cells
        inside = ((position >= 0) & (position < position.new_tensor(self.cells[::-1]))).all(dim=1)
        own = torch.isin(labels, labels.new_tensor(members)) & inside
        rows = torch.nonzero(own).flatten()[:MOST_OBJECTS]
        heatmaps = boxes.new_zeros(len(members), *self.cells)
        cells = position[rows].long()
        for row, (x, y) in zip(rows.tolist(), cells.tolist(), strict=True):
            length, width = (boxes[row, 3:5] / boxes.new_tensor(self.size)).tolist()
            draw_peak(heatmaps[members.index(int(labels[row]))], (y, x), gaussian_radius((length, width)))
        chosen = boxes[rows]
        heading = torch.stack([chosen[:, 6].cos(), chosen[:, 6].sin()], dim=1)
        parts = [position[rows] - cells, chosen[:, 2:3], chosen[:, 3:6].log(), heading]
        place = cells[:, 1] * self.cells[1] + cells[:, 0]
        return CenterTargets(heatmaps, place, torch.cat(parts, dim=1), velocities[rows])

    def loss(
        self,
        outputs: list[dict[str, Tensor]],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        velocities: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses over tasks; each is divided by its number of objects in the batch, at least 1.

        Args:
            outputs: outputs of `forward`.
            boxes: (M, 7) of each sweep.
            labels: (M,) classes of each sweep.
            velocities: (M, 2) of each sweep, NaN where unknown; or None.
        """
        heat, box, motion = [], [], []
        moving = [None] * len(boxes) if velocities is None else velocities
        for task, output in enumerate(outputs):
            sweeps = zip(boxes, labels, moving, strict=True)
            found = [self.targets(own, kinds, task, speeds) for own, kinds, speeds in sweeps]
            heat.append(heatmap_focal_loss(output["hm"], torch.stack([target.heatmaps for target in found])))
            maps = self._regression(output)
            preds = torch.cat([maps[sweep].flatten(1)[:, t.cells].T for sweep, t in enumerate(found)])
            error = (preds[:, :8] - torch.cat([target.boxes for target in found])).abs().sum(dim=0)
            error = error * error.new_tensor([1.0] * 6 + [self.weights.heading] * 2)
            box.append(error.sum() / max(1, len(preds)))
            if self.velocity:
                motion.append(_known_error(preds[:, 8:], torch.cat([t.velocities for t in found])) / max(1, len(preds)))
        terms = {"heatmap": torch.stack(heat).sum(), "box": torch.stack(box).sum()}
        loss = self.weights.heatmap * terms["heatmap"] + self.weights.boxes * terms["box"]
        if self.velocity:
            terms["velocity"] = torch.stack(motion).sum()
            loss = loss + self.weights.boxes * self.weights.velocity * terms["velocity"]
        return loss, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def detect(self, outputs: list[dict[str, Tensor]]) -> list[Detections]:
        """Detect the highest peaks of each task, then choose among overlapping boxes of one task."""
        sweeps = []
        for sweep in range(len(outputs[0]["hm"])):
            parts = [self._peaks(output, sweep, members) for output, members in zip(outputs, self.tasks, strict=True)]
            names = ["boxes", "scores", "labels"] + (["velocities"] if self.velocity else [])
            found = Detections(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
            sweeps.append(found.select(found.scores.argsort(descending=True, stable=True)))
        return sweeps

    def _peaks(self, output: dict[str, Tensor], sweep: int, members: list[int]) -> Detections:
        heat = output["hm"][sweep].sigmoid()  # (C, Y, X)
        scores, flat = heat.flatten().topk(min(MOST_OBJECTS, heat.numel()))
        kind, cell = flat // heat[0].numel(), flat % heat[0].numel()
        values = self._regression(output)[sweep].flatten(1)[:, cell].T
        corner = torch.stack([cell % self.cells[1], cell // self.cells[1]], dim=1)
        centre = (corner + values[:, :2]) * values.new_tensor(self.size) + values.new_tensor(self.low)
        heading = torch.atan2(values[:, 7], values[:, 6])[:, None]
        boxes = torch.cat([centre, values[:, 2:3], values[:, 3:6].exp(), heading], dim=1)
        labels = torch.tensor(members, device=kind.device)[kind]
        return select(boxes, scores, labels, self.choose, values[:, 8:] if self.velocity else None)

    def _regression(self, output: dict[str, Tensor]) -> Tensor:
        """(B, 8, Y, X), or 10 with the velocity."""
        return torch.cat([output[name] for name in self.regression], dim=1)


def _known_error(preds: Tensor, target: Tensor) -> Tensor:
    """Sum of absolute errors (), without the rows of the target that are not all known."""
    known = target.isfinite().all(dim=1)
    return (preds[known] - target[known]).abs().sum()
