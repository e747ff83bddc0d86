"""Logs of OpenSceneFlow, one HDF5 file a drive (https://github.com/KTH-RPL/OpenSceneFlow)."""

from __future__ import annotations

from equissl.datasets.drives.errors import SweepError
from equissl.datasets.drives.readers.base import Reader, Recording
from equissl.datasets.drives.store.store import DriveStore, DriveStoreError
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.util.listing import entries


class OpenScene(Reader):
    """Reader of OpenSceneFlow logs. Flow in these files contains the ego motion, as ours does."""

    format = "openscene"
    tree = """
<log>.h5    groups named by timestamps, each with lidar, pose, ground_mask; flow, flow_is_valid optional"""
    rate = None

    def names(self) -> list[str]:
        found = [path.stem for path in entries(self.root, "*.h5")]
        if not found:
            raise self.wrong_folder("no logs at *.h5")
        return found

    def open(self, name: str) -> Drive:
        path = self.root / f"{name}.h5"
        drive = DriveStore(path).drive(name)

        def read(place: int) -> Sweep:
            try:
                return drive[place]
            except (DriveStoreError, ValueError) as error:
                raise SweepError(path, str(drive.timestamps[place]), str(error)) from error

        return self.drive(name, Recording([path] * len(drive), drive.timestamps, drive.poses), read)
