"""ModelNet10 and ModelNet40, as downloaded: OFF files in CLASS/train and CLASS/test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.listed import Listed, ListedSource, wrong_tree
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.splits import TRAIN, VAL
from equissl.util.listing import entries, subfolders

_SPLITS = {"train": TRAIN, "test": VAL}
_LICENCE = "academic research only; models from the Internet, copyright of their authors (ModelNet, Princeton)"


class ModelNetSource(ListedSource):
    """ModelNet: classes in alphabetical order; ``train`` is train and ``test`` is val. z is up in its files.

    Args:
        root: The folder of classes.
        up: Of the files; z unless told otherwise.
        limits: On one mesh.

    Raises:
        MeshSourceError: For another tree, with the one expected and what was found.
    """

    name = "modelnet"
    expected = """\
  FOLDER/
    CLASS/            for example bathtub
      train/  NAME_0001.off ...
      test/   NAME_0107.off ..."""

    def __init__(self, root: Path | str, up: Up | None = None, limits: MeshLimits | None = None) -> None:
        items = list(_find_models(Path(root)))
        if not items:
            raise wrong_tree(type(self), Path(root), "no CLASS/train/*.off or CLASS/test/*.off")
        super().__init__(root, items, sorted({item.class_name for item in items}), up, limits)

    @classmethod
    def matches(cls, root: Path) -> bool:
        return next(_find_models(root), None) is not None


def _find_models(root: Path) -> Iterator[Listed]:
    for folder in subfolders(root):
        for part, split in _SPLITS.items():
            for file in entries(folder / part, "*.off"):
                path = file.relative_to(root).as_posix()
                yield Listed(path, f"{part}/{file.stem}", folder.name, split, _LICENCE)
