"""Conversion of the folder layout of 3DIEBench to a view store."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from equissl.datasets.views.folder.format import (
    CLASSES_FILE,
    OBJECT_COLUMNS,
    OBJECTS_FILE,
    PROVENANCE_FILE,
    FolderError,
    read_table,
    wrong_folder,
)
from equissl.datasets.views.folder.index import FolderIndex, read_index
from equissl.datasets.views.schema import LatentSchema, threediebench_schema, threediebench_t_schema
from equissl.datasets.views.store.format import NOT_COUNTED, StoreHeader, encode_jpeg
from equissl.datasets.views.store.tables import StoreTables
from equissl.datasets.views.store.writer import ViewStoreWriter
from equissl.util.progress import Progress

_SCHEMAS = {7: threediebench_schema, 10: threediebench_t_schema}


def pack(
    folder: Path | str,
    out: Path | str,
    size: int | None = None,
    index: Path | str | None = None,
    val_fraction: float | None = None,
    seed: int = 0,
    progress: bool = False,
    overwrite: bool = False,
) -> Path:
    """Read a folder in the layout of 3DIEBench or 3DIEBench-T, the authors' own included, into a store.

    JPEG bytes are copied untouched. Labels follow the ascending order of the class folders' names.

    Args:
        folder: holds ``CLASS/OBJECT/image_<i>.jpg`` and ``latent_<i>.npy``.
        out: the ``.h5`` file.
        size: resize (bilinear) and encode again at quality 95, where images have another size.
        index: folder of ``{train,val}_{images,labels}.npy``, default ``folder``. With ``val_images.npy`` alone, all
            other objects found are train.
        val_fraction: without index files, draw a split of this fraction, stratified by class.
        seed: seed of that split.
        progress: show how far it is.
        overwrite: replace ``out``.

    Returns:
        ``out``.

    Raises:
        FolderError: for a wrong folder, with the tree expected and found; naming the first object that is missing,
            incomplete or of another shape.
        FileExistsError: when ``out`` exists.
        OSError: for a full disk; nothing is left behind.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already and is not overwritten without being told to")
    listing = read_index(folder, Path(index or folder), val_fraction, seed)
    views = count_views(folder, listing.places[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    with Progress(2 * len(listing.places) * views, f"packing {folder.name}", "files", progress) as bar:
        latents = _read_all_latents(folder, listing, views, bar)
        first = _image_path(folder, listing.places[0], 0)
        header = _header(folder, listing, latents, views, size or _check_image(first, first.read_bytes(), None))
        images = _Images(folder, listing, header, size is not None, bar)
        with tempfile.TemporaryFile(dir=out.parent) as spool:
            sizes = images.spool(spool) if images.resize else images.sizes()
            tables = _tables(folder, listing, latents, sizes)
            if images.resize:
                tables = replace(tables, object_pixels=np.full_like(tables.object_pixels, NOT_COUNTED))
            with ViewStoreWriter(out, header, tables) as writer:
                for data in _read_pieces(spool) if images.resize else images:
                    writer.write(data)
    return out


def count_views(folder: Path, place: str) -> int:
    """Count the views of an object: ``image_0.jpg`` and on, without a gap.

    Args:
        folder: folder of the tree.
        place: place of the object in it.
    """
    found = {path.name for path in (folder / place).glob("image_*.jpg")}
    views = len(found)
    if not views or found != {f"image_{i}.jpg" for i in range(views)}:
        raise wrong_folder(folder, f"expected image_0.jpg, image_1.jpg, ... in {place}, found {sorted(found)[:5]}")
    return views


def _image_path(folder: Path, place: str, view: int) -> Path:
    return folder / place / f"image_{view}.jpg"


def _read_all_latents(folder: Path, listing: FolderIndex, views: int, bar: Progress) -> np.ndarray:
    rows = []
    for place in listing.places:
        if (found := count_views(folder, place)) != views:
            raise FolderError(f"expected {views} views of every object, as of {listing.places[0]}, {place} has {found}")
        rows.append([_read_latent(folder / place / f"latent_{view}.npy") for view in range(views)])
        if len({row.shape for row in (rows[0][0], *rows[-1])}) > 1:
            shapes = rows[0][0].shape, sorted({row.shape for row in rows[-1]})
            raise FolderError(
                f"expected latents of shape {shapes[0]}, as of {listing.places[0]}, {place} has {shapes[1]}"
            )
        bar.update(views)
    return np.array(rows)


def _read_latent(path: Path) -> np.ndarray:
    try:
        latent = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FolderError(f"expected a latent beside every image, {path} is missing") from None
    except (ValueError, EOFError) as error:
        raise FolderError(f"expected a NumPy array in {path}: {error}") from error
    if latent.dtype != np.float64 or latent.shape not in [(n,) for n in _SCHEMAS]:
        raise FolderError(f"expected float64 of shape (7,) or (10,) in {path}, found {latent.dtype} {latent.shape}")
    return latent


def _check_image(path: Path, data: bytes, size: int | None) -> int:
    """Side of a square JPEG image, which must be ``size`` where that is given."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind, found = image.format, image.size
    except OSError as error:
        raise FolderError(f"expected a JPEG image in {path}: {error}") from error
    if kind != "JPEG" or found != (size or found[0],) * 2:
        wanted = f"{size} x {size}" if size else "square"
        raise FolderError(f"expected a {wanted} JPEG image in {path}, found {kind} {found}; `size` resizes all")
    return found[0]


@dataclass
class _Images:
    """The encoded images of a folder, in order."""

    folder: Path
    listing: FolderIndex
    header: StoreHeader
    resize: bool
    bar: Progress

    def paths(self) -> Iterator[Path]:
        for place in self.listing.places:
            for view in range(self.header.num_views):
                yield _image_path(self.folder, place, view)

    def sizes(self) -> np.ndarray:
        return self._shaped([path.stat().st_size for path in self.paths()])

    def __iter__(self) -> Iterator[bytes]:
        for path in self.paths():
            data = path.read_bytes()
            _check_image(path, data, self.header.image_size)
            self.bar.update(1)
            yield data

    def spool(self, file: io.IOBase) -> np.ndarray:
        """Write resized images to ``file`` and return their sizes."""
        sizes = []
        for path in self.paths():
            data = _resized(path, self.header.image_size)
            file.write(data)
            sizes.append(len(data))
            self.bar.update(1)
        file.seek(0)
        return self._shaped(sizes)

    def _shaped(self, sizes: list[int]) -> np.ndarray:
        return np.array(sizes, dtype=np.int64).reshape(-1, self.header.num_views)


def _resized(path: Path, size: int) -> bytes:
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size == (size, size) and image.format == "JPEG":
                return data
            return encode_jpeg(np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)))
    except OSError as error:
        raise FolderError(f"expected an image in {path}: {error}") from error


def _read_pieces(file: io.IOBase) -> Iterator[bytes]:
    while piece := file.read(1 << 24):
        yield piece


def _header(folder: Path, listing: FolderIndex, latents: np.ndarray, views: int, size: int) -> StoreHeader:
    provenance = _provenance(folder)
    schema = LatentSchema.from_json(provenance["schema"]) if provenance else _SCHEMAS[latents.shape[-1]]()
    names = listing.classes
    if (folder / CLASSES_FILE).exists():
        names = tuple(row["name"] for row in read_table(folder / CLASSES_FILE, ("folder", "name")))
    attributes = provenance.get("attributes", {"packed_from": folder.name})
    return StoreHeader(schema, names, views, size, "jpeg", attributes)


def _provenance(folder: Path) -> dict:
    path = folder / PROVENANCE_FILE
    return json.loads(path.read_text()) if path.exists() else {}


def _tables(folder: Path, listing: FolderIndex, latents: np.ndarray, sizes: np.ndarray) -> StoreTables:
    rows = {}
    if (folder / OBJECTS_FILE).exists():
        rows = {row["folder"]: row for row in read_table(folder / OBJECTS_FILE, OBJECT_COLUMNS)}
    known = [rows.get(place, {}) for place in listing.places]
    provenance = _provenance(folder)
    return StoreTables(
        names=[row.get("name", place) for row, place in zip(known, listing.places, strict=True)],
        labels=listing.labels,
        latents=latents,
        sizes=sizes,
        indices=np.array([int(row.get("index", i)) for i, row in enumerate(known)], dtype=np.int64),
        split=listing.split,
        sources=[row.get("source", folder.name) for row in known],
        licences=[row.get("licence", "") for row in known],
        creators=[row.get("creator", "") for row in known],
        object_pixels=_object_pixels(known, sizes.shape),
        **{name: [tuple(pair) for pair in provenance.get(name, [])] for name in ("skipped", "warnings")},
    )


def _object_pixels(known: list[dict[str, str]], shape: tuple[int, int]) -> np.ndarray:
    """(N, V) as the table of objects has them."""
    pixels = np.full(shape, NOT_COUNTED, np.int32)
    for row, text in zip(pixels, (row.get("object_pixels", "") for row in known), strict=True):
        if len(found := text.split()) == len(row):
            row[:] = [int(value) for value in found]
    return pixels
