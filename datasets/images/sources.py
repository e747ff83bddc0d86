"""Images to learn from: labels at once, pixels when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.images.decoding import decode_file

Images = Tensor | list[Tensor]  # (n, 3, H, W) uint8, or n images (3, H, W) of several sizes
UNLABELLED = -1


class ImagesError(ValueError):
    """Images that cannot be read; the message says what was expected and what came."""


class ImageSource(ABC):
    """N images, which are read a few at a time.

    Attributes:
        labels: (N,) int64 classes; -1 for images without.
        classes: names; none for images without labels.
        path: where the images come from.
        size: height and width that all images share; None where that is not known without reading them.
        start_method: of loader processes that can read them; None for torch's default.
    """

    size: tuple[int, int] | None = None
    start_method: str | None = None

    def __init__(self, labels: Tensor, classes: Sequence[str], path: Path) -> None:
        self.labels, self.classes, self.path = labels, tuple(classes), path

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        return bool(self.classes)

    @property
    def wholly_labelled(self) -> bool:
        """True where every image has a label."""
        return self.labelled and bool((self.labels != UNLABELLED).all())

    @abstractmethod
    def read(self, rows: np.ndarray) -> Images:
        """The images at some positions, in that order: one tensor where they are of one size.

        Raises:
            ImagesError: a file that cannot be decoded.
        """

    def visited(self, rows: np.ndarray, epochs: np.ndarray) -> Images:
        """Read the images at some positions as they are in some epochs: always the same, unless they are rendered.

        Args:
            rows: (n,) positions.
            epochs: (n,) number of each visit.

        Raises:
            ImagesError: see `read`.
        """
        return self.read(rows)


class StoredImages(ImageSource):
    """Images of one size in memory, or mapped into it.

    Args:
        images: (N, 3, H, W) uint8, or (N, 1, H, W) of gray values.
        labels: (N,) int64.
        classes: names.
        path: where the images come from.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str], path: Path) -> None:
        super().__init__(labels, classes, path)
        if images.ndim != 4 or len(images) != len(labels):
            raise ImagesError(f"{path}: expected {len(labels)} labelled images, got shape {tuple(images.shape)}")
        self.images = images
        self.size = (images.shape[2], images.shape[3])

    def read(self, rows: np.ndarray) -> Tensor:
        """(n, 3, H, W) uint8; gray values three times."""
        return self.images[torch.as_tensor(rows)].expand(-1, 3, -1, -1)


class ImageFiles(ImageSource):
    """Encoded files of any sizes, none of which is opened before it is asked for.

    Args:
        files: N paths relative to ``path``.
        labels: (N,) int64.
        classes: names.
        path: the folder.
    """

    def __init__(self, files: Sequence[str], labels: Tensor, classes: Sequence[str], path: Path) -> None:
        super().__init__(labels, classes, path)
        self.files = np.array(files)  # not a list: workers would copy a million strings by counting references

    def read(self, rows: np.ndarray) -> Images:
        images = [self._decode(str(name)) for name in self.files[rows]]
        alike = len({image.shape for image in images}) == 1
        return torch.stack(images) if alike else images

    def _decode(self, name: str) -> Tensor:
        try:
            return decode_file(self.path / name)
        except (OSError, RuntimeError, ValueError, SyntaxError) as error:  # Pillow calls some damage a SyntaxError
            raise ImagesError(f"{self.path / name}: cannot be decoded: {error}") from error


class JoinedImages(ImageSource):
    """Real images, and after them generated ones, whose classes are those of the real ones or not known.

    Args:
        real: with the classes and the path of all.
        generated: without labels, or with classes of the real ones by name.

    Raises:
        ImagesError: generated images of other classes.
    """

    def __init__(self, real: ImageSource, generated: ImageSource) -> None:
        if unknown := sorted(set(generated.classes) - set(real.classes)):
            found = ", ".join(unknown[:5])
            raise ImagesError(f"expected the classes of {real.path} in {generated.path}, found {found} too")
        places = torch.tensor([real.classes.index(name) for name in generated.classes] + [UNLABELLED])
        super().__init__(torch.cat([real.labels, places[generated.labels]]), real.classes, real.path)
        self.real, self.generated = real, generated
        self.size = real.size if real.size == generated.size else None
        self.start_method = generated.start_method or real.start_method

    def read(self, rows: np.ndarray) -> Images:
        return self.visited(rows, np.zeros_like(rows))

    def visited(self, rows: np.ndarray, epochs: np.ndarray) -> Images:
        made = rows >= len(self.real)
        images: list[Tensor] = [torch.empty(0)] * len(rows)
        for source, places in ((self.real, ~made), (self.generated, made)):
            if places.any():
                first = len(self.real) if source is self.generated else 0
                found = source.visited(rows[places] - first, epochs[places])
                for place, image in zip(np.flatnonzero(places), found, strict=True):
                    images[place] = image
        return torch.stack(images) if len({image.shape for image in images}) == 1 else images


class ImageSubset(ImageSource):
    """Some images of a source.

    Args:
        source: all images.
        rows: (n,) positions of those that are kept.
    """

    def __init__(self, source: ImageSource, rows: np.ndarray) -> None:
        super().__init__(source.labels[torch.as_tensor(rows)], source.classes, source.path)
        self.source, self.rows, self.size, self.start_method = source, rows, source.size, source.start_method

    def read(self, rows: np.ndarray) -> Images:
        return self.source.read(self.rows[rows])

    def visited(self, rows: np.ndarray, epochs: np.ndarray) -> Images:
        return self.source.visited(self.rows[rows], epochs)
