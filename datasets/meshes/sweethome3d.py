"""The furniture of Sweet Home 3D as Debian packages it: 820 real meshes, 490 in the 22 classes of ten or more."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files as package_files
from pathlib import Path, PurePosixPath

import numpy as np

from equissl.datasets.meshes.cache import cache_root, cached_mesh
from equissl.datasets.meshes.files import Files, ZipFiles
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.normalise import normalise_mesh, rotate_mesh
from equissl.datasets.meshes.obj import read_obj
from equissl.datasets.meshes.source import MeshEntry, MeshSourceError, choose_classes

PACKAGE = "sweethome3d-furniture"
SYSTEM_FOLDER = Path("/usr/share/sweethome3d/furniture")
ARCHIVES = ("BlendSwap-CC-0.sh3f", "BlendSwap-CC-BY.sh3f", "KatorLegaz.sh3f", "Reallusion.sh3f", "Scopia.sh3f")
#: The less symmetric classes: a pose that cannot be seen cannot be measured.
ORIENTED_CLASSES = (
    "bed", "bookcase_shelf", "cabinet", "car", "chair", "cup_glass", "electronics", "hand_tool", "oven_stove",
    "person", "plug_switch", "sofa",
)  # fmt: skip
_CATALOGUE = "PluginFurnitureCatalog.properties"
#: The catalogue's frame (y up, front along +z) to ours: z up, front along +y, as ShapeNet's objects in 3DIEBench.
_TO_WORLD = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])


def find_sweethome3d(root: Path | str | None = None) -> Path | None:
    """Return the folder of the archives, or None.

    ``root`` or ``$EQUISSL_SWEETHOME3D``, where given, is the only place looked at; else the system's, then the cache's.
    """
    given = root or os.environ.get("EQUISSL_SWEETHOME3D")
    candidates = [Path(given)] if given else [SYSTEM_FOLDER, cache_root() / "sweethome3d"]
    return next((c for c in candidates if all((c / a).is_file() for a in ARCHIVES)), None)


def sweethome3d_available(root: Path | str | None = None) -> bool:
    """Return True if the archives are on this machine."""
    return find_sweethome3d(root) is not None


def install_sweethome3d() -> Path:
    """Get the package with apt-get, without root, into the cache; does nothing where the archives are found already.

    Raises:
        MeshSourceError: With the commands to type, where apt-get or dpkg-deb is absent or fails.
    """
    if (found := find_sweethome3d()) is not None:
        return found
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise MeshSourceError(f"apt-get and dpkg-deb are needed to fetch {PACKAGE}. {how_to_install()}")
    target = cache_root() / "sweethome3d"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        _download(folder)
        package = next(Path(folder).glob(f"{PACKAGE}_*.deb"), None)
        if package is None:
            raise MeshSourceError(f"apt-get download {PACKAGE} left no .deb file. {how_to_install()}")
        _run(["dpkg-deb", "-x", package.name, "unpacked"], folder)
        unpacked = Path(folder) / "unpacked" / SYSTEM_FOLDER.relative_to("/")
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)
    if (found := find_sweethome3d()) is None:
        raise MeshSourceError(f"{PACKAGE} was unpacked, but {', '.join(ARCHIVES)} are not in {target}")
    return found


def _download(folder: str) -> None:
    """Into ``folder``; where the system's package lists are absent or old, with lists of our own."""
    try:
        return _run(["apt-get", "download", PACKAGE], folder)
    except MeshSourceError:
        own = ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
        for part in ("lists/partial", "cache/archives/partial"):
            (Path(folder) / part).mkdir(parents=True)
        _run(["apt-get", *own, "update"], folder)
        return _run(["apt-get", *own, "download", PACKAGE], folder)


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise MeshSourceError(f"`{' '.join(command)}` failed: {' '.join(last)}. {how_to_install()}")


def how_to_install() -> str:
    """Return the commands that bring the meshes, with and without root."""
    target = cache_root() / "sweethome3d"
    return (
        f"Type `apt-get install -y {PACKAGE}` as root; or without root `apt-get update; apt-get download {PACKAGE} && "
        f"dpkg-deb -x {PACKAGE}_*.deb unpacked && mkdir -p {target.parent} && mv unpacked{SYSTEM_FOLDER} {target}`; "
        "or set EQUISSL_SWEETHOME3D to a folder that holds " + ", ".join(ARCHIVES)
    )


def read_labels() -> list[dict[str, str]]:
    """Read the 820 rows of the label file.

    Columns: archive, obj_path, catalog_id, name, category, class, vertices, faces, licence, creator.
    """
    text = package_files("equissl.datasets.meshes").joinpath("sweethome3d_labels.tsv").read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


class SweetHome3DSource:
    """Labelled furniture of Sweet Home 3D.

    The catalogue's own rotation is applied to each model, so that objects stand upright and look along +y.

    Args:
        classes: Only these; all by default.
        min_per_class: Classes with fewer meshes are left out, unless ``classes`` names them.
        root: Folder of the archives; found by itself if not given.

    Raises:
        MeshSourceError: If the archives are absent (with the commands that bring them) or a class is unknown.
    """

    name = "sweethome3d"

    def __init__(
        self, classes: Sequence[str] | None = None, min_per_class: int = 10, root: Path | str | None = None
    ) -> None:
        folder = find_sweethome3d(root)
        if folder is None:
            usual = f"{SYSTEM_FOLDER} or {cache_root() / 'sweethome3d'}"
            looked = root or os.environ.get("EQUISSL_SWEETHOME3D") or usual
            raise MeshSourceError(f"the archives of {PACKAGE} are not in {looked}. {how_to_install()}")
        rows = [row for row in read_labels() if row["class"]]
        counts = Counter(row["class"] for row in rows)
        enough = [c for c, n in counts.items() if n >= min_per_class or c in (classes or ())]
        self.classes = choose_classes(enough, classes, self.name)
        self._rows = [row for row in rows if row["class"] in self.classes]
        self._archives = {archive: ZipFiles(folder / archive) for archive in ARCHIVES}
        self._rotations: dict[str, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def entry(self, index: int) -> MeshEntry:
        row = self._rows[index]
        return MeshEntry(
            name=f"{row['class']}/{_identifier(row)}",
            label=self.classes.index(row["class"]),
            source=self.name,
            licence=row["licence"],
            creator=row["creator"],
        )

    def load(self, index: int) -> Mesh:
        row, name = self._rows[index], self.entry(index).name
        archive, path = self._archives[row["archive"]], row["obj_path"]
        try:
            turn = _TO_WORLD @ self._rotation(row["archive"], path)
            variant = np.array2string(turn, precision=9)

            def decode(files: Files) -> Mesh:
                return normalise_mesh(rotate_mesh(read_obj(files, path, name), turn))

            return cached_mesh(archive, path, name, variant, decode)
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise MeshError(f"{name}: {row['archive']} cannot be read: {error}") from error

    def _rotation(self, archive: str, path: str) -> np.ndarray:
        if archive not in self._rotations:
            text = self._archives[archive].read(_CATALOGUE) or b""
            self._rotations[archive] = read_model_rotations(text.decode("latin-1"))
        return self._rotations[archive].get(path.lower(), np.eye(3))


def read_model_rotations(catalogue: str) -> dict[str, np.ndarray]:
    """Read ``modelRotation#N`` of a furniture catalogue, 3x3, by the lower-case path of ``model#N``."""
    models = dict(re.findall(r"^model#(\d+)\s*=\s*/?(\S+)", catalogue, re.MULTILINE))
    rotations = re.findall(r"^modelRotation#(\d+)\s*=\s*(.+?)\s*$", catalogue, re.MULTILINE)
    return {models[n].lower(): np.array(values.split(), float).reshape(3, 3) for n, values in rotations if n in models}


def _identifier(row: dict[str, str]) -> str:
    path = PurePosixPath(row["obj_path"])
    return re.sub(r"[^A-Za-z0-9._-]+", "_", f"{path.parts[0]}-{path.stem}")
