"""Logs of OpenSceneFlow: one HDF5 file a drive, for training its scene flow estimators on our stores."""

from __future__ import annotations

import pickle
from pathlib import Path

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.store.format import write_sweep
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.store.writer import NextPoses, new_file

INDEX_FILE, FLOW_INDEX_FILE = "index_total.pkl", "index_flow.pkl"


def export_openscene(store: Path | str, folder: Path | str) -> list[Path]:
    """Write every drive of a store as an OpenSceneFlow log, with the index files its loaders want.

    Sweeps without a pose are left out. Poses are relative to the first one. A ground mask is estimated where there
    is none.

    Args:
        store: drive store.
        folder: to write to; it must not hold an index already.

    Returns:
        the logs.

    Raises:
        IngestError: for a folder that holds logs already, or a store without poses.
    """
    scenes, folder = DriveStore(store), Path(folder)
    if (folder / INDEX_FILE).exists():
        raise IngestError(f"expected a folder without OpenSceneFlow logs, {folder / INDEX_FILE} is there already")
    folder.mkdir(parents=True, exist_ok=True)
    index: list[list[str]] = []
    with_flow: list[list[str]] = []
    logs = []
    for name in scenes.names:
        drive = scenes.drive(name)
        following = NextPoses(drive)
        if following.origin is None:
            continue
        logs.append(folder / f"{name}.h5")
        with new_file(logs[-1]) as file:
            for number, sweep in enumerate(drive):
                if sweep.pose is None:
                    continue
                if sweep.ground is None:
                    sweep.ground = estimate_ground(sweep.points)
                write_sweep(file, sweep, following.origin, following.after(number))
                index.append([name, str(sweep.timestamp)])
                if sweep.flow is not None:
                    with_flow.append([name, str(sweep.timestamp)])
    if not logs:
        raise IngestError(f"expected poses in {store}, none of its {len(scenes.names)} drives has any")
    for file_name, rows in ((INDEX_FILE, index), (FLOW_INDEX_FILE, with_flow)):
        if rows:
            (folder / file_name).write_bytes(pickle.dumps(rows))
    return logs
