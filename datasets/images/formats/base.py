"""The interface of a format: how the images of a folder are found and read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from equissl.datasets.images.sources import ImageSource


class ImageFormat(ABC):
    """One way in which images lie in a folder.

    Attributes:
        name: in configs.
        layout: files of such a folder, for errors.
    """

    name: ClassVar[str]
    layout: ClassVar[str]

    @abstractmethod
    def splits(self, root: Path) -> tuple[str, ...]:
        """Find the splits of a folder, some of ``train``, ``val`` and ``unlabeled``; none in one of another format.

        Only ``train``, where the images are not divided.
        """

    @abstractmethod
    def read(self, root: Path, split: str) -> ImageSource:
        """Open one of these splits.

        Args:
            root: the folder.
            split: one that `splits` found.

        Raises:
            ImagesError: damaged files.
        """


def find_home(root: Path, homes: tuple[str, ...], names: tuple[str, ...]) -> Path | None:
    """Find the folder that holds a file of one of these names: the root, or one below in which downloads are unpacked.

    Args:
        root: the folder that was named.
        homes: folders below it to look into.
        names: of files.
    """
    places = (root / home for home in ("", *homes))
    return next((place for place in places if any((place / name).is_file() for name in names)), None)
