"""Pairs of sweeps from a drive store, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.pairs.split import Pair, split_pairs
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.sweep import Sweep, ego_motion
from equissl.datasets.sampling import item_seeds
from equissl.scene_flow import FlowProvider, add_flow, get_flow_provider

Address = tuple[int, int]  # (epoch, index)
STORED, NONE = "stored", "none"


class SweepPairsError(IngestError):
    """A store that has no pairs to give, or pairs without what was asked for; the message says why."""


class SweepPairs(Dataset):
    """Pairs of sweeps of one split.

    Items are addressed by (epoch, index), like those of a `ViewDataset`: the same address
    gives the same points in any order, process and worker.

    Args:
        store: a store or its path.
        split: ``train``, ``val``, or None for all pairs; see :func:`split_pairs`.
        gap: turns of the sensor between the two sweeps.
        flow: ``stored`` takes the flow in the store, ``none`` gives none, and the name of a provider of
            :mod:`equissl.scene_flow` computes it whenever a pair is read.
        flow_options: options of the provider; ``{drive}`` in a text becomes the name of the drive.
        seed: seed of the choice of points and of the seeds that items carry.
        max_points: most points of a cloud; a random choice of a larger one. None takes all.
        drives: only these drives; None takes all.
        crop: only points within this many degrees in front of the sensor, half of them on each side, before anything
            else is done to a cloud; boxes are not cropped. A wedge that is rotated later shows its angle: None, the
            whole turn, is what learning from rotations needs.
        val_fraction, val_drives: see :func:`split_pairs`.

    Raises:
        SweepPairsError: without a pair in the split, or without the flow asked for.
        DriveStoreError: see :class:`DriveStore`.
        FlowError: for an unknown provider.
        ValueError: for impossible options.
    """

    items = "pairs"
    views = 2  # sweeps of an item

    def __init__(
        self,
        store: DriveStore | Path | str,
        split: str | None = "train",
        gap: int = 1,
        flow: str = STORED,
        seed: int = 0,
        max_points: int | None = None,
        drives: Sequence[str] | None = None,
        crop: float | None = None,
        flow_options: dict[str, Any] | None = None,
        val_fraction: float = 0.2,
        val_drives: Sequence[str] | None = None,
    ) -> None:
        self.store = store if isinstance(store, DriveStore) else DriveStore(store)
        self.split, self.gap, self.flow, self.seed = split, gap, flow, seed
        self.max_points, self.crop = max_points, crop
        self.flow_options = dict(flow_options or {})
        self._check_options()
        found = self._find_pairs(drives)
        self.pairs = split_pairs(found, split, val_fraction, val_drives)
        if not self.pairs:
            held = f"{len(found)} pairs of {len({name for name, _, _ in found})} drive(s)"
            raise SweepPairsError(f"expected pairs in split {split!r} of {self.store.path}, got none of its {held}")
        self._check_flow()
        self.store.close()  # workers open it for themselves

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, address: Address) -> ScenePair:
        """One item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> ScenePair:
        """The batch of items at ``addresses``, a list of (epoch, index)."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        seeds = self.item_seeds(epochs, indices)
        chosen = [self.pairs[index] for index in indices.tolist()]
        sweeps = [self._read(pair, seed) for pair, seed in zip(chosen, seeds.tolist(), strict=True)]
        return make_pairs(sweeps, seeds, chosen)

    def item_seeds(self, epochs: np.ndarray, indices: np.ndarray) -> Tensor:
        """Derive the seeds (B,) int64 of items, at least 0.

        Args:
            epochs: (B,).
            indices: (B,).
        """
        return torch.from_numpy(item_seeds(self.seed, epochs, indices))

    def flow_provider(self, drive: str) -> FlowProvider:
        """Return the provider asked for, for one drive."""
        filled = {k: v.replace(_NAME, drive) if isinstance(v, str) else v for k, v in self.flow_options.items()}
        return get_flow_provider(self.flow, **filled)

    def _read(self, pair: Pair, seed: int) -> tuple[Sweep, Sweep]:
        name, *positions = pair
        previous, current = (self.store.read(name, position) for position in positions)
        previous = self._with_flow(name, previous, current)
        limits = self.crop, self.max_points, seed
        return choose_points(previous, *limits, 0), choose_points(current, *limits, 1)

    def _with_flow(self, name: str, previous: Sweep, current: Sweep) -> Sweep:
        if self.flow == NONE:
            return _without_flow(previous)
        if self.flow == STORED:
            if previous.flow is None:
                raise SweepPairsError(self._no_flow(f"frame {previous.frame} of {name}"))
            return previous
        return add_flow(previous, current, self.flow_provider(name))

    def _check_options(self) -> None:
        if self.gap < 1 or self.seed < 0:
            raise ValueError(f"expected gap >= 1 and seed >= 0, got gap={self.gap} and seed={self.seed}")
        if self.max_points is not None and self.max_points < 1:
            raise ValueError(f"expected max_points of at least 1 or None, got {self.max_points}")
        if self.crop is not None and not 0 < self.crop <= 360:
            raise ValueError(f"expected crop as an angle in (0, 360] degrees or None, got {self.crop}")
        if self.flow in (STORED, NONE) and self.flow_options:
            raise ValueError(f"expected no flow_options with flow={self.flow!r}, got {self.flow_options}")
        if self.flow == STORED and self.gap != 1:
            raise ValueError(
                f"stored flow leads to the next sweep: expected gap=1 with flow='stored', got gap={self.gap}; "
                "take flow='none' or a provider, which computes it over any gap"
            )

    def _find_pairs(self, drives: Sequence[str] | None) -> list[Pair]:
        """All pairs of the drives asked for.

        Raises:
            SweepPairsError: when there is none, with what stood in the way.
        """
        index = self.store.index
        names = list(index) if drives is None else list(drives)
        if unknown := sorted(set(names) - set(index)):
            raise SweepPairsError(f"expected drives of {self.store.path}, which has {list(index)}, got {unknown}")
        pairs: list[Pair] = []
        reasons: list[str] = []
        for name in names:
            entry = index[name]
            found, problems = find_pairs(entry.timestamps, entry.rate, entry.poses, self.gap)
            pairs += [(name, i, j) for i, j in found.tolist()]
            first = f": {problems[0][1]}" if problems else ""
            reasons.append(f"{name} has {len(entry.timestamps)} sweeps{first}")
        if not pairs:
            listed = "\n  ".join(reasons[:_SHOWN] + [f"and {len(reasons) - _SHOWN} more"] * (len(reasons) > _SHOWN))
            turns = f"{self.gap} turn{'s' * (self.gap > 1)} of the sensor"
            raise SweepPairsError(
                f"expected pairs of sweeps {turns} apart in {self.store.path}, got none:\n  {listed or 'no drives'}"
            )
        return pairs

    def _check_flow(self) -> None:
        """Each drive can give the flow asked for, as far as its first pair shows: better now than after an hour."""
        firsts = {pair[0]: pair for pair in reversed(self.pairs)}
        if self.flow not in (STORED, NONE):
            for name in firsts:
                self.flow_provider(name)
        if self.flow != STORED:
            return
        if lacking := [name for name, pair in firsts.items() if self.store.read(*pair[:2]).flow is None]:
            raise SweepPairsError(self._no_flow(f"{', '.join(sorted(lacking)[:_SHOWN])}"))

    def _no_flow(self, where: str) -> str:
        path = self.store.path
        out = path.with_name(f"{path.stem}_flow.h5")
        if all(entry.poses is None or not np.isfinite(entry.poses).any() for entry in self.store.index.values()):
            return (
                f"expected scene flow in {path}, {where} has none, and no poses to estimate it with. Take data.flow: "
                "none and a method that needs no flow, or estimate poses with\n  equissl ingest ... --odometry icp"
            )
        return (
            f"expected scene flow in {path}, {where} has none. Add it with\n"
            f"  equissl flow {path} --provider icp_cluster --out {out}\n"
            "or take another data.flow: a provider, which computes it on the fly, or none"
        )


_POINTS = 0x9017  # keeps this stream apart from those of transforms
_SHOWN = 5
_NAME = "{drive}"  # in an option of a flow provider


def choose_points(sweep: Sweep, crop: float | None, max_points: int | None, seed: int, number: int) -> Sweep:
    """A sweep within ``crop`` degrees in front, and of these at most ``max_points`` random points, in their order.

    Args:
        sweep: to choose from.
        crop, max_points: None takes all.
        seed, number: of the choice.
    """
    if crop is not None:
        angle = np.abs(np.arctan2(sweep.points[:, 1], sweep.points[:, 0]))
        sweep = sweep.select(angle <= np.deg2rad(crop) / 2)
    if max_points is None or len(sweep) <= max_points:
        return sweep
    rng = np.random.default_rng(np.random.SeedSequence([seed, number, _POINTS]))
    return sweep.select(np.sort(rng.choice(len(sweep), max_points, replace=False)))


def make_pairs(sweeps: Sequence[tuple[Sweep, Sweep]], seeds: Tensor, pairs: Sequence[Pair]) -> ScenePair:
    """Read a batch of given pairs of sweeps (earlier, later).

    What not all of them have (poses, ground, flow) the batch has not.

    Args:
        sweeps: B pairs.
        seeds: (B,) int64.
        pairs: their drives and positions.
    """
    previous = [earlier for earlier, _ in sweeps]
    providers = {sweep.flow_provider or "unknown" for sweep in previous if sweep.flow is not None}
    valid = [np.ones(len(s), bool) if s.flow_valid is None else s.flow_valid for s in previous]
    flow = _clouds([sweep.flow for sweep in previous])
    return ScenePair(
        previous=tuple(_cloud(sweep) for sweep in previous),
        current=tuple(_cloud(sweep) for _, sweep in sweeps),
        seeds=seeds,
        drives=tuple(name for name, _, _ in pairs),
        sweeps=torch.tensor([pair[1:] for pair in pairs], dtype=torch.int64).reshape(-1, 2),
        motion=_motion(sweeps),
        flow=flow,
        flow_valid=None if flow is None else _clouds(valid),
        flow_provider=None if flow is None else "+".join(sorted(providers)),
        ground=_clouds([sweep.ground for sweep in previous]),
        boxes=tuple(sweep.boxes for _, sweep in sweeps),
        previous_boxes=tuple(sweep.boxes for sweep in previous),
    )


def _cloud(sweep: Sweep) -> Tensor:
    """(N, 4) x, y, z, intensity."""
    intensity = np.zeros(len(sweep), np.float32) if sweep.intensity is None else sweep.intensity
    return torch.from_numpy(np.column_stack([sweep.points, intensity]))


def _clouds(arrays: Sequence[np.ndarray | None]) -> tuple[Tensor, ...] | None:
    present = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays if array is not None]
    return tuple(present) if len(present) == len(arrays) else None


def _motion(sweeps: Sequence[tuple[Sweep, Sweep]]) -> Tensor | None:
    motions = [ego_motion(a.pose, b.pose) for a, b in sweeps if a.pose is not None and b.pose is not None]
    return torch.from_numpy(np.stack(motions)).float() if len(motions) == len(sweeps) else None


def _without_flow(sweep: Sweep) -> Sweep:
    return replace(sweep, flow=None, flow_valid=None, flow_provider=None, flow_classes=None)
