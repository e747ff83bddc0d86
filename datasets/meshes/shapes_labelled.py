"""A labelled collection of OBJ files with an index: one archive per class, or unpacked."""

from __future__ import annotations

import csv
from pathlib import Path

from equissl.datasets.meshes.files import Files, FolderFiles, TarFiles
from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.listed import Listed, ListedSource, wrong_tree
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.meshes.source import MeshSourceError

_LICENCE = "none stated; research and test use only"
_CREATOR = "ShapeDatabase_INFOMR, from the Princeton Shape Benchmark and others"


class ShapesLabelledSource(ListedSource):
    """Geometry without materials, of many makers: up axes and winding differ between objects.

    Args:
        root: Folder of ``index.tsv`` and, per class, ``CLASS.tar.xz`` or the unpacked ``CLASS``.
        up: Of the files; y unless told otherwise. No axis is right for all of them.
        limits: On one mesh.

    Raises:
        MeshSourceError: For another tree, with the one expected and what was found; naming classes that are indexed
            and not there.
    """

    name = "shapes_labelled"
    expected = """\
  FOLDER/
    index.tsv         columns path (CLASS/NAME.obj) and class
    CLASS.tar.xz      of every class, or unpacked: CLASS/NAME.obj"""

    def __init__(self, root: Path | str, up: Up | None = None, limits: MeshLimits | None = None) -> None:
        root = Path(root)
        if not self.matches(root):
            raise wrong_tree(type(self), root, "no index.tsv with columns path and class")
        with (root / "index.tsv").open(encoding="utf-8", newline="") as file:
            rows = [(row["path"], row["class"]) for row in csv.DictReader(file, delimiter="\t")]
        folders = {path.split("/")[0] for path, _ in rows}
        packed = {name for name in folders if (root / f"{name}.tar.xz").is_file()}
        unpacked = {name for name in folders if (root / name).is_dir()}
        if missing := sorted(folders - packed - unpacked):
            names = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
            raise wrong_tree(type(self), root, f"{len(missing)} of {len(folders)} classes are missing ({names})")
        files: Files = FolderFiles(root) if folders <= unpacked else TarFiles(root)
        if folders - unpacked and folders - packed:
            raise MeshSourceError(f"expected all classes in {root} packed, or all unpacked, got some of each")
        items = (Listed(path, Path(path).stem, name, None, _LICENCE, _CREATOR) for path, name in rows)
        super().__init__(root, items, sorted({name for _, name in rows}), up, limits, files)

    @classmethod
    def matches(cls, root: Path) -> bool:
        index = root / "index.tsv"
        if not index.is_file():
            return False
        with index.open(encoding="utf-8", errors="replace") as file:
            return {"path", "class"} <= set(file.readline().rstrip("\n").split("\t"))
