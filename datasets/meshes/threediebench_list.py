"""ShapeNet objects that 3DIEBench shows, and those of them that it holds out.

Facts of the published data set (Garrido, Najman and LeCun, "Self-supervised learning of Split Invariant Equivariant
representations", ICML 2023): ``all_objects.npy`` (n, 2) lists synset and object id; ``train_images.npy`` and
``val_images.npy`` hold one entry ``/SYNSET/ID/`` an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.meshes.source import MeshSourceError
from equissl.datasets.splits import TRAIN, VAL

OBJECTS, TRAIN_LIST, VAL_LIST = "all_objects.npy", "train_images.npy", "val_images.npy"


def published_split(count: int) -> np.ndarray:
    """Return the split rule of 3DIEBench for ``count`` objects grouped by ascending synset.

    A permutation of all objects by NumPy's legacy generator, seeded with 0; the first 80 of every full hundred (41,920
    of 52,472) are train. With the published objects this gives the published class counts of both splits. Which objects
    of a class are held out depends on their order, which was never published: only ``val_images.npy`` tells.

    Returns:
        (count,) uint8: 0 train, 1 val.
    """
    train = 80 * (count // 100) if count >= 100 else round(0.8 * count)
    split = np.full(count, VAL, np.uint8)
    split[np.random.RandomState(0).permutation(count)[:train]] = TRAIN
    return split


@dataclass(frozen=True)
class PublishedList:
    """``SYNSET/ID`` of the objects to use, ascending, and their split; None in place of either for no say."""

    objects: list[str] | None
    split: dict[str, int] | None


def read_published_list(folder: Path) -> PublishedList:
    """Read the lists in ``folder``, as far as they are there.

    Objects are those of ``all_objects.npy``, else of the train and val lists together, else all that are found. The
    split is that of ``val_images.npy`` (all others are train), else :func:`published_split` of ``all_objects.npy``.

    Raises:
        MeshSourceError: for a file that is not such a list.
    """
    val = _read(folder / VAL_LIST)
    train = _read(folder / TRAIN_LIST)
    objects = _read(folder / OBJECTS)
    if objects is None and val is not None and train is not None:
        objects = sorted({*train, *val})
    split = None
    if val is not None:
        split = dict.fromkeys(objects or (), TRAIN) | dict.fromkeys(val, VAL)
    elif objects is not None:
        split = dict(zip(objects, published_split(len(objects)).tolist(), strict=True))
    return PublishedList(objects, split)


def _read(file: Path) -> list[str] | None:
    """``SYNSET/ID`` of a list, ascending; None where the file is absent."""
    if not file.exists():
        return None
    try:
        rows = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise MeshSourceError(f"expected a NumPy array of text in {file}: {error}") from error
    if rows.dtype.kind != "U" or rows.shape[1:] not in ((), (2,)):
        raise MeshSourceError(f"expected text of shape (n,) or (n, 2) in {file}, got {rows.dtype} {rows.shape}")
    names = ("/".join(row) for row in rows.tolist()) if rows.ndim == 2 else (row.strip("/") for row in rows.tolist())
    return sorted(set(names))
