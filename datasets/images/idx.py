"""Files of the IDX format, in which MNIST and its relatives come."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from equissl.util.listing import entries

UNSIGNED_BYTE = 0x08
GZIP = b"\x1f\x8b"


class IdxError(ValueError):
    """A file that is not IDX, is cut short, or does not go with its labels; the message names it."""


def read_idx(path: str | Path) -> np.ndarray:
    """The uint8 array of an IDX file, plain or gzipped.

    Raises:
        IdxError: not such a file, another element type, or more or fewer bytes than its header says.
    """
    path = Path(path)
    data = path.read_bytes()
    if data[:2] == GZIP:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise IdxError(f"{path}: damaged gzip file: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE or not data[3]:
        raise IdxError(
            f"{path}: expected an IDX file of unsigned bytes (00 00 08 n), got {data[:4].hex(' ') or 'nothing'}"
        )
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise IdxError(f"{path}: header cut short: expected {start} bytes, got {len(data)}")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise IdxError(f"{path}: expected {math.prod(shape)} bytes for shape {shape}, got {len(data) - start}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_idx_folder(folder: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of every pair ``NAME-images*idx3-ubyte[.gz]``, ``NAME-labels*idx1-ubyte[.gz]`` of a folder.

    Returns:
        (images (N, H, W), labels (N,)) by NAME, such as ``train`` and ``t10k``, sorted.

    Raises:
        FileNotFoundError: no such folder, no images in it, or images without labels.
        IdxError: a damaged file, or counts or shapes that do not fit.
    """
    return {name: read_idx_pair(*files) for name, files in find_idx_pairs(folder).items()}


def find_idx_pairs(folder: str | Path) -> dict[str, tuple[Path, Path]]:
    """Files of images and labels by NAME, sorted; see `read_idx_folder`.

    Raises:
        FileNotFoundError: no such folder, no images in it, or images without labels.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder of IDX files (train-images-idx3-ubyte.gz, …), got {folder}")
    found: dict[str, tuple[Path, Path]] = {}
    for file in entries(folder):
        name, mark, _ = file.name.partition("-images")
        if mark and "idx3" in file.name and name not in found:
            found[name] = (file, _labels_of(file, name))
    if not found:
        held = [p.name for p in entries(folder)][:8]
        raise FileNotFoundError(f"no *-images-idx3-ubyte[.gz] in {folder}; it holds {held or 'nothing'}")
    return found


def _labels_of(images: Path, name: str) -> Path:
    beside = [p for p in entries(images.parent) if p.name.startswith(f"{name}-labels") and "idx1" in p.name]
    if not beside:
        raise FileNotFoundError(f"expected {name}-labels-idx1-ubyte[.gz] beside {images}")
    return beside[0]


def read_idx_pair(image_file: Path, label_file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, H, W) and labels (N,) of two files.

    Args:
        image_file, label_file: IDX files, plain or gzipped.

    Raises:
        IdxError: a damaged file, or counts or shapes that do not fit.
    """
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise IdxError(
            f"{image_file}, {label_file.name}: expected images (N, H, W) and labels (N,), "
            f"got {images.shape} and {labels.shape}"
        )
    return images, labels
