"""The real samples unpacked into the folders of their benchmarks."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def delta_sweeps(archive: Path, scale: int, most: int | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (N, 4) float32 of the sweeps of an archive of first differences."""
    with tarfile.open(archive, "r:xz") as tar:
        count = 0
        for member in tar:
            if not member.isfile():
                continue
            if most is not None and count >= most:
                return
            data = np.load(io.BytesIO(tar.extractfile(member).read()))  # type: ignore[union-attr]
            points = (np.cumsum(data, axis=1).T / [1000, 1000, 1000, scale]).astype(np.float32)
            yield Path(member.name).stem, points
            count += 1


def tracking(shared: Path, root: Path, most: int | None = 6) -> Path:
    """KITTI tracking 0000, its first sweeps."""
    source = shared / "data" / "kitti_tracking_0000"
    for kind, name in (("calib", "calib_0000"), ("label_02", "label_02_0000"), ("oxts", "oxts_0000")):
        copy(source / f"{name}.txt", root / "training" / kind / "0000.txt")
    folder = root / "training" / "velodyne" / "0000"
    folder.mkdir(parents=True)
    for archive in sorted(source.glob("velodyne_delta_*.tar.xz")):
        left = None if most is None else most - len([*folder.iterdir()])
        if left is None or left > 0:
            for name, points in delta_sweeps(archive, 100, left):
                points.tofile(folder / f"{name}.bin")
    return root


def copy(source: Path, target: Path) -> None:
    """Copies a read-only file to one that can be written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive, "r:xz") as tar:
        tar.extractall(target, filter="data")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
