"""Reader of drive stores."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.errors import Problem
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.store.format import (
    BOX_VELOCITIES,
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    DriveStoreError,
    read_sweep,
    strings,
    text,
)
from equissl.datasets.drives.sweep import Drive, Sweep, stack_poses
from equissl.datasets.hdf5 import declared_format

__all__ = ["DriveStore", "DriveStoreError"]


@dataclass(frozen=True)
class DriveIndex:
    """Index entry of a drive, known without reading its points.

    Attributes:
        timestamps: (T,) int64 nanoseconds, increasing.
        poses: (T, 4, 4) float64, NaN where unknown; or None.
        num_points: (T,) int64.
        num_boxes: (T,) int64, -1 where the sweep is not labelled.
        rate: sweeps a second, or None.
        dataset, attributes: as in ``Drive``.
    """

    timestamps: np.ndarray
    poses: np.ndarray | None
    num_points: np.ndarray
    num_boxes: np.ndarray
    rate: float | None
    dataset: str
    attributes: dict


class DriveStore:
    """Drives in one file: a drive store, or one log of OpenSceneFlow.

    Nothing is opened before it is first used, and not shared with forked processes: a store can be pickled and used
    before and after a fork.

    Args:
        path: the ``.h5`` file.

    Raises:
        DriveStoreError: on first use, when the file is missing, damaged, of another kind or version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = 0
        self._index: dict[str, DriveIndex] = {}
        self._provenance: dict = {}

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"DriveStore({str(self.path)!r})"

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    @property
    def index(self) -> dict[str, DriveIndex]:
        """Sequences by name, without their points."""
        if not self._index:
            self._load()
        return self._index

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.index)

    @property
    def attributes(self) -> dict:
        """Provenance: format, options, what was left out."""
        if not self._index:
            self._load()
        return self._provenance

    @property
    def problems(self) -> list[Problem]:
        """Problems found when the store was written."""
        return [Problem(*fields) for fields in self.attributes.get("problems", [])]

    @property
    def num_sweeps(self) -> int:
        return sum(len(entry.timestamps) for entry in self.index.values())

    def drive(self, name: str) -> Drive:
        """Open one drive, its sweeps read when asked for; picklable."""
        entry = self._entry(name)
        read = partial(self.read, name)
        return Drive(name, entry.timestamps, read, entry.rate, entry.dataset, entry.attributes, entry.poses)

    def read(self, name: str, index: int) -> Sweep:
        """Read one sweep by its position in its drive.

        Args:
            name: name of the drive.
            index: index of the sweep.
        """
        entry = self._entry(name)
        timestamp = int(entry.timestamps[index])
        pose = None if entry.poses is None or not np.isfinite(entry.poses[index]).all() else entry.poses[index]
        file = self._open()
        group = file[name] if INDEX in file else file
        try:
            return read_sweep(group[str(timestamp)], timestamp, pose)
        except (OSError, KeyError) as error:
            raise DriveStoreError(f"expected sweep {timestamp} of {name} in {self.path}: {error}") from error

    def sweep_names(self, name: str) -> tuple[str, ...]:
        """Return the names of the sweeps of a drive in its data set; their timestamps where it has none."""
        file = self._open()
        group = file[name] if INDEX in file else file
        keys = [str(timestamp) for timestamp in self._entry(name).timestamps.tolist()]
        return tuple(text(group[key].attrs.get("frame", b"")) or key for key in keys)

    def has_velocities(self, name: str, index: int) -> bool:
        """Return True if the boxes of a sweep were written with velocities, known or not; older stores have none.

        Args:
            name: name of the drive.
            index: index of the sweep.
        """
        file, key = self._open(), str(int(self._entry(name).timestamps[index]))
        return BOX_VELOCITIES in (file[name] if INDEX in file else file)[key]

    def pairs(self, gap: int = 1) -> list[tuple[str, int, int]]:
        """Find drive and positions of all pairs of sweeps that are ``gap`` turns of the sensor apart."""
        found = []
        for name, entry in self.index.items():
            chosen, _ = find_pairs(entry.timestamps, entry.rate, entry.poses, gap)
            found += [(name, i, j) for i, j in chosen.tolist()]
        return found

    def _entry(self, name: str) -> DriveIndex:
        if name not in self.index:
            raise KeyError(f"expected one of the drives {', '.join(self.names)} of {self.path}, got {name!r}")
        return self.index[name]

    def _open(self) -> h5py.File:
        if self._file is None or self._process != os.getpid():
            if not self.path.is_file():
                kind = "a folder" if self.path.is_dir() else "nothing"
                raise DriveStoreError(f"expected a drive store at {self.path}, found {kind}")
            try:
                self._file, self._process = h5py.File(self.path, "r"), os.getpid()
            except OSError as error:
                raise DriveStoreError(
                    f"expected a whole HDF5 drive store at {self.path}: damaged or another kind of file ({error})"
                ) from error
        return self._file

    def _load(self) -> None:
        file = self._open()
        if is_openscene_log(file):
            self._index = {self.path.stem: _index_openscene(file)}
            return
        form = text(file.attrs.get("format", b""))
        if form != FORMAT or INDEX not in file:
            raise DriveStoreError(
                f"expected {self.path} to be a drive store (format {FORMAT!r}) or an OpenSceneFlow log (groups named "
                f"by timestamps, each with lidar), found format {form!r} with {', '.join([*file][:5]) or 'nothing'}"
            )
        if (version := int(file.attrs["format_version"])) != FORMAT_VERSION:
            raise DriveStoreError(f"expected drive store version {FORMAT_VERSION}, {self.path} has version {version}")
        try:
            self._provenance = json.loads(strings(file, "provenance")[0])
            self._index = {name: _read_index(group) for name, group in file[INDEX].items()}
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise DriveStoreError(f"expected a whole drive store at {self.path}: it is damaged ({error})") from error


def is_drive_store(path: Path | str) -> bool:
    """Return True for a drive store, or a log in OpenSceneFlow's layout."""
    if declared_format(path) == FORMAT:
        return True
    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return is_openscene_log(file)
    except OSError:
        return False


def is_openscene_log(file: h5py.File) -> bool:
    """Return True if the file's groups are sweeps."""
    return len(file) > 0 and all(key.isdigit() for key in file) and "lidar" in file[next(iter(file))]


def _index_openscene(file: h5py.File) -> DriveIndex:
    keys = sorted(file, key=int)
    poses = [file[key]["pose"][()].astype(np.float64) if "pose" in file[key] else None for key in keys]
    return DriveIndex(
        timestamps=np.array([int(key) for key in keys], dtype=np.int64),
        poses=stack_poses(poses),
        num_points=np.array([len(file[key]["lidar"]) for key in keys], dtype=np.int64),
        num_boxes=np.full(len(keys), -1, dtype=np.int64),
        rate=None,
        dataset="openscene",
        attributes={},
    )


def _read_index(group: h5py.Group) -> DriveIndex:
    rate = float(group.attrs["rate"])
    return DriveIndex(
        timestamps=group["timestamps"][()],
        poses=group["poses"][()] if "poses" in group else None,
        num_points=group["num_points"][()],
        num_boxes=group["num_boxes"][()],
        rate=rate if rate > 0 else None,
        dataset=text(group.attrs["dataset"]),
        attributes=json.loads(strings(group, "attributes")[0]),
    )
