"""Reader of view stores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from equissl.datasets.meshes.cloud import CLOUD_TYPES
from equissl.datasets.views.schema import ROTATION, LatentSchema
from equissl.datasets.views.split import select_split
from equissl.datasets.views.store.format import StoreError, StoreHeader
from equissl.datasets.views.store.index import is_index, read_indexed
from equissl.datasets.views.store.reader import StoreContents, read_contents
from equissl.datasets.views.store.tables import ObjectRecord, StoreTables
from equissl.datasets.views.store.writer import ViewStoreWriter, write_records, write_store
from equissl.geometry import euler_to_rotmat

__all__ = [
    "Clouds",
    "ObjectRecord",
    "StoreError",
    "StoreHeader",
    "StoreTables",
    "ViewStore",
    "ViewStoreWriter",
    "write_records",
    "write_store",
]

_MOST_OPEN = 256  # files at a time; a process may often have 1024
_CHECKED = 256  # clouds read at a time to check them


@dataclass(frozen=True)
class Clouds:
    """Point clouds of n objects, each in the object's own reference frame, the one that `ViewStore.rotations` turn.

    Attributes:
        points: (n, P, 3) float32.
        normals: (n, P, 3) float32, unit.
        colours: (n, P, 3) float32 sRGB in 0..1, without light.
    """

    points: Tensor
    normals: Tensor
    colours: Tensor


class ViewStore:
    """A finished store of V rendered views of each of N objects, in one file or in several that an index joins.

    Nothing is opened before it is first used, and the HDF5 file is closed again as soon as the tables are read: images
    come by position from a plain file descriptor. A store can therefore be pickled, and used before and after a fork.
    Positional reads rather than a memory map: as fast at 256², resident memory stays flat, and a vanished disk is an
    error and not a ``SIGBUS``.

    Args:
        path: the ``.h5`` file; or an index of several, or the folder that holds one, see
            :func:`equissl.datasets.views.store.index.write_index`.

    Raises:
        StoreError: on first use, when the file is missing, damaged, of another kind or version, or holds no objects.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._loaded: StoreContents | None = None
        self._descriptors: dict[int, int] = {}  # by the file's number

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"ViewStore({str(self.path)!r})"

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        descriptors = getattr(self, "_descriptors", {})
        while descriptors:
            os.close(descriptors.popitem()[1])

    @property
    def _contents(self) -> StoreContents:
        if self._loaded is None:
            self._loaded = read_indexed(self.path) if is_index(self.path) else read_contents(self.path)
            if not len(self._loaded.tables.labels):
                raise StoreError(f"expected objects in {self.path}, but it holds none")
        return self._loaded

    @property
    def header(self) -> StoreHeader:
        return self._contents.header

    @property
    def tables(self) -> StoreTables:
        return self._contents.tables

    @property
    def num_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self._contents.files)

    @property
    def num_objects(self) -> int:
        return len(self.tables.labels)

    @property
    def num_views(self) -> int:
        return self.header.num_views

    @property
    def image_size(self) -> int:
        return self.header.image_size

    @property
    def encoding(self) -> str:
        return self.header.encoding

    @property
    def schema(self) -> LatentSchema:
        return self.header.schema

    @property
    def classes(self) -> tuple[str, ...]:
        return self.header.classes

    @property
    def attributes(self) -> dict:
        """Provenance: generator version, renderer, seed, licences."""
        return self.header.attributes

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 class of each object."""
        return self.tables.labels

    @property
    def split(self) -> np.ndarray:
        """(N,) uint8: 0 train, 1 val."""
        return self.tables.split

    @property
    def object_names(self) -> list[str]:
        return list(self.tables.names)

    @property
    def object_sources(self) -> list[str]:
        """Mesh source of each object, for example ``sweethome3d``."""
        return list(self.tables.sources)

    @property
    def object_indices(self) -> np.ndarray:
        """(N,) position of each object in its mesh source; it seeds the object's latents."""
        return self.tables.indices

    @property
    def latents(self) -> np.ndarray:
        """(N, V, L) float64, columns named by ``schema``."""
        return self.tables.latents

    def rotations(self) -> Tensor:
        """(N, V, 3, 3) float64 rotation of the object in every view; none where the latents hold no rotation."""
        if not set(ROTATION) <= set(self.schema.names):
            return torch.eye(3, dtype=torch.float64).expand(*self.latents.shape[:2], 3, 3)
        return euler_to_rotmat(torch.from_numpy(self.latents[..., self.schema.columns(*ROTATION)]))

    @property
    def num_points(self) -> int:
        """P, points of each object's cloud; 0 without clouds."""
        return self.header.num_points

    @property
    def has_clouds(self) -> bool:
        return self.num_points > 0

    def clouds(self, objects: np.ndarray) -> Clouds:
        """Read the point clouds of some objects.

        Args:
            objects: (n,) object indices.

        Raises:
            StoreError: a store without clouds, or with numbers in them that are not finite, which the object is named
                of.
        """
        if not self.has_clouds:
            raise StoreError(
                f"expected point clouds in {self.path}, it has none: render it with points, "
                "`equissl render --points 2048`"
            )
        objects = np.asarray(objects, dtype=np.int64)
        found = {name: self._read_cloud_arrays(objects, name, dtype) for name, dtype in CLOUD_TYPES.items()}
        for name in ("points", "normals"):
            if (bad := ~np.isfinite(found[name]).all(axis=(1, 2))).any():
                names = ", ".join(self.object_names[i] for i in objects[bad][:3])
                raise StoreError(
                    f"expected finite {name} in the clouds of {self.path}, not so in {bad.sum()} of {len(objects)} "
                    f"objects: {names}"
                )
        points, normals, colours = (torch.from_numpy(found[name]) for name in CLOUD_TYPES)
        return Clouds(points, normals, colours.float() / 255)

    def check_clouds(self, objects: np.ndarray) -> None:
        """Read the clouds of some objects once, a few at a time.

        Args:
            objects: (n,) object indices.

        Raises:
            StoreError: see `clouds`.
        """
        for start in range(0, len(objects), _CHECKED):
            self.clouds(objects[start : start + _CHECKED])

    def _read_cloud_arrays(self, objects: np.ndarray, name: str, dtype: np.dtype) -> np.ndarray:
        """(n, P, 3) of one of the arrays."""
        contents = self._contents
        if objects.size and not 0 <= objects.min() <= objects.max() < self.num_objects:
            wrong = f"{objects.min()}..{objects.max()}"
            raise IndexError(f"expected object indices in 0..{self.num_objects - 1}, got {wrong} for {self.path}")
        first = contents.bounds // self.num_views  # number of the first object of each file
        owners = np.searchsorted(first, objects, side="right") - 1
        out = np.empty((len(objects), self.num_points, 3), dtype)
        row_size = dtype.itemsize * 3 * self.num_points
        for row, owner, index in zip(out, owners.tolist(), objects.tolist(), strict=True):
            position = contents.clouds[owner][name] + (index - int(first[owner])) * row_size
            self._read_into(owner, memoryview(row).cast("B"), position)
        return out

    def _read_into(self, file: int, view: memoryview, position: int) -> None:
        """Fill ``view`` with the bytes of a file from ``position`` on."""
        if os.preadv(self._open(file), [view], position) != len(view):
            path = self._contents.files[file]
            raise StoreError(f"{path} ends before byte {position + len(view)}: it was cut after it was opened")

    def select(self, split: str | None) -> np.ndarray:
        """Find the indices of the objects in ``split`` (``train``, ``val``, or None for all).

        Raises:
            ValueError: for another name, or a split without objects.
        """
        return select_split(self.split, split, str(self.path))

    def read_bytes(self, flat_indices: np.ndarray) -> list[bytes]:
        """Read encoded images; ``flat_indices`` = object · V + view."""
        buffer, bounds = self._gather(flat_indices)
        return [buffer[a:b].tobytes() for a, b in pairwise(bounds)]

    def read_images(self, flat_indices: np.ndarray) -> Tensor:
        """Read and decode images.

        Args:
            flat_indices: (n,) object · V + view.

        Returns:
            (n, 3, S, S) uint8, channels last in memory: so decoders write and convolutions like it. Call
            ``.contiguous()`` for the other order.
        """
        buffer, bounds = self._gather(flat_indices)
        shape = (len(bounds) - 1, self.image_size, self.image_size, 3)
        if self.encoding == "raw":
            return torch.from_numpy(buffer).view(shape).permute(0, 3, 1, 2)
        # numpy asks for huge pages: fresh memory at half the cost; torchvision decodes 1.6 times as fast as Pillow
        images, encoded = torch.from_numpy(np.empty(shape, np.uint8)).permute(0, 3, 1, 2), torch.from_numpy(buffer)
        for image, (a, b) in zip(images, pairwise(bounds), strict=True):
            image.copy_(decode_jpeg(encoded[a:b], mode=ImageReadMode.RGB))
        return images

    def _gather(self, flat_indices: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Bytes of the images one after the other, and the n + 1 bounds between them."""
        indices, contents = np.asarray(flat_indices, dtype=np.int64), self._contents
        if indices.size and not 0 <= indices.min() <= indices.max() < len(contents.positions):
            wrong = f"{indices.min()}..{indices.max()}"
            raise IndexError(f"expected image indices in 0..{len(contents.positions) - 1}, got {wrong} for {self.path}")
        bounds = np.concatenate([[0], np.cumsum(contents.tables.sizes.ravel()[indices])]).tolist()
        owners = (np.searchsorted(contents.bounds, indices, side="right") - 1).tolist()
        buffer = np.empty(bounds[-1], np.uint8)
        places = zip(owners, contents.positions[indices].tolist(), pairwise(bounds), strict=True)
        view = buffer.data
        for file, position, (a, b) in places:
            self._read_into(file, view[a:b], position)
        return buffer, bounds

    def _open(self, file: int) -> int:
        if file not in self._descriptors:
            if len(self._descriptors) == _MOST_OPEN:
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            self._descriptors[file] = os.open(self._contents.files[file], os.O_RDONLY)
        return self._descriptors[file]
