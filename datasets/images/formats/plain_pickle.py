"""Pickles of plain data, read without running anything that they name.

A pickle can call any function. CIFAR's pickles hold dictionaries of bytes, lists and arrays of bytes: whatever else one
asks for is refused, and even arrays are rebuilt here from their bytes instead of by NumPy.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.images.sources import ImagesError

_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")


class PlainArray:
    """An array of unsigned bytes as a pickle describes it."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def values(self) -> np.ndarray:
        """The uint8 array.

        Raises:
            ValueError: another element type, or more or fewer bytes than its shape says.
        """
        _, shape, dtype, fortran, data = self.state
        if dtype.name not in (b"u1", "u1") or len(data) != math.prod(shape):
            raise ValueError(f"expected {math.prod(shape)} unsigned bytes, got {len(data)} of type {dtype.name!r}")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class _PlainType:
    """A NumPy dtype as a pickle describes it."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like mean nothing for bytes."""


def _empty_array(*_: Any) -> PlainArray:
    return PlainArray()


def _latin_bytes(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them into pickles of protocol 2."""
    return text.encode("latin-1")


_ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _empty_array for module in _NUMPY},
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _PlainType,
    ("_codecs", "encode"): _latin_bytes,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return _ALLOWED[module, name]


def read_plain_pickle(file: Path) -> dict[bytes, Any]:
    """The dictionary of a pickle of plain data; arrays of bytes are of type uint8.

    Raises:
        ImagesError: a damaged file, or one that holds anything but dictionaries, lists, text, bytes and arrays of
            bytes.
    """
    try:
        with file.open("rb") as opened:
            tree = _PlainUnpickler(opened, encoding="bytes").load()
        plain = {_as_bytes(key): v.values() if isinstance(v, PlainArray) else v for key, v in tree.items()}
    except Exception as error:  # of damaged bytes the unpickler raises almost anything
        raise ImagesError(f"{file}: expected a pickle of plain arrays, lists and bytes: {error}") from error
    return plain


def _as_bytes(key: Any) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode()
