"""Tables of a view store: everything but the images, one row an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equissl.datasets.meshes.cloud import Cloud
from equissl.datasets.splits import TRAIN
from equissl.datasets.views.store.format import NOT_COUNTED, StoreHeader


@dataclass(frozen=True)
class ObjectRecord:
    """One object with all its views, encoded.

    Attributes:
        name, source, licence, creator: where the object comes from.
        label: class index.
        index: position in its mesh source; with the seed and the view it fixes the latents.
        latents: (V, L) float64.
        images: V encoded images.
        split: 0 train, 1 val.
        object_pixels: (V,) pixels in which each view shows the object; None where they were not counted.
        warnings: what was missing or repaired when its mesh was read.
        cloud: points of its surface; None in a store without clouds.
    """

    name: str
    label: int
    latents: np.ndarray
    images: Sequence[bytes]
    index: int
    split: int = TRAIN
    source: str = ""
    licence: str = ""
    creator: str = ""
    object_pixels: Sequence[int] | np.ndarray | None = None
    warnings: Sequence[str] = ()
    cloud: Cloud | None = None


@dataclass(frozen=True)
class StoreTables:
    """All arrays of a store but the images: one row an object.

    Attributes:
        names, sources, licences, creators: N texts.
        labels, indices, split: (N,).
        latents: (N, V, L) float64.
        sizes: (N, V) int64 bytes of each image.
        object_pixels: (N, V) int32 pixels that show the object; ``NOT_COUNTED`` where that is not known.
        skipped: (name, reason) of each mesh that could not be used.
        warnings: (name, warning) of each that could, with what was missing or repaired.
    """

    names: Sequence[str]
    labels: np.ndarray
    latents: np.ndarray
    sizes: np.ndarray
    indices: np.ndarray
    split: np.ndarray
    sources: Sequence[str]
    licences: Sequence[str]
    creators: Sequence[str]
    object_pixels: np.ndarray
    skipped: Sequence[tuple[str, str]] = ()
    warnings: Sequence[tuple[str, str]] = ()

    @classmethod
    def from_records(cls, records: Sequence[ObjectRecord], header: StoreHeader, skipped: Sequence = ()) -> StoreTables:
        for record in records:
            if len(record.images) != header.num_views:
                raise ValueError(f"expected {header.num_views} views of {record.name}, got {len(record.images)}")
            if (points := 0 if record.cloud is None else len(record.cloud)) != header.num_points:
                raise ValueError(f"expected a cloud of {header.num_points} points of {record.name}, got {points}")
        latents = np.array([record.latents for record in records], dtype=np.float64)
        sizes = np.array([[len(image) for image in record.images] for record in records], dtype=np.int64)
        unknown = [NOT_COUNTED] * header.num_views
        pixels = [unknown if record.object_pixels is None else record.object_pixels for record in records]
        return cls(
            names=[record.name for record in records],
            labels=np.array([record.label for record in records], dtype=np.int64),
            latents=latents if records else latents.reshape(0, header.num_views, len(header.schema)),
            sizes=sizes.reshape(len(records), header.num_views),
            indices=np.array([record.index for record in records], dtype=np.int64),
            split=np.array([record.split for record in records], dtype=np.uint8),
            sources=[record.source for record in records],
            licences=[record.licence for record in records],
            creators=[record.creator for record in records],
            object_pixels=np.array(pixels, dtype=np.int32).reshape(len(records), header.num_views),
            skipped=skipped,
            warnings=[(record.name, warning) for record in records for warning in dict.fromkeys(record.warnings)],
        )


def find_problems(header: StoreHeader, tables: StoreTables) -> list[str]:
    """Find contradictions in a store about to be written.

    Args:
        header: header of the store.
        tables: latents, labels and offsets.
    """
    count, shape = len(tables.labels), (len(tables.labels), header.num_views)
    problems = []
    if tables.latents.shape != (*shape, len(header.schema)):
        problems.append(f"expected latents of shape {(*shape, len(header.schema))}, got {tables.latents.shape}")
    if tables.sizes.shape != shape:
        problems.append(f"expected {shape} images, got {tables.sizes.shape}")
    if tables.object_pixels.shape != shape:
        problems.append(f"expected object pixels of shape {shape}, got {tables.object_pixels.shape}")
    if count and not 0 <= tables.labels.min() <= tables.labels.max() < len(header.classes):
        low, high = tables.labels.min(), tables.labels.max()
        problems.append(f"expected labels in 0..{len(header.classes) - 1}, got {low}..{high}")
    return problems


def concatenate(tables: Sequence[StoreTables]) -> StoreTables:
    """Concatenate the rows of several tables, in order."""

    def arrays(name: str) -> np.ndarray:
        return np.concatenate([getattr(table, name) for table in tables])

    def lists(name: str) -> list:
        return [value for table in tables for value in getattr(table, name)]

    return StoreTables(
        names=lists("names"),
        labels=arrays("labels"),
        latents=arrays("latents"),
        sizes=arrays("sizes"),
        indices=arrays("indices"),
        split=arrays("split"),
        sources=lists("sources"),
        licences=lists("licences"),
        creators=lists("creators"),
        object_pixels=arrays("object_pixels"),
        skipped=lists("skipped"),
        warnings=lists("warnings"),
    )
