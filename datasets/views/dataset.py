"""Batches of stored views, and the data set of a view store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equissl.datasets.addressed import Address
from equissl.datasets.sampling import choose_labelled, choose_objects, choose_views
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import ROTATION, TRANSLATION, LatentSchema
from equissl.datasets.views.store.store import ViewStore
from equissl.geometry import euler_to_rotmat


def make_batch(store: ViewStore, objects: np.ndarray, views: np.ndarray) -> ViewBatch:
    """Make the batch of given views.

    Args:
        store: where they are.
        objects: (B,) object indices.
        views: (B, V) view indices of each object.

    Returns:
        Images uint8 (B, V, 3, S, S), channels last in memory; rotations computed in float64 and kept, like the
        latents, as float32.
    """
    objects, views = np.asarray(objects), np.asarray(views)
    latents = store.latents[objects[:, None], views]
    images = store.read_images((objects[:, None] * store.num_views + views).ravel())
    images = images.view(*views.shape, *images.shape[1:])
    return assemble_batch(images, latents, store.labels[objects], store.schema, objects, views)


def assemble_batch(
    images: Tensor,
    latents: np.ndarray,
    labels: np.ndarray,
    schema: LatentSchema,
    objects: np.ndarray,
    views: np.ndarray,
) -> ViewBatch:
    """Assemble the batch of images (B, V, 3, S, S) and their latents.

    Args:
        images: (B, V, 3, S, S).
        latents: (B, V, L) float64, of which the images were rendered.
        labels: (B,) classes of the objects.
        schema: names of the latents' columns.
        objects: (B,) indices of the objects.
        views: (B, V) indices of the views.
    """
    exact = torch.from_numpy(latents)
    turns, moves = (set(names) <= set(schema.names) for names in (ROTATION, TRANSLATION))
    still = torch.eye(3).expand(*views.shape, 3, 3)
    return ViewBatch(
        images=images,
        rotations=euler_to_rotmat(exact[..., schema.columns(*ROTATION)]).float() if turns else still,
        latents=exact.float(),
        labels=torch.from_numpy(labels),
        schema=schema,
        translations=exact[..., schema.columns(*TRANSLATION)].float() if moves else None,
        objects=torch.from_numpy(objects),
        views=torch.from_numpy(views),
    )


def no_images(shape: tuple[int, ...]) -> Tensor:
    """Return images of size 0, for a batch of which only poses and latents are read.

    Args:
        shape: (B, V).
    """
    return torch.empty(*shape, 3, 0, 0, dtype=torch.uint8)


class ViewDataset(Dataset):
    """Objects of one split, each item V distinct ordered views of one object.

    Items are addressed by (epoch, index): the same address gives the same views in any order, process and worker.

    Args:
        store: a store or its path.
        split: ``train``, ``val``, or None for all objects.
        views: V.
        seed: of the choice of views, and of objects.
        objects: so many of the split only, chosen by the seed, fewer among more; None takes all.
        labels: share of the objects of each class, see :func:`equissl.datasets.sampling.choose_labelled`.
        label_seed: of the share.

    Raises:
        ValueError: when V is larger than the views stored, or the split holds fewer objects or none.
        StoreError: see :class:`ViewStore`.
    """

    items = "objects"

    def __init__(
        self,
        store: ViewStore | Path | str,
        split: str | None = "train",
        views: int = 2,
        seed: int = 0,
        objects: int | None = None,
        labels: float = 1.0,
        label_seed: int = 0,
    ) -> None:
        self.store = store if isinstance(store, ViewStore) else ViewStore(store)
        self.split, self.views, self.seed = split, views, seed
        if not 1 <= views <= self.store.num_views:
            stored = self.store.num_views
            raise ValueError(
                f"expected 1 to {stored} views (stored per object in {self.store.path}), got views={views}"
            )
        chosen = choose_objects(self.store.select(split), objects, seed)
        self.objects = chosen[choose_labelled(self.store.labels[chosen], labels, label_seed)]

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, address: Address) -> ViewBatch:
        """Return one item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> ViewBatch:
        """Return the batch of items at ``addresses``, a list of (epoch, index)."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        return make_batch(self.store, self.objects[indices], self.choose_views(epochs, indices))

    def without_images(self, addresses: Sequence[Address]) -> ViewBatch:
        """Return the batch of items at ``addresses`` with images of size 0: poses and latents cost no decoding.

        Args:
            addresses: (epoch, index) of each item.
        """
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        objects, views = self.objects[indices], self.choose_views(epochs, indices)
        latents = self.store.latents[objects[:, None], views]
        return assemble_batch(
            no_images(views.shape), latents, self.store.labels[objects], self.store.schema, objects, views
        )

    def choose_views(self, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Choose the views (B, V) of a batch.

        Args:
            epochs: (B,) epoch of each item.
            indices: (B,) position of each item in the data set.
        """
        return choose_views(self.seed, epochs, indices, self.views, self.store.num_views)
