"""Objects of a folder in the 3DIEBench layout, with their labels and split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.splits import TRAIN, VAL
from equissl.datasets.views.folder.format import (
    CLASSES_FILE,
    OBJECT_COLUMNS,
    OBJECTS_FILE,
    SPLIT_FILES,
    FolderError,
    read_table,
    wrong_folder,
)
from equissl.datasets.views.split import split_objects
from equissl.util.listing import entries


@dataclass(frozen=True)
class FolderIndex:
    """The objects of a folder.

    Attributes:
        places: ``CLASS/OBJECT`` of each of N objects.
        labels: (N,) int64, position of CLASS in ``classes``.
        split: (N,) uint8: 0 train, 1 val.
        classes: class folders, ascending.
    """

    places: list[str]
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]


def read_index(folder: Path, index: Path, val_fraction: float | None, seed: int) -> FolderIndex:
    """Read the objects of ``folder`` from the index files, or from what is on disk where there are none.

    Args:
        folder: in the 3DIEBench layout.
        index: folder of the index files.
        val_fraction: held out without index files.
        seed: seed of that choice.

    Raises:
        FolderError: see :func:`equissl.datasets.views.folder.layout.pack`.
    """
    on_disk = find_objects(folder)
    if not on_disk:
        raise wrong_folder(folder, f"no CLASS/OBJECT/image_0.jpg in {folder}")
    listed = _read_listed(index, on_disk)
    if listed is None:
        return _split_anew(folder, on_disk, val_fraction, seed)
    places, split, labels = listed
    if missing := sorted(set(places) - set(on_disk)):
        raise FolderError(
            f"the index files in {index} list {len(places)} objects, {len(missing)} of them are not in {folder}: "
            f"{', '.join(missing[:3])}"
        )
    found = _labelled(folder, places, split)
    known = labels >= 0
    if wrong := np.flatnonzero(known & (labels != found.labels)).tolist():
        i = wrong[0]
        raise FolderError(
            f"expected labels in {index} to be positions among the {len(found.classes)} ascending class folders: "
            f"{places[i]} is {found.labels[i]} there, but is labelled {labels[i]} ({len(wrong)} such objects)"
        )
    return _in_saved_order(folder, found)


def find_objects(folder: Path) -> list[str]:
    """``CLASS/OBJECT`` of everything with an ``image_0.jpg``, ascending."""
    return sorted(path.parent.relative_to(folder).as_posix() for path in entries(folder, "*/*/image_0.jpg"))


def _read_listed(index: Path, on_disk: list[str]) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Objects, split and labels (−1 unknown) of the index files; None without a list of val objects."""
    if not (index / "val_images.npy").exists():
        return None
    val, val_labels = _read_list(index, "val")
    if (index / "train_images.npy").exists():
        train, train_labels = _read_list(index, "train")
    else:
        train = sorted(set(on_disk) - set(val))
        train_labels = np.full(len(train), -1)
    places = [*train, *val]
    if len(set(places)) != len(places):
        raise FolderError(f"expected each object once in the index files of {index}, some are listed twice")
    split = np.repeat(np.array([TRAIN, VAL], dtype=np.uint8), [len(train), len(val)])
    return places, split, np.concatenate([train_labels, val_labels])


def _read_list(index: Path, name: str) -> tuple[list[str], np.ndarray]:
    try:
        images = np.load(index / f"{name}_images.npy", allow_pickle=False)
        file = index / f"{name}_labels.npy"
        labels = np.load(file, allow_pickle=False) if file.exists() else np.full(len(images), -1)
    except (ValueError, EOFError) as error:
        raise FolderError(f"expected NumPy arrays in {index}/{name}_{{images,labels}}.npy: {error}") from error
    if images.ndim != 1 or (images.size and images.dtype.kind != "U") or labels.shape != images.shape:
        raise FolderError(
            f"expected text of shape (n,) in {name}_images.npy and integers of the same shape in {name}_labels.npy, "
            f"found {images.dtype} {images.shape} and {labels.dtype} {labels.shape} in {index}"
        )
    return [str(entry).strip("/") for entry in images], labels.astype(np.int64)


def _split_anew(folder: Path, places: list[str], val_fraction: float | None, seed: int) -> FolderIndex:
    if val_fraction is None:
        raise wrong_folder(
            folder,
            f"no index files ({', '.join(SPLIT_FILES)}) for the {len(places)} objects in {folder}: put them there, "
            "or give their folder as `index`, or give `val_fraction` to draw a new split, not the published one",
        )
    found = _labelled(folder, places, np.zeros(len(places), np.uint8))
    split = split_objects(found.labels.tolist(), [""] * len(places), val_fraction, seed)
    return FolderIndex(places, found.labels, split, found.classes)


def _labelled(folder: Path, places: list[str], split: np.ndarray) -> FolderIndex:
    classes = {place.split("/")[0] for place in places}
    if (folder / CLASSES_FILE).exists():  # classes without objects count, too
        classes |= {row["folder"] for row in read_table(folder / CLASSES_FILE, ("folder", "name"))}
    order = {name: label for label, name in enumerate(sorted(classes))}
    labels = np.array([order[place.split("/")[0]] for place in places], dtype=np.int64)
    return FolderIndex(places, labels, split, tuple(order))


def _in_saved_order(folder: Path, found: FolderIndex) -> FolderIndex:
    """The order of the store that the folder was unpacked from, where that is known."""
    if not (folder / OBJECTS_FILE).exists():
        return found
    position = {row["folder"]: i for i, row in enumerate(read_table(folder / OBJECTS_FILE, OBJECT_COLUMNS))}
    order = sorted(range(len(found.places)), key=lambda i: position.get(found.places[i], len(position)))
    return FolderIndex([found.places[i] for i in order], found.labels[order], found.split[order], found.classes)
