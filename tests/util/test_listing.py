"""Leftovers of systems, archivers and editors: in whatever folder is read, nothing changes by them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.datasets.drives.readers import READERS
from equissl.datasets.images.formats import open_images
from equissl.datasets.images.idx import find_idx_pairs
from equissl.datasets.meshes import FolderSource, ModelNetSource, ObjaverseSource, ShapeNetSource
from equissl.datasets.views.folder.index import find_objects
from equissl.util.listing import entries, files_below, holds, is_leftover, subfolders

SQUARE = "OFF\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n"
FOLDERS = ("__MACOSX", ".ipynb_checkpoints", ".git", "@eaDir", "$RECYCLE.BIN", "__pycache__")


def put(root: Path, *names: str, content: str = SQUARE) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def litter(root: Path) -> None:
    """Put into every folder what might be left there, copies of its own files among it."""
    whole = shutil.copytree(root, root.parent / "whole")
    for place in [root, *(path for path in root.rglob("*/") if path.is_dir())]:
        files = [path for path in place.iterdir() if path.is_file()]
        for name in FOLDERS:
            shutil.copytree(whole / place.relative_to(root), place / name)
        put(place, ".DS_Store", "Thumbs.db", "desktop.ini", "~$notes.docx")
        for file in files:
            put(place, f"._{file.name}", f"{file.name}~")


def meshes(root: Path) -> Callable[[], object]:
    put(root, "chair/a.off", "chair/deep/b.off", "table/c.obj")
    return lambda: content(FolderSource(root))


def modelnet(root: Path) -> Callable[[], object]:
    put(root, "chair/train/chair_0001.off", "chair/test/chair_0002.off")
    return lambda: content(ModelNetSource(root))


def objaverse(root: Path) -> Callable[[], object]:
    put(root, f"glbs/000-001/{'0' * 32}.glb", f"{'1' * 32}.glb")
    put(
        root, "metadata/000-001.json", content=f'{{"{"0" * 32}": {{"license": "by", "categories": [{{"name": "x"}}]}}}}'
    )
    return lambda: content(ObjaverseSource(root))


def shapenet(root: Path) -> Callable[[], object]:
    put(root, "02691156/a/models/model_normalized.obj", "02747177/b/model.obj")
    return lambda: content(ShapeNetSource(root))


def content(source: FolderSource | ModelNetSource | ObjaverseSource | ShapeNetSource) -> object:
    return source.classes, [(source.entry(i).name, source.entry(i).label) for i in range(len(source))]


def images(root: Path) -> Callable[[], object]:
    for name in ("train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "val/dog/deep/d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / name)

    def read() -> object:
        opened = [open_images(root, split) for split in ("train", "val")]
        return [(source.classes, source.labels.tolist()) for source in opened]

    return read


def loose_images(root: Path) -> Callable[[], object]:
    put(root, "a.png", "b.jpg")
    return lambda: (len(source := open_images(root, "train")), source.classes)


def idx(root: Path) -> Callable[[], object]:
    put(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz")
    return lambda: find_idx_pairs(root)


def views(root: Path) -> Callable[[], object]:
    put(root, "chair/one/image_0.jpg", "chair/one/image_1.jpg", "table/two/image_0.jpg")
    return lambda: find_objects(root)


def drives(kind: str, *names: str) -> Callable[[Path], Callable[[], object]]:
    def make(root: Path) -> Callable[[], object]:
        put(root, *names)
        return lambda: READERS[kind](root).names()

    return make


def sweeps(root: Path) -> Callable[[], object]:
    root.mkdir()
    for number in range(3):
        np.full((5, 4), number / 4, "<f4").tofile(root / f"{number}.bin")
    (root / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 3)

    def read() -> object:
        drive = READERS["folder"](root).open(root.name)
        return [drive.read(i).frame for i in range(len(drive.timestamps))]

    return read


TREES = {
    make.__name__: make for make in (meshes, modelnet, objaverse, shapenet, images, loose_images, idx, views, sweeps)
}
TREES |= {
    kind: drives(kind, *names)
    for kind, names in {
        "folder": ("one/0.bin", "two/velodyne/0.bin"),
        "kitti-odometry": ("sequences/00/velodyne/000000.bin", "sequences/00/calib.txt"),
        "kitti-raw": ("2011_09_26/2011_09_26_drive_0001_sync/velodyne_points/data/0000000000.bin",),
        "kitti-tracking": ("training/velodyne/0000/000000.bin",),
        "kitti-360": ("data_3d_raw/2013_05_28_drive_0000_sync/velodyne_points/data/0000000000.bin",),
        "openscene": ("one.h5", "two.h5"),
    }.items()
}


@pytest.mark.parametrize("tree", TREES)
def test_leftovers_change_nothing(tree: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    read = TREES[tree](root)
    before = read()
    litter(root)
    assert read() == before and before


def test_a_hidden_folder_may_be_the_root(tmp_path: Path) -> None:
    put(tmp_path, ".cache/chair/a.off")
    assert FolderSource(tmp_path / ".cache").classes == ("chair",)


def test_names() -> None:
    left = [
        *FOLDERS,
        "._a.obj",
        ".hidden",
        "THUMBS.DB",
        "Desktop.ini",
        "~$a.docx",
        "a.obj~",
        "System Volume Information",
    ]
    assert all(map(is_leftover, left))
    assert not any(map(is_leftover, ["chair", "_chair", "__chair", "a.obj", "thumbs", "night~stand", "$5", "@home"]))


def test_listing(tmp_path: Path) -> None:
    put(tmp_path, "b/x.off", "a/deep/y.off", ".c/z.off", "b/._x.off", "b/.d/v.off")
    assert [path.name for path in subfolders(tmp_path)] == ["a", "b"] and subfolders(tmp_path / "absent") == []
    assert entries(tmp_path, "*/*.off") == [tmp_path / "b/x.off"]
    assert holds(tmp_path, "*/*/*.off") and not holds(tmp_path / ".c", "*.obj") and not holds(tmp_path / "no", "*")
    (tmp_path / "b" / "again").symlink_to(tmp_path, target_is_directory=True)  # a circle
    (tmp_path / "linked").symlink_to(tmp_path / "a" / "deep", target_is_directory=True)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path))
    assert found == ["a/deep/y.off", "b/x.off", "linked/y.off"]


def test_linked_classes_are_classes(tmp_path: Path) -> None:
    put(tmp_path, "far/chair/a.off")
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "seat").symlink_to(tmp_path / "far" / "chair", target_is_directory=True)
    assert FolderSource(tmp_path / "meshes").classes == ("seat",)
