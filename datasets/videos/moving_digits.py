"""Moving digits: videos in which each digit translates on a torus, or rotates, at a constant velocity of its own.

Digits come from a folder of IDX files such as MNIST's. Training and validation use different digits, and every video
is drawn from its own seed: the same address gives the same video in any order, process and worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from equissl.datasets.images.idx import read_idx_folder
from equissl.geometry.planar import distinct_turns, rotate_planes

Address = tuple[int, int]  # (epoch, index)
MotionName = Literal["translation", "rotation"]
SPLITS = ("train", "val")
SPLIT_SEED = 0  # of which digits are held out; not the run's seed, so that no run trains on another's validation digits


@dataclass(frozen=True)
class MovingSpec:
    """Settings of the videos.

    Attributes:
        motion: ``translation``: whole pixels per frame on the torus, or ``rotation``: degrees per frame about the
            centre, counter-clockwise on screen.
        radius: speeds. Both parts of a translation are uniform in −radius..radius, a rotation in as many ``step``s.
        step: degrees between neighbouring angular velocities.
        frames: T.
        size: side of a frame, in pixels.
        digit_size: side that digits are resized to, at most ``size``; None leaves them as they are.
        digits: in each video, each with its own velocity; where they overlap, brightness adds up to at most 1.
        shown: share of the pixels of every frame that can be seen, drawn anew for each frame; the others are 0. Where
            it is small no frame tells the digit, and it takes several, put together along the motion.
        held_out: velocities that no video has, so that they are new to a model that trained on these.
    """

    motion: MotionName = "translation"
    radius: int = 2
    step: float = 10.0
    frames: int = 20
    size: int = 28
    digit_size: int | None = None
    digits: int = 2
    shown: float = 1.0
    held_out: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.motion not in ("translation", "rotation"):
            raise ValueError(f"expected motion 'translation' or 'rotation', got {self.motion!r}")
        for name, least in (("radius", 0), ("frames", 1), ("size", 1), ("digits", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if self.digit_size is not None and not 1 <= self.digit_size <= self.size:
            raise ValueError(f"expected a digit_size in 1..{self.size} (size), got {self.digit_size}")
        if not 0 < self.shown <= 1:
            raise ValueError(f"expected shown above 0 and at most 1, got {self.shown}")
        if not self.velocities:
            raise ValueError(f"expected some velocities of radius {self.radius} that are not held out, got none")

    @property
    def velocities(self) -> list[tuple[float, ...]]:
        """Those drawn from: (right, down) in pixels, or (degrees,), ascending, the first part in the outer loop.

        Of angles that are the same turn, such as −180° and 180°, there is one.
        """
        span = range(-self.radius, self.radius + 1)
        found: list[tuple[float, ...]] = [(right, down) for right in span for down in span]
        if self.motion == "rotation":
            found = [(angle,) for angle in distinct_turns(self.step, self.radius)]
        return [v for v in found if list(v) not in self.held_out]


@dataclass(frozen=True)
class VideoBatch:
    """B videos of T frames.

    Attributes:
        frames: (B, T, 1, S, S) in [0, 1].
        velocities: (B, D, 2) right and down in pixels per frame, or (B, D, 1) degrees per frame, of each digit.
        labels: (B, D) class of each digit.
        digits: (B, D) index of each digit among all of the folder.
    """

    frames: Tensor
    velocities: Tensor
    labels: Tensor
    digits: Tensor

    def __post_init__(self) -> None:
        if self.frames.ndim != 5:
            raise ValueError(f"expected frames of shape (B, T, C, H, W), got {tuple(self.frames.shape)}")

    def __len__(self) -> int:
        return self.frames.shape[0]

    def _map(self, fn: Any) -> VideoBatch:
        return replace(self, **{f.name: fn(getattr(self, f.name)) for f in fields(self)})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VideoBatch:
        """Return the same batch on ``device``.

        Args:
            device: to move to.
            non_blocking: do not wait for the copy.
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> VideoBatch:
        return self._map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class DigitSource:
    """Digits of a split.

    Attributes:
        path: folder they came from.
        images: (N, H, W) uint8.
        labels: (N,).
        indices: (N,) among all digits of the folder.
        classes: names of the labels.
    """

    path: Path
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]


def load_digits(folder: str | Path, split: str, val_fraction: float = 0.1) -> DigitSource:
    """Load the training or validation digits of a folder of IDX files.

    A folder with training and test files (``train``, ``t10k``) keeps that division; of a single file a fixed random
    tenth is held out, the same for every seed.

    Args:
        folder: folder of IDX files.
        split: ``train`` or ``val``.
        val_fraction: held out of a single file.

    Raises:
        FileNotFoundError, IdxError: see :func:`equissl.datasets.images.idx.read_idx_folder`.
        ValueError: unknown split, or too few digits to hold any out.
    """
    if split not in SPLITS:
        raise ValueError(f"expected split 'train' or 'val', got {split!r}")
    found = read_idx_folder(folder)
    images = np.concatenate([pair[0] for pair in found.values()])
    labels = np.concatenate([pair[1] for pair in found.values()])
    owner = np.repeat(np.arange(len(found)), [len(pair[1]) for pair in found.values()])
    if "train" in found and len(found) > 1:
        held_out = owner != list(found).index("train")
    else:
        order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
        held_out = np.zeros(len(labels), bool)
        held_out[order[: round(val_fraction * len(labels))]] = True
    indices = np.flatnonzero(held_out if split == "val" else ~held_out)
    if not len(indices):
        raise ValueError(f"no {split} digits: {len(labels)} in {folder}, val_fraction {val_fraction:g}")
    classes = tuple(str(k) for k in range(int(labels.max()) + 1))
    return DigitSource(Path(folder), images[indices], labels[indices].astype(np.int64), indices, classes)


class MovingDigits(Dataset):
    """Videos of moving digits, addressed by (epoch, index); every epoch brings new ones.

    Args:
        source: folder of IDX files, or digits already loaded.
        split: ``train`` or ``val``, whose digits are disjoint.
        spec: settings of the videos.
        length: videos of an epoch; None takes the number of digits.
        seed: seed of the videos. Video n = epoch · length + index has the SeedSequence [seed, split, n].
        velocities: draw from these instead of the spec's, in the same units; digits and places stay the same.
    """

    items = "videos"

    def __init__(
        self,
        source: DigitSource | str | Path,
        split: str = "train",
        spec: MovingSpec | None = None,
        length: int | None = None,
        seed: int = 0,
        velocities: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.store = source if isinstance(source, DigitSource) else load_digits(source, split)
        self.spec = spec or MovingSpec()
        if split not in SPLITS:
            raise ValueError(f"expected split 'train' or 'val', got {split!r}")
        self.split: str | None = split
        self._stream = SPLITS.index(split)
        self.seed, self.views = seed, self.spec.frames
        self.length = len(self.store.labels) if length is None else length
        self.velocities = torch.tensor([list(v) for v in velocities or self.spec.velocities], dtype=torch.float32)
        parts = 1 if self.spec.motion == "rotation" else 2
        if self.velocities.ndim != 2 or self.velocities.shape[1] != parts:
            raise ValueError(
                f"expected velocities of {parts} parts for {self.spec.motion}, got {list(velocities or [])}"
            )
        self.canvases = _on_canvas(self.store.images, self.spec)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, address: Address) -> VideoBatch:
        """Return one video, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> VideoBatch:
        """Return the batch of videos at ``addresses``, a list of (epoch, index)."""
        drawn = [self._draw(epoch * self.length + index) for epoch, index in addresses]
        chosen, which, places, seen = (torch.from_numpy(np.stack(column)) for column in zip(*drawn, strict=True))
        velocities = self.velocities[which]
        digits = self.canvases[chosen]
        move = _rotated if self.spec.motion == "rotation" else _translated
        frames = move(digits, places, velocities, self.spec.frames).sum(dim=1).clamp_(max=1.0) * seen
        labels, indices = (torch.from_numpy(a)[chosen] for a in (self.store.labels, self.store.indices))
        return VideoBatch(frames.unsqueeze(2), velocities, labels, indices)

    def _draw(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Draw digits (D,), velocities (D,), places (D, 2) in [0, 1) and pixels seen (T, S, S) of one video."""
        seeds = np.random.SeedSequence([self.seed, self._stream, number])
        rng, count = np.random.default_rng(seeds), self.spec.digits
        chosen = rng.integers(len(self.store.labels), size=count)
        places = rng.random((count, 2))
        which = rng.integers(len(self.velocities), size=count)
        return chosen, which, places, self._seen(rng)

    def _seen(self, rng: np.random.Generator) -> np.ndarray:
        """(T, S, S) bool, or (1, 1, 1) where every pixel is seen."""
        if self.spec.shown == 1:
            return np.ones((1, 1, 1), bool)
        return rng.random((self.spec.frames, self.spec.size, self.spec.size)) < self.spec.shown


def _on_canvas(images: np.ndarray, spec: MovingSpec) -> Tensor:
    """(N, S, S) float32 in [0, 1]: digits resized (area average) and centred on the frame."""
    digits = torch.from_numpy(np.array(images)).float().unsqueeze(1) / 255
    side = spec.digit_size or images.shape[-1]
    if side > spec.size or images.shape[-2] != images.shape[-1]:
        shape = tuple(images.shape[1:])
        raise ValueError(f"expected square digits that fit frames of side {spec.size}, got {shape}: set digit_size")
    if side != images.shape[-1]:
        digits = F.interpolate(digits, size=(side, side), mode="area")
    before = (spec.size - side) // 2
    after = spec.size - side - before
    return F.pad(digits, (before, after, before, after)).squeeze(1)


def _translated(digits: Tensor, places: Tensor, velocities: Tensor, frames: int) -> Tensor:
    """(B, D, T, S, S) of digits (B, D, S, S); places are fractions of the side, velocities (right, down)."""
    side = digits.shape[-1]
    start = (places * side).long()
    time = torch.arange(frames)
    moved = start[..., None, :] + time[:, None] * velocities.long()[..., None, :]  # (B, D, T, 2)
    pixel = torch.arange(side)
    columns = (pixel - moved[..., 0, None]) % side
    rows = (pixel - moved[..., 1, None]) % side
    index = rows[..., :, None] * side + columns[..., None, :]
    flat = digits.flatten(2)[:, :, None].expand(-1, -1, frames, -1)
    return flat.gather(-1, index.flatten(3)).view(index.shape)


def _rotated(digits: Tensor, places: Tensor, velocities: Tensor, frames: int) -> Tensor:
    """(B, D, T, S, S): each frame resamples the upright digit once; the first place is the start, in turns."""
    time = torch.arange(frames, dtype=torch.float64)
    angles = 360 * places[..., :1].double() + time * velocities.double()
    repeated = digits[:, :, None].expand(-1, -1, frames, -1, -1)
    return rotate_planes(repeated.flatten(0, 2), angles.flatten()).view(repeated.shape)
