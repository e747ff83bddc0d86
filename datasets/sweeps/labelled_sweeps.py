"""Labelled sweeps from a drive store, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.drives.cloud_batch import CloudBatch, Clouds
from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.pairs.dataset import Address, choose_points
from equissl.datasets.drives.pairs.split import split_pairs
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.sweep import Boxes, Sweep, ego_motion, move
from equissl.datasets.sampling import item_seeds
from equissl.datasets.sweeps.clean_boxes import Objects, clean_boxes, in_range
from equissl.datasets.sweeps.ground_truth_sampling import ObjectBank
from equissl.datasets.sweeps.label_subset import choose_labelled, write_label_list
from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.geometry.sweep_transforms import TransformRanges, draw_transforms, transform_boxes, transform_velocities

QUARTER = 0.7853981633974483


class LabelledSweepsError(IngestError):
    """A store without labelled sweeps to give, or not those asked for; the message says why."""


@dataclass(frozen=True)
class SweepBatch(CloudBatch):
    """B sweeps with objects. Every detector takes this type and nothing else.

    Attributes:
        clouds: B clouds (N_b, 4) float32 of x, y, z, intensity (0 where the data set has none), or (N_b, 5) with the
            seconds that a point is older than the sweep, where several sweeps are joined.
        boxes: B times (M_b, 7) float32 centre, size, heading in [-π, π).
        labels: B times (M_b,) int64 class.
        seeds: (B,) int64 from (dataset seed, epoch, index).
        ids: B names ``DRIVE/SWEEP``.
        velocities: B times (M_b, 2) float32 metres a second over ground, along x and y; NaN where unknown. None where
            none is.
    """

    clouds: Clouds
    boxes: Clouds
    labels: Clouds
    seeds: Tensor
    ids: tuple[str, ...]
    velocities: Clouds | None = None

    def __len__(self) -> int:
        return len(self.clouds)


@dataclass(frozen=True)
class LabelledSweep:
    """One sweep as it was recorded.

    Attributes:
        id: its name.
        points: (N, 4 or 5), those of joined sweeps included.
        boxes: labels, where it has any.
        objects: those among the labels.
        pose, vehicle_lidar: see `Sweep`.
    """

    id: str
    points: np.ndarray
    boxes: Boxes | None
    objects: Objects
    pose: np.ndarray | None = None
    vehicle_lidar: np.ndarray | None = None


class LabelledSweeps(Dataset):
    """Sweeps with labels of one split.

    Items are addressed by (epoch, index) and augmented by it alone: the same address gives the same points and boxes
    in any order, process and worker. `read` gives sweeps as they were recorded.

    Args:
        store: a store or its path.
        split: ``train``, ``val``, or None for all. A store with published lists of ids (KITTI object) is divided by
            them, any other by drives, see `split_pairs`.
        classes: to detect; labels of others are left aside.
        point_range: lowest and highest x, y, z; boxes centred outside are left aside. None keeps all.
        labels: share of the split's sweeps whose labels are used, or a file of their ids, see `choose_labelled`.
        label_seed: seed of the share of labels.
        seed: seed of augmentation, and of the choice of points.
        max_points: most points of a cloud; a random choice of a larger one. None takes all.
        crop: only points within this many degrees in front of the sensor; for labels that end where the camera's view
            does. None takes the whole turn.
        min_points: boxes with fewer points inside are left aside.
        sweeps: join so many sweeps, the earlier ones moved into the last one's reference frame by their poses.
        rotation, scale, flip, flip_x: of augmentation, see `TransformRanges`.
        paste: ground-truth sampling, from the sweeps of ``labels`` alone.
        augment: False gives every sweep as it is.
        drives: only these drives; None takes all.
        val_fraction, val_drives: see `split_pairs`.
        at_least: an epoch repeats its sweeps to have so many items, each augmented anew.
        labelled: False also takes sweeps without labels, to run a detector on.

    Raises:
        LabelledSweepsError: without a sweep in the split.
        DriveStoreError: see `DriveStore`.
        ValueError: for impossible options.
    """

    items = "sweeps"
    views = 1

    def __init__(
        self,
        store: DriveStore | Path | str,
        split: str | None,
        classes: Sequence[ObjectClass],
        point_range: Sequence[float] | None = None,
        labels: float | str = 1.0,
        label_seed: int = 0,
        seed: int = 0,
        max_points: int | None = None,
        crop: float | None = None,
        min_points: int = 1,
        sweeps: int = 1,
        rotation: tuple[float, float] = (-QUARTER, QUARTER),
        scale: tuple[float, float] = (0.95, 1.05),
        flip: float = 0.5,
        flip_x: float = 0.0,
        paste: bool = True,
        augment: bool = True,
        drives: Sequence[str] | None = None,
        val_fraction: float = 0.2,
        val_drives: Sequence[str] | None = None,
        at_least: int = 1,
        labelled: bool = True,
    ) -> None:
        self.store = store if isinstance(store, DriveStore) else DriveStore(store)
        if min(seed, label_seed, min_points) < 0 or sweeps < 1 or (max_points is not None and max_points < 1):
            got = f"seed={seed}, label_seed={label_seed}, {min_points=}, {sweeps=}, {max_points=}"
            raise ValueError(f"expected seeds and min_points >= 0, sweeps and max_points >= 1, got {got}")
        if crop is not None and not 0 < crop <= 360:
            raise ValueError(f"expected crop as an angle in (0, 360] degrees or None, got {crop}")
        self.split, self.classes, self.point_range, self.seed = split, tuple(classes), point_range, seed
        self.max_points, self.crop, self.min_points, self.sweeps = max_points, crop, min_points, sweeps
        self.ranges = TransformRanges(tuple(rotation), tuple(scale), (0.0, 0.0), flip, flip_x)  # type: ignore[arg-type]
        self.augment, self.paste = augment, paste and augment
        found = self._entries(drives, labelled, val_fraction, val_drives)
        ids = self._ids(found)
        chosen = choose_labelled(ids, labels, label_seed)
        self.entries, self.ids = [found[i] for i in chosen], [ids[i] for i in chosen]
        self.of, self.labels, self.label_seed, self.at_least = len(ids), labels, label_seed, at_least
        self.store.close()  # workers open it for themselves

    def __len__(self) -> int:
        return max(len(self.entries), self.at_least)

    def __getitem__(self, address: Address) -> SweepBatch:
        """Return one item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> SweepBatch:
        """Return the batch of items at ``addresses``, a list of (epoch, index)."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        seeds = item_seeds(self.seed, epochs, indices)
        places = [index % len(self.entries) for index in indices.tolist()]
        items = [self._item(place, seed) for place, seed in zip(places, seeds.tolist(), strict=True)]
        clouds, boxes, labels, velocities = zip(*items, strict=True)
        ids = tuple(self.ids[place] for place in places)
        return SweepBatch(clouds, boxes, labels, torch.from_numpy(seeds), ids, velocities)

    def read(self, place: int) -> LabelledSweep:
        """Read a sweep by its position in ``entries``, not augmented."""
        name, position = self.entries[place]
        points, sweep = self._points(name, position, item_seeds(self.seed, 0, place).item())
        objects = clean_boxes(sweep.boxes, points, self.classes, self.point_range, self.min_points)
        return LabelledSweep(self.ids[place], points, sweep.boxes, objects, sweep.pose, sweep.vehicle_lidar)

    @cached_property
    def bank(self) -> ObjectBank:
        """Objects for ground-truth sampling, of this data set's sweeps."""
        sweeps = (self.read(place) for place in range(len(self.entries)))
        return ObjectBank(self.classes, ((sweep.points, sweep.objects) for sweep in sweeps))

    def prepare(self) -> None:
        """Make now what items need and workers would each make for themselves."""
        if self.paste and any(kind.paste for kind in self.classes):
            _ = self.bank
            self.store.close()

    def require_velocities(self) -> None:
        """Raise a `LabelledSweepsError` if no sweep's labels have velocities."""
        if not any(self.store.has_velocities(name, position) for name, position in self.entries):
            raise LabelledSweepsError(
                f"expected labels with velocities in {self.store.path}, got none: its data set has none, or it was "
                f"written before stores held them (ingest or simulate it again)"
            )
        self.store.close()

    def write_ids(self, path: Path) -> None:
        """Write the ids of the sweeps whose labels were used, as a list that ``labels`` takes."""
        share = f"share {self.labels}, label seed {self.label_seed}" if not isinstance(self.labels, str) else "a list"
        remark = f"{len(self.ids)} of the {self.of} labelled sweeps of split {self.split} of {self.store.path.name}"
        write_label_list(path, self.ids, f"{remark}: {share}")

    def _item(self, place: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        name, position = self.entries[place]
        points, sweep = self._points(name, position, seed)
        # before augmentation a box may still leave or enter the range
        point_range = None if self.augment else self.point_range
        found = clean_boxes(sweep.boxes, points, self.classes, point_range, self.min_points)
        if self.paste:
            rng = np.random.default_rng(np.random.SeedSequence([seed, _PASTE]))
            points, found = self.bank.paste(points, found, rng, sweep.ground_plane)
        cloud, *objects = map(torch.from_numpy, (points, found.boxes, found.labels, found.velocities))
        boxes, labels, velocities = objects
        if self.augment:
            transform = draw_transforms(self.ranges, torch.tensor([seed]), 0)
            own = transform.item(0)
            cloud, boxes = transform.apply([cloud])[0], transform_boxes(boxes, own)
            velocities = transform_velocities(velocities, own.matrix.to(velocities))
            if self.point_range is not None:
                inside = torch.from_numpy(in_range(boxes.numpy(), self.point_range))
                boxes, labels, velocities = boxes[inside], labels[inside], velocities[inside]
        return cloud, boxes.float(), labels, velocities.float()

    def _points(self, name: str, position: int, seed: int) -> tuple[np.ndarray, Sweep]:
        """Read the points (N, 4 or 5) of a sweep, those of earlier sweeps included, and the sweep itself."""
        last = self.store.read(name, position)
        parts = []
        for age in range(self.sweeps):
            sweep = last if age == 0 else self.store.read(name, position - age) if position >= age else None
            if sweep is None or (age and (sweep.pose is None or last.pose is None)):
                break
            sweep = choose_points(sweep, self.crop, self.max_points, seed, age)
            points = sweep.points
            if age and sweep.pose is not None and last.pose is not None:
                points = move(ego_motion(sweep.pose, last.pose), points)
            intensity = np.zeros(len(sweep), np.float32) if sweep.intensity is None else sweep.intensity
            lag = np.full(len(sweep), (last.timestamp - sweep.timestamp) * 1e-9, np.float32)
            parts.append(np.column_stack([points, intensity, lag][: 3 if self.sweeps > 1 else 2]))
        return np.concatenate(parts).astype(np.float32, copy=False), last

    def _entries(
        self, drives: Sequence[str] | None, labelled: bool, fraction: float, held_out: Sequence[str] | None
    ) -> list[tuple[str, int]]:
        """Find drive and position of the sweeps of the split."""
        index = self.store.index
        names = list(index) if drives is None else list(drives)
        if unknown := sorted(set(names) - set(index)):
            raise LabelledSweepsError(f"expected drives of {self.store.path}, which has {list(index)}, got {unknown}")
        usable = [
            (name, position)
            for name in names
            for position in np.flatnonzero(
                (index[name].num_points > 0) & ((index[name].num_boxes >= 0) | (not labelled))
            ).tolist()
        ]
        published = None if held_out is not None else self._published(names)
        if published is None:
            triples = [(name, position, position) for name, position in usable]
            entries = [(name, position) for name, position, _ in split_pairs(triples, self.split, fraction, held_out)]
        else:
            entries = [f for f in usable if self.split is None or f in published[self.split]]
        if not entries:
            total = sum(len(index[name].timestamps) for name in names)
            held = f"{total} sweeps of {len(names)} drive(s), {len(usable)} of them {'labelled' * labelled or 'usable'}"
            raise LabelledSweepsError(
                f"expected labelled sweeps in split {self.split!r} of {self.store.path}, got none: it has {held}"
            )
        return entries

    def _published(self, names: Sequence[str]) -> dict[str, set[tuple[str, int]]] | None:
        """Find the sweeps of the published lists ``train`` and ``val``; None where a drive has no such lists."""
        found: dict[str, set[tuple[str, int]]] = {"train": set(), "val": set()}
        for name in names:
            lists = self.store.index[name].attributes.get("splits") or {}
            if not (lists.get("train") and lists.get("val")):
                return None
            place = {sweep: position for position, sweep in enumerate(self.store.sweep_names(name))}
            for split, members in found.items():
                members |= {(name, place[sweep]) for sweep in lists[split] if sweep in place}
        return found

    def _ids(self, entries: Sequence[tuple[str, int]]) -> list[str]:
        names = {name: self.store.sweep_names(name) for name in dict.fromkeys(name for name, _ in entries)}
        return [f"{name}/{names[name][position]}" for name, position in entries]


_PASTE = 0x6771  # keeps this stream apart from those of transforms and of points
