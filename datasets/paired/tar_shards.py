"""Image-text pairs in uncompressed tar files (WebDataset): ``KEY.jpg`` with ``KEY.txt`` or ``KEY.json`` beside it.

Files of a sample share the name up to the first dot of its last part. A caption is a text file, or ``caption`` or
``text`` of a JSON file, one or a list; ``label`` of the JSON file, or ``KEY.cls``, names the class. The tar is read in
place: nothing is unpacked, links and other special members are passed over, and no name in it is taken for a path.

Rules beside those of `equissl.datasets.paired.captions`: a caption that is not UTF-8, JSON that is damaged or has no
caption, a sample without an image and one without a caption are left out and counted. A shard that is cut short or
compressed, and a key that has two images, are errors.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.images.decoding import SUFFIXES, decode_image_bytes
from equissl.datasets.images.sources import Images, ImagesError, ImageSource
from equissl.datasets.paired.captions import CaptionError, Findings, clean_caption
from equissl.util.listing import is_leftover

_MAX_TEXT = 1 << 20  # bytes of a text or JSON file that are read
_CAPTION_KEYS = ("caption", "text")


@dataclass
class TarSample:
    """One sample of a shard.

    Attributes:
        shard: number of its file.
        key: name without suffixes.
        image: suffix, position and size of the image's bytes; None without one.
        texts: captions, cleaned.
        label: name of the class; empty where none is named.
    """

    shard: int
    key: str
    image: tuple[str, int, int] | None = None
    texts: list[str] = field(default_factory=list)
    label: str = ""


def read_shards(shards: Sequence[Path], findings: Findings) -> list[TarSample]:
    """Read the captions of shards, and find the places of their images.

    Args:
        shards: tar files.
        findings: that count what is left out.

    Returns:
        samples with an image and at least one caption, in the order in which they stand in the files.

    Raises:
        CaptionError: a file that is no tar, is compressed or cut short, or a key with two images.
    """
    kept = []
    for number, path in enumerate(shards):
        for sample in _read_shard(number, path, findings):
            findings.without_image += sample.image is None
            findings.without_caption += sample.image is not None and not sample.texts
            if sample.image is not None and sample.texts:
                kept.append(sample)
    return kept


def _read_shard(number: int, path: Path, findings: Findings) -> list[TarSample]:
    samples: dict[str, TarSample] = {}
    for member, tar in _members(path):
        name = PurePosixPath(member.name)
        stem, dot, suffix = name.name.partition(".")
        key = str(name.parent / stem)
        sample = samples.setdefault(key, TarSample(number, key))
        suffix = f"{dot}{suffix}".lower()
        if suffix in SUFFIXES:
            if sample.image is not None:
                raise CaptionError(f"{path}: expected one image of each key, got two of {key!r}")
            sample.image = (suffix, member.offset_data, member.size)
        elif suffix in (".txt", ".json", ".cls"):
            _read_words(sample, suffix, tar, member, findings)
    return list(samples.values())


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the regular files of a shard."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse() and not is_leftover(PurePosixPath(member.name).name):
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError(f"{member.name} goes beyond its end")
                    yield member, tar
            # tarfile takes half a header or a damaged one for the end; a whole file ends with a block of zeros
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no end, and no further file, at byte {tar.offset}")
    except (tarfile.TarError, UnicodeDecodeError, OverflowError) as error:
        raise CaptionError(f"expected a whole, uncompressed tar file at {path}: {error}") from error


def _read_words(
    sample: TarSample, suffix: str, tar: tarfile.TarFile, member: tarfile.TarInfo, findings: Findings
) -> None:
    """Add what a text or JSON file says to a sample."""
    file = tar.extractfile(member)
    data = b"" if file is None else file.read(_MAX_TEXT)
    try:
        # of a text that is longer than what is read, the last character may be cut in two
        text = data.decode("utf-8-sig", errors="strict" if member.size <= _MAX_TEXT else "ignore")
        texts, label = _parse(text, suffix)
    except (UnicodeDecodeError, ValueError, RecursionError):
        findings.undecodable += 1
        return
    sample.texts += [clean for each in texts if (clean := clean_caption(each, findings)) is not None]
    sample.label = label or sample.label


def _parse(text: str, suffix: str) -> tuple[list[str], str]:
    """Return the captions and the label that a file holds."""
    if suffix == ".txt":
        return [text], ""
    if suffix == ".cls":
        return [], text.strip()
    values: Any = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {type(values).__name__}")
    label = str(values.get("label", ""))
    found = next((values[key] for key in _CAPTION_KEYS if key in values), None)
    texts: list[Any] = found if isinstance(found, list) else [found]
    if not texts or not all(isinstance(each, str) for each in texts):
        if label and found is None:
            return [], label
        raise ValueError(f"expected a text or a list of texts as {' or '.join(_CAPTION_KEYS)}, got {found!r:.40}")
    return texts, label


class TarImages(ImageSource):
    """Images of tar files, read at their places.

    Args:
        shards: the files.
        samples: of them, each with an image.
        labels: (N,) int64.
        classes: names.
        path: of the folder, or of the only file.
    """

    def __init__(
        self, shards: Sequence[Path], samples: Sequence[TarSample], labels: Tensor, classes: Sequence[str], path: Path
    ) -> None:
        super().__init__(labels, classes, path)
        self.shards = list(shards)
        images = [sample.image or ("", 0, 0) for sample in samples]
        # arrays, not lists: loader processes would copy them by counting references
        self._suffixes = np.array([suffix for suffix, _, _ in images])
        self._places = np.array([place for _, *place in images], np.int64).reshape(-1, 2)
        self._shard = np.array([sample.shard for sample in samples], np.int64)
        self._keys = np.array([sample.key for sample in samples])

    def read(self, rows: np.ndarray) -> Images:
        images = [self._read(int(row)) for row in rows]
        return torch.stack(images) if len({image.shape for image in images}) == 1 else images

    def _read(self, row: int) -> Tensor:
        path, (position, size) = self.shards[self._shard[row]], self._places[row].tolist()
        where = f"{path}: {self._keys[row]}{self._suffixes[row]}"
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                data = os.pread(descriptor, size, position)
            finally:
                os.close(descriptor)
            if len(data) != size:
                raise OSError(f"expected {size} bytes, got {len(data)}")
            return decode_image_bytes(data, str(self._suffixes[row]))
        except (OSError, RuntimeError, ValueError, SyntaxError) as error:  # Pillow calls some damage a SyntaxError
            raise ImagesError(f"{where}: cannot be decoded: {error}") from error
