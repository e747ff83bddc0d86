"""Identification of HDF5 files by their attributes."""

from __future__ import annotations

from pathlib import Path

import h5py


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
