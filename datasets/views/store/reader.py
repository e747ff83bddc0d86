"""Reader of all of a view store but its images, and of the images' position."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.meshes.cloud import CLOUD_TYPES
from equissl.datasets.views.schema import LatentSchema
from equissl.datasets.views.store.format import (
    BLOB,
    DATASETS,
    FORMAT,
    FORMAT_VERSION,
    OFFSETS,
    StoreError,
    StoreHeader,
)
from equissl.datasets.views.store.tables import StoreTables


@dataclass(frozen=True)
class StoreContents:
    """Contents of a store but the images, in memory; and the images' position.

    Attributes:
        header, tables: of all objects.
        files: that hold the images, in the order of the objects.
        bounds: (F + 1,) number of the first image of each file, and of all images.
        positions: (N·V,) byte at which each image begins in its file; its size is in ``tables``.
        clouds: of each file, the byte at which each array of its clouds begins; empty without clouds.
    """

    header: StoreHeader
    tables: StoreTables
    files: tuple[Path, ...]
    bounds: np.ndarray
    positions: np.ndarray
    clouds: tuple[dict[str, int], ...] = ()


def read_contents(path: Path) -> StoreContents:
    """Read header and tables of a store, checked.

    Raises:
        StoreError: saying what was expected and what came.
    """
    if not path.is_file():
        kind = "a folder without an index.json" if path.is_dir() else "nothing"
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
    version = int(file.attrs.get("format_version", FORMAT_VERSION))
    if form == FORMAT and version != FORMAT_VERSION:
        raise StoreError(f"expected view store version {FORMAT_VERSION}, {path} has version {version}: render it again")
    if form != FORMAT or any(name not in file for name in DATASETS):
        raise StoreError(
            f"expected {path} to be a view store (format {FORMAT!r} with datasets {', '.join(DATASETS)}), "
            f"found format {form!r} with {', '.join(file) or 'nothing'}"
        )
    offsets = file[OFFSETS][()]
    start, size = file[BLOB].id.get_offset() or 0, path.stat().st_size
    if file[BLOB].shape != (offsets[-1],) or start + offsets[-1] > size:
        raise StoreError(f"expected {offsets[-1]} bytes of images in {path}, found {max(0, size - start)}: cut short")
    tables = _read_tables(file, np.diff(offsets))
    bounds = np.array([0, len(offsets) - 1])
    header = _read_header(file)
    clouds = (_find_clouds(file, path, (len(tables.labels), header.num_points, 3)),) if header.num_points else ()
    return StoreContents(header, tables, (path,), bounds, offsets[:-1] + start, clouds)


def _find_clouds(file: h5py.File, path: Path, shape: tuple[int, int, int]) -> dict[str, int]:
    """Find the position of each array of the clouds, checked."""
    places = {}
    for name, dtype in CLOUD_TYPES.items():
        if name not in file or (file[name].shape, file[name].dtype) != (shape, dtype):
            found = f"{file[name].dtype} {file[name].shape}" if name in file else "none"
            raise StoreError(f"expected {name} of clouds as {dtype} {shape} in {path}, found {found}")
        start, needed = file[name].id.get_offset() or 0, dtype.itemsize * math.prod(shape)
        if needed and not 0 < start <= path.stat().st_size - needed:
            raise StoreError(f"expected {needed} bytes of {name} in one piece in {path}: cut short or another layout")
        places[name] = start
    return places


def _read_header(file: h5py.File) -> StoreHeader:
    return StoreHeader(
        schema=LatentSchema.from_json(json.loads(_text(file.attrs["schema"]))),
        classes=tuple(_strings(file, "classes")),
        num_views=int(file.attrs["num_views"]),
        image_size=int(file.attrs["image_size"]),
        encoding=_text(file.attrs["encoding"]),
        attributes=json.loads(_strings(file, "provenance")[0]),
        num_points=int(file.attrs.get("num_points", 0)),
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
        object_pixels=file["object_pixels"][()],
        skipped=_pairs(file, "skipped"),
        warnings=_pairs(file, "warnings"),
    )


def _pairs(file: h5py.File, name: str) -> list[tuple[str, str]]:
    return [(mesh, text) for mesh, _, text in (line.partition("\t") for line in _strings(file, name))]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(file: h5py.File, name: str) -> list[str]:
    return [value.decode() for value in file[name][()].tolist()]
