"""Logs of OpenSceneFlow: one HDF5 file a drive, for training its scene flow estimators on our stores."""

from __future__ import annotations

import pickle
from pathlib import Path

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.store import SceneStore
from equissl.datasets.drives.store_format import write_sweep
from equissl.datasets.drives.store_writer import NextPoses, new_file

INDEX_FILE, FLOW_INDEX_FILE = "index_total.pkl", "index_flow.pkl"


def export_openscene(store: Path | str, folder: Path | str) -> list[Path]:
    """Writes every sequence of a scene store as an OpenSceneFlow log, with the index files its loaders want.

    Sweeps without a pose are left out. Poses are relative to the first one. A ground mask is estimated where there
    is none.

    Args:
        store: scene store.
        folder: to write to; it must not hold an index already.

    Returns:
        the logs.

    Raises:
        IngestError: for a folder that holds logs already, or a store without poses.
    """
    scenes, folder = SceneStore(store), Path(folder)
    if (folder / INDEX_FILE).exists():
        raise IngestError(f"expected a folder without OpenSceneFlow logs, {folder / INDEX_FILE} is there already")
    folder.mkdir(parents=True, exist_ok=True)
    index: list[list[str]] = []
    with_flow: list[list[str]] = []
    logs = []
    for name in scenes.names:
        sequence = scenes.sequence(name)
        following = NextPoses(sequence)
        if following.origin is None:
            continue
        logs.append(folder / f"{name}.h5")
        with new_file(logs[-1]) as file:
            for number, sweep in enumerate(sequence):
                if sweep.pose is None:
                    continue
                if sweep.ground is None:
                    sweep.ground = estimate_ground(sweep.points)
                write_sweep(file, sweep, following.origin, following.after(number))
                index.append([name, str(sweep.timestamp)])
                if sweep.flow is not None:
                    with_flow.append([name, str(sweep.timestamp)])
    if not logs:
        raise IngestError(f"expected poses in {store}, none of its {len(scenes.names)} sequences has any")
    for file_name, rows in ((INDEX_FILE, index), (FLOW_INDEX_FILE, with_flow)):
        if rows:
            (folder / file_name).write_bytes(pickle.dumps(rows))
    return logs
