"""Conversion between view stores and the folder layout of 3DIEBench; JPEG bytes are kept as they are.

The layout, of Garrido, Najman and LeCun ("Self-supervised learning of Split Invariant Equivariant representations",
ICML 2023): ``CLASS/OBJECT/image_<i>.jpg`` beside ``latent_<i>.npy``, and lists of the objects of each split. The
authors' own scripts run on an unpacked store, and their data can be packed as they are. Three small files that those
scripts do not read (``classes.tsv``, ``objects.tsv``, ``provenance.json``) let a store come back whole.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from equissl.datasets.splits import SPLITS
from equissl.datasets.views.folder.format import (
    CLASSES_FILE,
    OBJECT_COLUMNS,
    OBJECTS_FILE,
    PROVENANCE_FILE,
    FolderError,
    write_table,
)
from equissl.datasets.views.folder.packing import pack
from equissl.datasets.views.store.format import encode_jpeg
from equissl.datasets.views.store.store import ViewStore
from equissl.util.files import atomic_path, full_disk_message, remove_temporary
from equissl.util.progress import Progress

__all__ = ["FolderError", "pack", "unpack"]


def unpack(store: ViewStore | Path | str, folder: Path | str, progress: bool = False) -> Path:
    """Write a store in the folder layout of 3DIEBench.

    Class folders have the WordNet numbers of ShapeNet's classes where the store was rendered from those, else the label
    as eight digits: either way their ascending order is the order of the labels, as published; ``classes.tsv`` has
    their names. Raw images are written as JPEG of quality 95. Point clouds stay behind, which that layout lacks.

    Args:
        store: what to unpack.
        folder: where to; must not exist or be empty. It appears only when it is complete.
        progress: show how far it is.

    Returns:
        ``folder``.

    Raises:
        FolderError: when ``folder`` holds something.
        OSError: for a full disk.
    """
    store, folder = store if isinstance(store, ViewStore) else ViewStore(store), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderError(f"expected {folder} not to exist or to be an empty folder: nothing is overwritten")
    remove_temporary(folder)
    total, label = store.num_objects * store.num_views, f"unpacking {store.path.name}"
    with (
        full_disk_message(folder, int(store.tables.sizes.sum())),
        atomic_path(folder) as temporary,
        Progress(total, label, "img", progress) as bar,
    ):
        places = object_places(store)
        temporary.mkdir()
        _write_tables(store, places, temporary)
        for index, place in enumerate(places):
            _write_object(store, index, temporary / place)
            bar.update(store.num_views)
    return folder


def class_folders(store: ViewStore) -> list[str]:
    """Eight digits for each class, ascending with the labels: the synsets of objects named ``SYNSET/ID``, or labels."""
    numbers = [f"{label:08d}" for label in range(len(store.classes))]
    synsets = {(label, name[:9]) for label, name in zip(store.labels.tolist(), store.object_names, strict=True)}
    found = [synset[:8] for _, synset in sorted(synsets)]
    named = all(re.fullmatch(r"\d{8}/", synset) for _, synset in synsets)
    # one synset a class, all classes with objects, ascending: anything else would change the labels
    return found if named and len(found) == len(numbers) and found == sorted(set(found)) else numbers


def object_places(store: ViewStore) -> list[str]:
    """``CLASS/OBJECT`` of each object: its own name where that makes a file name, unique in its class."""
    places: list[str] = []
    taken: set[str] = set()
    folders = class_folders(store)
    for index, (name, label) in enumerate(zip(store.object_names, store.labels.tolist(), strict=True)):
        short = name.removeprefix(f"{store.classes[label]}/").removeprefix(f"{folders[label]}/")
        place = f"{folders[label]}/{re.sub(r'[^A-Za-z0-9._-]', '_', short).lstrip('.') or 'object'}"
        if place.lower() in taken:
            place = f"{place}_{index}"
        taken.add(place.lower())
        places.append(place)
    return places


def _write_object(store: ViewStore, index: int, place: Path) -> None:
    place.mkdir(parents=True)
    flat = index * store.num_views + np.arange(store.num_views)
    if store.encoding == "jpeg":
        images = store.read_bytes(flat)
    else:
        images = [encode_jpeg(image) for image in store.read_images(flat).permute(0, 2, 3, 1).numpy()]
    for view, (image, latents) in enumerate(zip(images, store.latents[index], strict=True)):
        (place / f"image_{view}.jpg").write_bytes(image)
        np.save(place / f"latent_{view}.npy", latents)


def _write_tables(store: ViewStore, places: list[str], folder: Path) -> None:
    for name, split in SPLITS.items():
        chosen = np.flatnonzero(store.split == split)
        np.save(folder / f"{name}_images.npy", np.array([f"/{places[i]}/" for i in chosen], dtype=np.str_))
        np.save(folder / f"{name}_labels.npy", store.labels[chosen])
        np.save(folder / f"all_latents_{name}.npy", store.latents[chosen].reshape(-1, len(store.schema)))
    np.save(folder / "all_objects.npy", np.array(sorted(place.split("/") for place in places), dtype=np.str_))
    tables, folders = store.tables, class_folders(store)
    for name in folders:
        (folder / name).mkdir()
    write_table(folder / CLASSES_FILE, ("folder", "name"), list(zip(folders, store.classes, strict=True)))
    pixels = [" ".join(map(str, row)) for row in tables.object_pixels]
    columns = (places, map(str, tables.indices), tables.names, tables.sources, tables.licences, tables.creators, pixels)
    write_table(folder / OBJECTS_FILE, OBJECT_COLUMNS, list(zip(*columns, strict=True)))
    provenance = {"schema": store.schema.to_json(), "attributes": store.attributes}
    provenance |= {"skipped": list(tables.skipped), "warnings": list(tables.warnings)}
    (folder / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=1))
    (folder / "LICENSE").write_text(licence_text(store), encoding="utf-8")


def licence_text(store: ViewStore) -> str:
    """Under which licence, and by whom, each mesh is that the images show."""
    tables = store.tables
    groups: dict[tuple[str, str], list[str]] = {}
    for name, source, licence, creator in zip(
        tables.names, tables.sources, tables.licences, tables.creators, strict=True
    ):
        groups.setdefault((source, licence), []).append(f"  {name}" + (f": {creator}" if creator else ""))
    parts = ["The images in this folder were rendered from 3D models with these licences and creators."]
    for (source, licence), names in sorted(groups.items()):
        parts.append(f"{source or 'source not recorded'}, {licence or 'licence not recorded'}:\n" + "\n".join(names))
    return "\n\n".join(parts) + "\n"
