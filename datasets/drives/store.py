"""Reading scene stores."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.errors import Problem
from equissl.datasets.drives.pairs import find_pairs
from equissl.datasets.drives.store_format import (
    BOX_VELOCITIES,
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    SceneStoreError,
    read_sweep,
    strings,
    text,
)
from equissl.datasets.drives.sweep import Sequence, Sweep, stack_poses
from equissl.datasets.hdf5 import declared_format

__all__ = ["SceneStore", "SceneStoreError"]


@dataclass(frozen=True)
class SequenceIndex:
    """What is known of a sequence without reading its points.

    Attributes:
        timestamps: (T,) int64 nanoseconds, increasing.
        poses: (T, 4, 4) float64, NaN where unknown; or None.
        num_points: (T,) int64.
        num_boxes: (T,) int64, -1 where the sweep is not labelled.
        rate: sweeps a second, or None.
        dataset, attributes: as in ``Sequence``.
    """

    timestamps: np.ndarray
    poses: np.ndarray | None
    num_points: np.ndarray
    num_boxes: np.ndarray
    rate: float | None
    dataset: str
    attributes: dict


class SceneStore:
    """Drives in one file: a scene store, or one log of OpenSceneFlow.

    Nothing is opened before it is first used, and not shared with forked processes: a store can be pickled and used
    before and after a fork.

    Args:
        path: the ``.h5`` file.

    Raises:
        SceneStoreError: on first use, when the file is missing, damaged, of another kind or version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = 0
        self._index: dict[str, SequenceIndex] = {}
        self._provenance: dict = {}

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"SceneStore({str(self.path)!r})"

    def close(self) -> None:
        """Closes the file; the next read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    @property
    def index(self) -> dict[str, SequenceIndex]:
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
        """What was left out or looked wrong when the store was written."""
        return [Problem(*fields) for fields in self.attributes.get("problems", [])]

    @property
    def num_sweeps(self) -> int:
        return sum(len(entry.timestamps) for entry in self.index.values())

    def sequence(self, name: str) -> Sequence:
        """One drive, its sweeps read when asked for; picklable."""
        entry = self._entry(name)
        read = partial(self.read, name)
        return Sequence(name, entry.timestamps, read, entry.rate, entry.dataset, entry.attributes, entry.poses)

    def read(self, name: str, index: int) -> Sweep:
        """One sweep by its position in its sequence."""
        entry = self._entry(name)
        timestamp = int(entry.timestamps[index])
        pose = None if entry.poses is None or not np.isfinite(entry.poses[index]).all() else entry.poses[index]
        file = self._open()
        group = file[name] if INDEX in file else file
        try:
            return read_sweep(group[str(timestamp)], timestamp, pose)
        except (OSError, KeyError) as error:
            raise SceneStoreError(f"expected sweep {timestamp} of {name} in {self.path}: {error}") from error

    def frame_names(self, name: str) -> tuple[str, ...]:
        """What the data set calls the sweeps of a sequence; their timestamps where it has no names for them."""
        file = self._open()
        group = file[name] if INDEX in file else file
        keys = [str(timestamp) for timestamp in self._entry(name).timestamps.tolist()]
        return tuple(text(group[key].attrs.get("frame", b"")) or key for key in keys)

    def has_velocities(self, name: str, index: int) -> bool:
        """Whether the boxes of a sweep were written with velocities, known or not; older stores have none."""
        file, key = self._open(), str(int(self._entry(name).timestamps[index]))
        return BOX_VELOCITIES in (file[name] if INDEX in file else file)[key]

    def pairs(self, gap: int = 1) -> list[tuple[str, int, int]]:
        """Sequence and positions of all pairs of sweeps that are ``gap`` turns of the sensor apart."""
        found = []
        for name, entry in self.index.items():
            chosen, _ = find_pairs(entry.timestamps, entry.rate, entry.poses, gap)
            found += [(name, i, j) for i, j in chosen.tolist()]
        return found

    def _entry(self, name: str) -> SequenceIndex:
        if name not in self.index:
            raise KeyError(f"expected one of the sequences {', '.join(self.names)} of {self.path}, got {name!r}")
        return self.index[name]

    def _open(self) -> h5py.File:
        if self._file is None or self._process != os.getpid():
            if not self.path.is_file():
                kind = "a folder" if self.path.is_dir() else "nothing"
                raise SceneStoreError(f"expected a scene store at {self.path}, found {kind}")
            try:
                self._file, self._process = h5py.File(self.path, "r"), os.getpid()
            except OSError as error:
                raise SceneStoreError(
                    f"expected a whole HDF5 scene store at {self.path}: damaged or another kind of file ({error})"
                ) from error
        return self._file

    def _load(self) -> None:
        file = self._open()
        if is_openscene_log(file):
            self._index = {self.path.stem: _index_openscene(file)}
            return
        form = text(file.attrs.get("format", b""))
        if form != FORMAT or INDEX not in file:
            raise SceneStoreError(
                f"expected {self.path} to be a scene store (format {FORMAT!r}) or an OpenSceneFlow log (groups named "
                f"by timestamps, each with lidar), found format {form!r} with {', '.join([*file][:5]) or 'nothing'}"
            )
        if (version := int(file.attrs["format_version"])) != FORMAT_VERSION:
            raise SceneStoreError(f"expected scene store version {FORMAT_VERSION}, {self.path} has version {version}")
        try:
            self._provenance = json.loads(strings(file, "provenance")[0])
            self._index = {name: _read_index(group) for name, group in file[INDEX].items()}
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise SceneStoreError(f"expected a whole scene store at {self.path}: it is damaged ({error})") from error


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
    """Whether the file's groups are sweeps."""
    return len(file) > 0 and all(key.isdigit() for key in file) and "lidar" in file[next(iter(file))]


def _index_openscene(file: h5py.File) -> SequenceIndex:
    keys = sorted(file, key=int)
    poses = [file[key]["pose"][()].astype(np.float64) if "pose" in file[key] else None for key in keys]
    return SequenceIndex(
        timestamps=np.array([int(key) for key in keys], dtype=np.int64),
        poses=stack_poses(poses),
        num_points=np.array([len(file[key]["lidar"]) for key in keys], dtype=np.int64),
        num_boxes=np.full(len(keys), -1, dtype=np.int64),
        rate=None,
        dataset="openscene",
        attributes={},
    )


def _read_index(group: h5py.Group) -> SequenceIndex:
    rate = float(group.attrs["rate"])
    return SequenceIndex(
        timestamps=group["timestamps"][()],
        poses=group["poses"][()] if "poses" in group else None,
        num_points=group["num_points"][()],
        num_boxes=group["num_boxes"][()],
        rate=rate if rate > 0 else None,
        dataset=text(group.attrs["dataset"]),
        attributes=json.loads(strings(group, "attributes")[0]),
    )
