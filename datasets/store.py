"""Reading view stores."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from equissl.datasets.schema import ROTATION, LatentSchema
from equissl.datasets.store_format import (
    BLOB,
    DATASETS,
    FORMAT,
    FORMAT_VERSION,
    OFFSETS,
    SPLITS,
    StoreError,
    StoreHeader,
)
from equissl.datasets.store_writer import ObjectRecord, StoreTables, ViewStoreWriter, write_records, write_store
from equissl.geometry import euler_to_rotmat

__all__ = [
    "ObjectRecord",
    "StoreError",
    "StoreHeader",
    "StoreTables",
    "ViewStore",
    "ViewStoreWriter",
    "write_records",
    "write_store",
]


@dataclass(frozen=True)
class StoreContents:
    """Everything but the images, in memory; and where the images are."""

    header: StoreHeader
    tables: StoreTables
    offsets: np.ndarray
    start: int


class ViewStore:
    """A finished store of V rendered views of each of N objects, in one file.

    Nothing is opened before it is first used, and the HDF5 file is closed again as soon as the tables are read: images
    come by position from a plain file descriptor. A store can therefore be pickled, and used before and after a fork.
    Positional reads rather than a memory map: as fast at 256², resident memory stays flat, and a vanished disk is an
    error and not a ``SIGBUS``.

    Args:
        path: the ``.h5`` file.

    Raises:
        StoreError: on first use, when the file is missing, damaged, of another kind or version, or holds no objects.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._loaded: StoreContents | None = None
        self._descriptor: int | None = None

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"ViewStore({str(self.path)!r})"

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; the next read opens it again."""
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]
        self._descriptor = None

    @property
    def _contents(self) -> StoreContents:
        if self._loaded is None:
            self._loaded = read_contents(self.path)
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

    def select(self, split: str | None) -> np.ndarray:
        """Indices of the objects in ``split`` (``train``, ``val``, or None for all).

        Raises:
            ValueError: for another name, or a split without objects.
        """
        if split is None:
            return np.arange(self.num_objects)
        if split not in SPLITS:
            raise ValueError(f"expected split to be one of {[*SPLITS]} or None, got {split!r}")
        chosen = np.flatnonzero(self.split == SPLITS[split])
        if not len(chosen):
            raise ValueError(
                f"expected objects in split {split!r} of {self.path}, but all {self.num_objects} are outside"
            )
        return chosen

    def read_bytes(self, flat_indices: np.ndarray) -> list[bytes]:
        """Encoded bytes of images; ``flat_indices`` = object · V + view."""
        buffer, bounds = self._gather(flat_indices)
        return [buffer[a:b].tobytes() for a, b in pairwise(bounds)]

    def read_images(self, flat_indices: np.ndarray) -> Tensor:
        """Decoded images.

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
        indices, offsets = np.asarray(flat_indices, dtype=np.int64), self._contents.offsets
        if indices.size and not 0 <= indices.min() <= indices.max() < len(offsets) - 1:
            wrong = f"{indices.min()}..{indices.max()}"
            raise IndexError(f"expected image indices in 0..{len(offsets) - 2}, got {wrong} for {self.path}")
        starts = offsets[indices]
        bounds = np.concatenate([[0], np.cumsum(offsets[indices + 1] - starts)]).tolist()
        buffer = np.empty(bounds[-1], np.uint8)
        view, descriptor = buffer.data, self._open()
        for position, (a, b) in zip((starts + self._contents.start).tolist(), pairwise(bounds), strict=True):
            if os.preadv(descriptor, [view[a:b]], position) != b - a:
                raise StoreError(f"{self.path} ends before byte {position + b - a}: it was cut after it was opened")
        return buffer, bounds

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        return self._descriptor


def read_contents(path: Path) -> StoreContents:
    """Header and tables of a store, checked.

    Raises:
        StoreError: saying what was expected and what came.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing"
        raise StoreError(f"expected a view store at {path}, found {kind}")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path)
    except OSError as error:
        raise StoreError(
            f"expected a whole HDF5 view store at {path}: damaged or another kind of file ({error})"
        ) from error


def _read(file: h5py.File, path: Path) -> StoreContents:
    form = _text(file.attrs.get("format", b""))
    if form != FORMAT or any(name not in file for name in DATASETS):
        raise StoreError(
            f"expected {path} to be a view store (format {FORMAT!r} with datasets {', '.join(DATASETS)}), "
            f"found format {form!r} with {', '.join(file) or 'nothing'}"
        )
    if (version := int(file.attrs["format_version"])) != FORMAT_VERSION:
        raise StoreError(f"expected view store version {FORMAT_VERSION}, {path} has version {version}")
    offsets = file[OFFSETS][()]
    start, size = file[BLOB].id.get_offset() or 0, path.stat().st_size
    if file[BLOB].shape != (offsets[-1],) or start + offsets[-1] > size:
        raise StoreError(f"expected {offsets[-1]} bytes of images in {path}, found {max(0, size - start)}: cut short")
    return StoreContents(_read_header(file), _read_tables(file, np.diff(offsets)), offsets, start)


def _read_header(file: h5py.File) -> StoreHeader:
    return StoreHeader(
        schema=LatentSchema.from_json(json.loads(_text(file.attrs["schema"]))),
        classes=tuple(_strings(file, "classes")),
        num_views=int(file.attrs["num_views"]),
        image_size=int(file.attrs["image_size"]),
        encoding=_text(file.attrs["encoding"]),
        attributes=json.loads(_strings(file, "provenance")[0]),
    )


def _read_tables(file: h5py.File, sizes: np.ndarray) -> StoreTables:
    return StoreTables(
        names=_strings(file, "object_names"),
        labels=file["labels"][()],
        latents=file["latents"][()],
        sizes=sizes.reshape(-1, int(file.attrs["num_views"])),
        indices=file["object_indices"][()],
        split=file["split"][()],
        sources=_strings(file, "object_sources"),
        licences=_strings(file, "object_licences"),
        creators=_strings(file, "object_creators"),
        skipped=[(name, reason) for name, _, reason in (t.partition("\t") for t in _strings(file, "skipped"))],
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(file: h5py.File, name: str) -> list[str]:
    return [value.decode() for value in file[name][()].tolist()]
