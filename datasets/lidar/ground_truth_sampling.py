"""Ground-truth sampling: objects of other frames, points and box, stand in a frame too (SECOND, Yan et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from equissl.datasets.lidar.box_points import points_in_box
from equissl.datasets.lidar.object_classes import ObjectClass
from equissl.geometry.boxes import bev_iou, points_in_boxes


@dataclass(frozen=True)
class StoredObject:
    """An object cut out of a frame, where it stood: points (n, C) and box (7,)."""

    points: np.ndarray
    box: np.ndarray


class ObjectBank:
    """Objects of the frames that may be learnt from, and of no other.

    Args:
        classes: with how many objects of each a frame is filled up to, and from how many points on one counts.
        frames: of each frame its points (N, C), boxes (M, 7) and labels (M,).
    """

    def __init__(
        self, classes: Sequence[ObjectClass], frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> None:
        self.classes = tuple(classes)
        self.objects: list[list[StoredObject]] = [[] for _ in classes]
        for points, boxes, labels in frames:
            for box, label in zip(boxes, labels.tolist(), strict=True):
                inside = points[points_in_box(points[:, :3], box)]
                if classes[label].paste and len(inside) >= classes[label].fewest_points:
                    self.objects[label].append(StoredObject(inside, box))

    def paste(
        self, points: np.ndarray, boxes: np.ndarray, labels: np.ndarray, others: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A frame with objects of the bank added, each where it stood in its own frame.

        A candidate that overlaps, seen from above, any box of the frame or any other candidate is left out. Points of
        the frame inside a pasted box go.

        Args:
            points: (N, C).
            boxes: (M, 7) objects of the frame.
            labels: (M,) their classes.
            others: (K, 7) other boxes that stand in the way.
            rng: of the choice.

        Returns:
            points, boxes and labels of the fuller frame.
        """
        drawn = [(label, item) for label in range(len(self.classes)) for item in self._draw(label, labels, rng)]
        if not drawn:
            return points, boxes, labels
        candidates = np.stack([item.box for _, item in drawn])
        standing = torch.from_numpy(np.concatenate([boxes, others, candidates]))
        overlaps = bev_iou(torch.from_numpy(candidates), standing) > 0
        own = np.arange(len(drawn))
        overlaps[own, len(standing) - len(drawn) + own] = False
        free = np.flatnonzero(~overlaps.any(dim=1).numpy())
        new = candidates[free]
        hidden = points_in_boxes(torch.from_numpy(points), torch.from_numpy(new).to(torch.float32)).any(dim=1).numpy()
        added = [drawn[index][1].points for index in free]
        names = np.array([drawn[index][0] for index in free], dtype=np.int64)
        return np.concatenate([points[~hidden], *added]), np.concatenate([boxes, new]), np.concatenate([labels, names])

    def _draw(self, label: int, labels: np.ndarray, rng: np.random.Generator) -> list[StoredObject]:
        """As many objects of a class as are missing, without repetition."""
        bank = self.objects[label]
        missing = min(self.classes[label].paste - int((labels == label).sum()), len(bank))
        return [bank[i] for i in rng.choice(len(bank), missing, replace=False)] if missing > 0 else []
