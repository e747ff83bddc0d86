"""Ground-truth sampling: objects of other sweeps pasted into a sweep (SECOND, Yan et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from equissl.datasets.drives.box_points import points_in_box
from equissl.datasets.drives.ground import plane_height
from equissl.datasets.sweeps.clean_boxes import Objects
from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.geometry.boxes import bev_iou, points_in_boxes


@dataclass(frozen=True)
class StoredObject:
    """An object cut out of a sweep, where it stood: points (n, C), box (7,) and velocity (2,)."""

    points: np.ndarray
    box: np.ndarray
    velocity: np.ndarray

    def on(self, plane: np.ndarray | None) -> StoredObject:
        """Return the object moved up or down until its box's bottom centre is on a plane."""
        if plane is None:
            return self
        rise = plane_height(plane, self.box[None])[0] + self.box[5] / 2 - self.box[2]
        points, box = self.points.copy(), self.box.copy()
        points[:, 2] += rise
        box[2] += rise
        return replace(self, points=points, box=box)


class ObjectBank:
    """Objects of the sweeps that may be learnt from, and of no other.

    Args:
        classes: with how many objects of each a sweep is filled up to, and from how many points on one counts.
        sweeps: of each its points (N, C) and objects.
    """

    def __init__(self, classes: Sequence[ObjectClass], sweeps: Iterable[tuple[np.ndarray, Objects]]) -> None:
        self.classes = tuple(classes)
        self.objects: list[list[StoredObject]] = [[] for _ in classes]
        for points, objects in sweeps:
            rows = zip(objects.boxes, objects.labels.tolist(), objects.velocities, strict=True)
            for box, label, velocity in rows:
                inside = points[points_in_box(points[:, :3], box)]
                if classes[label].paste and len(inside) >= classes[label].fewest_points:
                    self.objects[label].append(StoredObject(inside, box, velocity))

    def paste(
        self, points: np.ndarray, objects: Objects, rng: np.random.Generator, plane: np.ndarray | None = None
    ) -> tuple[np.ndarray, Objects]:
        """A sweep with objects of the bank added, each where it stood in its own sweep, and as it moved there.

        A candidate that overlaps, seen from above, any box of the sweep or any other candidate is left out. Points of
        the sweep inside a pasted box go.

        Args:
            points: (N, C).
            objects: objects of the sweep; its other boxes stand in the way too.
            rng: generator of the choice.
            plane: (4,) road of the sweep, see `Sweep.ground_plane`: objects are put down on it. None leaves them at
                their own height.

        Returns:
            points and objects of the fuller sweep.
        """
        drawn = [
            (label, item.on(plane))
            for label in range(len(self.classes))
            for item in self._draw(label, objects.labels, rng)
        ]
        if not drawn:
            return points, objects
        candidates = np.stack([item.box for _, item in drawn])
        standing = torch.from_numpy(np.concatenate([objects.boxes, objects.others, candidates]))
        overlaps = bev_iou(torch.from_numpy(candidates), standing) > 0
        own = np.arange(len(drawn))
        overlaps[own, len(standing) - len(drawn) + own] = False
        free = np.flatnonzero(~overlaps.any(dim=1).numpy())
        new = candidates[free]
        hidden = points_in_boxes(torch.from_numpy(points), torch.from_numpy(new).to(torch.float32)).any(dim=1).numpy()
        added = [drawn[index][1].points for index in free]
        names = np.array([drawn[index][0] for index in free], dtype=np.int64)
        velocities = [drawn[index][1].velocity[None] for index in free]
        return np.concatenate([points[~hidden], *added]), replace(
            objects,
            boxes=np.concatenate([objects.boxes, new]),
            labels=np.concatenate([objects.labels, names]),
            velocities=np.concatenate([objects.velocities, *velocities]),
        )

    def _draw(self, label: int, labels: np.ndarray, rng: np.random.Generator) -> list[StoredObject]:
        """Draw as many objects of a class as are missing, without repetition."""
        bank = self.objects[label]
        missing = min(self.classes[label].paste - int((labels == label).sum()), len(bank))
        return [bank[i] for i in rng.choice(len(bank), missing, replace=False)] if missing > 0 else []
