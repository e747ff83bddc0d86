"""HDF5 files: declared formats, and strings of fixed width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np


def declared_format(path: str | Path) -> str | None:
    """Return the attribute ``format`` of an HDF5 file; None for any other file, or none."""
    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return None
    try:
        with h5py.File(path, "r") as file:
            form = file.attrs.get("format", b"")
            return form.decode() if isinstance(form, bytes) else str(form)
    except OSError:  # cut off in the middle: opening it as a store says what is wrong
        return None


def write_strings(file: h5py.File, name: str, values: Sequence[str]) -> None:
    """Write a dataset of strings.

    Args:
        file: the store.
        name: name of the dataset.
        values: the strings.
    """
    file.create_dataset(name, data=fixed_strings(values))


def fixed_strings(values: Sequence[str]) -> np.ndarray:
    """Convert strings to fixed-width UTF-8.

    Variable-length HDF5 strings are an order of magnitude slower to read, and their heap has undefined bytes in it: two
    files of the same content would differ.
    """
    encoded = [value.encode() for value in values]
    width = max([1, *map(len, encoded)])
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", width))
