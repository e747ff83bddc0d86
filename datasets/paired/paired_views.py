"""Objects of a view store as images, point clouds and texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.paired.batch import CloudBatch, PairedBatch
from equissl.datasets.paired.captions import CaptionError, Captions, CaptionTable
from equissl.datasets.paired.config import CloudFrame
from equissl.datasets.paired.form import PairedForm, TextMaker
from equissl.datasets.paired.text_policies import TEXT_POLICIES, TextPolicy
from equissl.datasets.paired.words import Grammar
from equissl.datasets.sampling import choose_labelled, choose_objects, choose_views, mix
from equissl.datasets.views.dataset import make_batch
from equissl.datasets.views.schema import ROTATION
from equissl.datasets.views.store.store import ViewStore
from equissl.geometry import euler_to_rotmat, unitquat_to_rotmat

Address = tuple[int, int]  # (epoch, index)
_POINTS, _TURNS, _CAPTION = 0x90175, 0x70125, 0xCA97104  # tags that keep streams apart


class PairedViews(Dataset):
    """Objects of one split of a view store: V views, C clouds and T texts of each.

    Items are addressed by (epoch, index): the same address gives the same batch in any order, process and worker.
    Views are chosen without replacement; the texts speak of the first one, and of that alone.

    Args:
        store: a store or its path.
        form: what the method asks for.
        split: ``train``, ``val``, or None for all objects.
        seed: of all that is random.
        objects: so many of the split only, chosen by the seed; None takes all.
        labels: share of the objects of each class, see :func:`equissl.datasets.sampling.choose_labelled`.
        label_seed: of the share.
        grammar: of the captions; None takes one of all attributes.
        captions: of a user, by the objects' names, in place of the grammar's.
        text_policy: of all texts but the first.
        points: P, points of a cloud, drawn from those stored without replacement; None takes all.
        cloud_frame: ``object``, ``view`` (cloud c is turned as view c) or ``random``.

    Raises:
        ValueError: more views or points than are stored, another reference frame, or too few objects.
        CaptionError: an object without a caption of the user's.
        StoreError: a damaged store, one without clouds where some are asked for, or clouds with numbers that are not
            finite.
    """

    items = "objects"
    views = 1  # objects that count as seen

    def __init__(
        self,
        store: ViewStore | Path | str,
        form: PairedForm,
        split: str | None = "train",
        seed: int = 0,
        objects: int | None = None,
        labels: float = 1.0,
        label_seed: int = 0,
        grammar: Grammar | None = None,
        captions: CaptionTable | None = None,
        text_policy: TextPolicy = TEXT_POLICIES["words"],
        points: int | None = None,
        cloud_frame: CloudFrame = "object",
    ) -> None:
        self.store = store if isinstance(store, ViewStore) else ViewStore(store)
        self.form, self.split, self.seed = form, split, seed
        self.cloud_frame = cloud_frame
        self._views_needed = max(form.views, form.clouds if cloud_frame == "view" else 0, 1)
        self._check_views()
        chosen = choose_objects(self.store.select(split), objects, seed)
        self.objects = chosen[choose_labelled(self.store.labels[chosen], labels, label_seed)]
        self.points = self._check_clouds(points) if form.clouds else 0
        self.grammar = grammar or Grammar(self.store.classes, self.store.schema, seed=seed)
        self.captions = None if captions is None else _captions_of(self.store, self.objects, captions)
        self.maker = TextMaker(form, text_policy, seed)

    def _check_views(self) -> None:
        if self.cloud_frame not in ("object", "view", "random"):
            raise ValueError(f"expected cloud_frame to be object, view or random, got {self.cloud_frame!r}")
        if self.cloud_frame == "view" and not set(ROTATION) <= set(self.store.schema.names):
            raise ValueError(f"expected rotations in {self.store.path}, for clouds in the reference frames of views")
        if (stored := self.store.num_views) < self._views_needed:
            raise ValueError(
                f"expected at least {self._views_needed} views of each object (images, or frames of clouds) in "
                f"{self.store.path}, got {stored}"
            )

    def _check_clouds(self, points: int | None) -> int:
        """Return the points of a cloud; every cloud is read once, before any work is lost."""
        self.store.check_clouds(self.objects)
        stored = self.store.num_points
        if points is not None and not 1 <= points <= stored:
            raise ValueError(f"expected 1 to {stored} points (stored per object in {self.store.path}), got {points}")
        return stored if points is None else points

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, address: Address) -> PairedBatch:
        """Return one item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> PairedBatch:
        """Return the batch of items at ``addresses``, a list of (epoch, index)."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        objects, views = self.objects[indices], self.choose_views(epochs, indices)
        shown = make_batch(self.store, objects, views[:, : self.form.views]) if self.form.views else None
        clouds = self._make_clouds(epochs, indices, views) if self.form.clouds else None
        captions = [self.caption(*address) for address in addresses] if self.form.texts else []
        texts = self.maker.batch(captions, epochs, indices)
        return PairedBatch(
            shown, clouds, texts, torch.from_numpy(self.store.labels[objects]), torch.from_numpy(objects)
        )

    def choose_views(self, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Choose the views of a batch, (B, n): those that are shown, and those whose reference frames clouds take.

        Args:
            epochs: (B,) epoch of each item.
            indices: (B,) position of each item in the data set.
        """
        return choose_views(self.seed, epochs, indices, self._views_needed, self.store.num_views)

    def caption(self, epoch: int, index: int) -> str:
        """Return the caption of an item, of its first view.

        Args:
            epoch, index: address of the item.
        """
        if self.captions is not None:
            drawn = int(mix(self.seed, _CAPTION, epoch, index) % np.uint64(self.captions.count(index)))
            return self.captions.read(index, drawn)
        number = int(self.objects[index])
        view = int(self.choose_views(np.array([epoch]), np.array([index]))[0, 0])
        return self.grammar.caption(
            int(self.store.labels[number]), self.store.latents[number, view], epoch, number, view
        )

    def _make_clouds(self, epochs: np.ndarray, indices: np.ndarray, views: np.ndarray) -> CloudBatch:
        stored = self.store.clouds(self.objects[indices])
        chosen = self._choose_points(epochs, indices)
        rows = torch.arange(len(indices)).view(-1, 1, 1)
        points, normals, colours = (values[rows, chosen] for values in (stored.points, stored.normals, stored.colours))
        rotations = self._cloud_rotations(epochs, indices, views)
        turn = rotations.float().mT
        return CloudBatch(points @ turn, normals @ turn, colours, rotations.float())

    def _choose_points(self, epochs: np.ndarray, indices: np.ndarray) -> Tensor:
        """Choose points (B, C, P) of each cloud; all, in their order, where as many as are stored are asked for."""
        shape, stored = (len(indices), self.form.clouds), self.store.num_points
        if self.points == stored:
            return torch.arange(stored).expand(*shape, stored)
        places = epochs[:, None, None], indices[:, None, None], np.arange(shape[1])[:, None], np.arange(stored)
        ranks = mix(self.seed, _POINTS, *places)
        return torch.from_numpy(np.argsort(ranks, axis=-1, kind="stable")[..., : self.points])

    def _cloud_rotations(self, epochs: np.ndarray, indices: np.ndarray, views: np.ndarray) -> Tensor:
        """(B, C, 3, 3) float64 rotation of each cloud."""
        count = self.form.clouds
        if self.cloud_frame == "object":
            return torch.eye(3, dtype=torch.float64).expand(len(indices), count, 3, 3)
        if self.cloud_frame == "view":
            return self._view_rotations(self.objects[indices], views[:, :count])
        places = epochs[:, None, None], indices[:, None, None], np.arange(count)[:, None], np.arange(3)
        bits = mix(self.seed, _TURNS, *places)
        return uniform_rotations(torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) / 2**53))

    def _view_rotations(self, objects: np.ndarray, views: np.ndarray) -> Tensor:
        latents = self.store.latents[objects[:, None], views][..., self.store.schema.columns(*ROTATION)]
        return euler_to_rotmat(torch.from_numpy(latents))


def uniform_rotations(chances: Tensor) -> Tensor:
    """Map uniform numbers (..., 3) in [0, 1) to rotations (..., 3, 3), uniform on SO(3).

    By Shoemake, "Uniform random rotations", Graphics Gems III, 1992.
    """
    share, first, second = chances.unbind(-1)
    first, second = 2 * math.pi * first, 2 * math.pi * second
    short, long = (1 - share).sqrt(), share.sqrt()
    quat = torch.stack([short * first.sin(), short * first.cos(), long * second.sin(), long * second.cos()], -1)
    return unitquat_to_rotmat(quat)


def _captions_of(store: ViewStore, objects: np.ndarray, table: CaptionTable) -> Captions:
    """Return the user's captions of some objects, found by the objects' names."""
    texts = dict(zip(table.images, table.texts, strict=True))
    names = [store.object_names[number] for number in objects]
    if bare := [name for name in names if name not in texts]:
        raise CaptionError(
            f"expected a caption of each object of {store.path} in {table.path}, {len(bare)} of {len(names)} have "
            f"none: {', '.join(bare[:3])}"
        )
    return Captions([texts[name] for name in names])
