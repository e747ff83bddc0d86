"""Index of several view stores that are read as one, without a copy."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from equissl.datasets.views.store.format import StoreError, StoreHeader
from equissl.datasets.views.store.reader import StoreContents, read_contents
from equissl.datasets.views.store.tables import concatenate
from equissl.util.files import full_disk_message, write_text

INDEX = "index.json"
FORMAT = "equissl-view-index"
_ALIKE = ("schema", "classes", "num_views", "image_size", "encoding", "num_points")


def is_index(path: Path) -> bool:
    """Return True if ``path`` is an index, or a folder with one."""
    return path.suffix == ".json" if path.is_file() else (path / INDEX).is_file()


def write_index(
    path: Path | str, stores: Sequence[Path | str], split: Sequence[int] | np.ndarray | None = None
) -> Path:
    """Write an index that makes ``ViewStore(path)`` all objects of ``stores``, in order.

    Args:
        path: the ``.json`` file, or the folder that takes ``index.json``.
        stores: finished stores or shards of one kind: same latents, classes, views, image size, encoding and points.
            They are found again by their place relative to the index.
        split: (N,) 0 train, 1 val of all objects together; by default as in each store. Stores that hold the same
            object must put it in the same split: this is not checked.

    Returns:
        The index.

    Raises:
        StoreError: a store is damaged, or not of the kind of the first.
    """
    path = Path(path) / INDEX if Path(path).is_dir() else Path(path)
    contents = join_contents([read_contents(Path(store)) for store in stores], path)
    chosen = contents.tables.split if split is None else np.asarray(split)
    if chosen.shape != contents.tables.split.shape:
        raise StoreError(f"expected the split of {len(contents.tables.split)} objects, got {chosen.shape}")
    places = [os.path.relpath(Path(store).resolve(), path.resolve().parent) for store in stores]
    text = json.dumps({"format": FORMAT, "version": 1, "stores": places, "split": chosen.tolist()})
    with full_disk_message(path, len(text)):
        return write_text(path, text)


def read_indexed(path: Path) -> StoreContents:
    """Read the contents of all stores of an index.

    Raises:
        StoreError: saying what was expected and what came.
    """
    path = path / INDEX if path.is_dir() else path
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        stores, split = index["stores"], np.array(index["split"], dtype=np.uint8)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"expected an index of view stores at {path}: damaged or another kind of file ({error})"
        ) from error
    if (found := (index.get("format"), index.get("version"))) != (FORMAT, 1):
        raise StoreError(f"expected {path} to be of format {FORMAT!r} and version 1, found {found}")
    contents = join_contents([read_contents(path.parent / store) for store in stores], path)
    if len(split) != len(contents.tables.labels):
        raise StoreError(f"expected {len(split)} objects by {path}, its stores hold {len(contents.tables.labels)}")
    return replace(contents, tables=replace(contents.tables, split=split))


def join_contents(parts: Sequence[StoreContents], path: Path) -> StoreContents:
    """Join the contents of stores one after the other, as if they were one.

    Args:
        parts: contents.
        path: for the message.

    Raises:
        StoreError: none, or of different kinds.
    """
    if not parts:
        raise StoreError(f"expected view stores for {path}, got none")
    first = parts[0].header
    for part in parts[1:]:
        for name in _ALIKE:
            if getattr(part.header, name) != getattr(first, name):
                raise StoreError(
                    f"expected stores with one {name} in {path}, got {getattr(first, name)} in {parts[0].files[0]} "
                    f"and {getattr(part.header, name)} in {part.files[0]}"
                )
    counts = [len(part.positions) for part in parts]
    return StoreContents(
        header=_joined_header([part.header for part in parts]),
        tables=concatenate([part.tables for part in parts]),
        files=tuple(part.files[0] for part in parts),
        bounds=np.cumsum([0, *counts]),
        positions=np.concatenate([part.positions for part in parts]),
        clouds=tuple(places for part in parts for places in part.clouds),
    )


def _joined_header(headers: Sequence[StoreHeader]) -> StoreHeader:
    """Provenance as far as all agree on it."""
    first, *others = (header.attributes for header in headers)
    agreed = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return replace(headers[0], attributes=agreed)
