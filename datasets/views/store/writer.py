"""Writer of view stores: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from equissl.datasets.hdf5 import fixed_strings, write_strings
from equissl.datasets.meshes.cloud import CLOUD_TYPES, Cloud
from equissl.datasets.splits import TRAIN
from equissl.datasets.views.schema import LatentSchema, threediebench_schema
from equissl.datasets.views.store.format import BLOB, OFFSETS, StoreHeader
from equissl.datasets.views.store.tables import ObjectRecord, StoreTables, find_problems
from equissl.util.files import atomic_path, full_disk_message, reserve

_PIECE = 1 << 24  # bytes copied at a time


class ViewStoreWriter:
    """Writer of one store under a temporary name, which becomes its own, whole and synced to disk, on a clean exit.

    The HDF5 library writes the tables and reserves the blob of images and the arrays of clouds; these are then written
    at their file offsets with plain system calls, so that a full disk is an ordinary ``OSError`` found before the first
    image.

    Args:
        path: final name.
        header, tables: everything but the images.

    Raises:
        OSError: ``ENOSPC`` with the bytes needed and free; nothing is left behind.
    """

    def __init__(self, path: Path, header: StoreHeader, tables: StoreTables) -> None:
        self.path, self.header, self.tables = Path(path), header, tables
        self.sizes = {BLOB: int(tables.sizes.sum()), **cloud_sizes(header, len(tables.labels))}

    def __enter__(self) -> ViewStoreWriter:
        with ExitStack() as stack:
            stack.enter_context(full_disk_message(self.path, sum(self.sizes.values()) + self.tables.latents.nbytes))
            temporary = stack.enter_context(atomic_path(self.path))
            self._positions = write_tables(temporary, self.header, self.tables)
            self._file = stack.enter_context(temporary.open("r+b", buffering=0))
            for name, size in self.sizes.items():
                if size:
                    reserve(self._file.fileno(), self._positions[name], size)
            stack.push(self._check_end)
            self._stack = stack.pop_all()
        self._ends = {name: self._positions[name] + size for name, size in self.sizes.items()}
        return self

    def write(self, data: bytes, array: str = BLOB) -> None:
        """Append bytes to the blob of images, or to an array of the clouds.

        Args:
            data: encoded images, or rows of the array.
            array: name of the dataset.
        """
        view = memoryview(data)
        if self._positions[array] + len(view) > self._ends[array]:
            raise ValueError(f"expected {self.sizes[array]} bytes of {_what(array)} in all, got more")
        while view:
            written = os.pwrite(self._file.fileno(), view, self._positions[array])
            self._positions[array] += written
            view = view[written:]

    def write_cloud(self, cloud: Cloud) -> None:
        """Append the cloud of the next object."""
        for name in CLOUD_TYPES:
            self.write(np.ascontiguousarray(getattr(cloud, name)).tobytes(), name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _check_end(self, kind: type[BaseException] | None, *_: object) -> None:
        for array, end in self._ends.items() if kind is None else ():
            if missing := end - self._positions[array]:
                raise ValueError(f"expected {self.sizes[array]} bytes of {_what(array)}, {missing} were not written")


def cloud_sizes(header: StoreHeader, objects: int) -> dict[str, int]:
    """Return the bytes of each array of a store's clouds; none for a store without.

    Args:
        header: of the store.
        objects: N.
    """
    points = 3 * objects * header.num_points
    return {name: points * dtype.itemsize for name, dtype in CLOUD_TYPES.items()} if header.num_points else {}


def _what(array: str) -> str:
    return "images" if array == BLOB else array


def write_records(path: Path, header: StoreHeader, records: Sequence[ObjectRecord], skipped: Sequence = ()) -> None:
    """Write ``records`` as one store, whole or not at all.

    Args:
        path: path of the store.
        header: header of the store.
        records: its objects.
        skipped: objects that were left out.
    """
    with ViewStoreWriter(path, header, StoreTables.from_records(records, header, skipped)) as writer:
        for record in records:
            for image in record.images:
                writer.write(image)
            if record.cloud is not None:
                writer.write_cloud(record.cloud)


def write_store(
    path: Path | str,
    images: np.ndarray | Sequence[Sequence[bytes]],
    latents: np.ndarray,
    labels: Iterable[int],
    schema: LatentSchema | None = None,
    classes: Sequence[str] | None = None,
    split: Sequence[int] | np.ndarray | None = None,
    object_names: Sequence[str] | None = None,
    encoding: str = "jpeg",
    quality: int = 95,
    attributes: dict | None = None,
    clouds: Sequence[Cloud] | None = None,
) -> Path:
    """Write a store from arrays in memory.

    Args:
        path: the file to write; its folder is made.
        images: (N, V, S, S, 3) uint8 RGB.
        latents: (N, V, L).
        labels: (N,) class indices.
        schema: names of the L latents; default the seven of 3DIEBench.
        classes: class names; default ``class_0`` and so on.
        split: (N,) 0 train, 1 val; default all train.
        object_names: N names; default ``object_00000`` and so on.
        encoding: ``jpeg`` or ``raw``.
        quality: JPEG quality.
        attributes: provenance to keep.
        clouds: N clouds of as many points each; None or empty for a store without.

    Returns:
        ``path``.
    """
    images, labels = np.asarray(images), [int(label) for label in labels]
    count, views, size = images.shape[:3]
    header = StoreHeader(
        schema=schema or threediebench_schema(),
        classes=tuple(classes or (f"class_{i}" for i in range(max(labels, default=-1) + 1))),
        num_views=views,
        image_size=size,
        encoding=encoding,
        attributes={"quality": quality, **(attributes or {})},
        num_points=len(clouds[0]) if clouds else 0,
    )
    names = object_names or [f"object_{i:05d}" for i in range(count)]
    records = [
        ObjectRecord(
            name=names[i],
            label=labels[i],
            latents=np.asarray(latents[i], dtype=np.float64),
            images=[header.encode(image) for image in images[i]],
            index=i,
            split=int(split[i]) if split is not None else TRAIN,
            cloud=clouds[i] if clouds else None,
        )
        for i in range(count)
    ]
    write_records(Path(path), header, records)
    return Path(path)


def write_tables(path: Path, header: StoreHeader, tables: StoreTables) -> dict[str, int]:
    """Write all but images and clouds, reserve their arrays unfilled, and return the position of each in the file.

    Args:
        path: path of the file.
        header: header of the store.
        tables: latents, labels and offsets.
    """
    if problems := find_problems(header, tables):
        raise ValueError("; ".join(problems))
    with h5py.File(path, "w") as file:
        for name, value in header.to_attributes().items():
            file.attrs[name] = fixed_strings([value])[0] if isinstance(value, str) else value
        write_strings(file, "provenance", [header.provenance()])
        offsets = np.concatenate([[0], np.cumsum(tables.sizes.ravel())]).astype(np.int64)
        arrays = {OFFSETS: offsets, "latents": tables.latents, "labels": tables.labels}
        arrays |= {"split": tables.split, "object_indices": tables.indices, "object_pixels": tables.object_pixels}
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        for name in ("names", "sources", "licences", "creators"):
            write_strings(file, f"object_{name}", getattr(tables, name))
        write_strings(file, "classes", header.classes)
        for name in ("skipped", "warnings"):
            write_strings(file, name, ["\t".join(pair) for pair in getattr(tables, name)])
        shape = (len(tables.labels), header.num_points, 3)
        kinds = CLOUD_TYPES if header.num_points else {}
        places = {name: _reserve_array(file, name, shape, dtype) for name, dtype in kinds.items()}
        return {**places, BLOB: _reserve_array(file, BLOB, (int(offsets[-1]),), np.dtype("u1"))}


def _reserve_array(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> int:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)  # the time of writing would make two equal stores differ
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(dtype)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=plist)
    return int(dataset.get_offset() or 0)


def copy_blob(source: Path, start: int, size: int, writer: ViewStoreWriter, array: str = BLOB) -> None:
    """Append ``size`` bytes at ``start`` of ``source`` to an array of ``writer``, a piece at a time.

    Args:
        source: file to read.
        start: byte in it.
        size: bytes.
        writer: writer of the store.
        array: name of the dataset.
    """
    with source.open("rb") as file:
        file.seek(start)
        while size:
            piece = file.read(min(_PIECE, size))
            if not piece:
                raise OSError(f"{source} ended {size} bytes early while it was being copied")
            writer.write(piece, array)
            size -= len(piece)
