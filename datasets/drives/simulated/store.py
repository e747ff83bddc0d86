"""Simulated drives as a drive store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from equissl.datasets.drives.drive_parts import DriveJob, DrivePart, plan_parts
from equissl.datasets.drives.simulated.drive import simulated_drive
from equissl.datasets.drives.simulated.options import DriveOptions, SimulationError
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.store.writer import write_drives
from equissl.util.job import Begun, Limits, Tell
from equissl.util.parts import make_parts
from equissl.util.parts_folder import parts_folder
from equissl.util.progress import Progress

DEFAULT_OPTIONS = DriveOptions()


def simulate_drives(
    out: Path | str,
    drives: int = 40,
    sweeps: int = 20,
    seed: int = 0,
    options: DriveOptions = DEFAULT_OPTIONS,
    workers: int = 0,
    progress: bool = True,
) -> Path:
    """Simulate drives with exact poses, boxes and scene flow, and write them as a drive store.

    The file does not depend on ``workers``; it appears when it is complete. Killed and started again it goes on with
    the drives that are not simulated yet.

    Args:
        out: the file to write.
        drives: how many.
        sweeps: consecutive sweeps of each.
        seed: of the data set.
        options: what is simulated.
        workers: processes; 0 simulates in this one.
        progress: show how far it is.

    Returns:
        ``out``.

    Raises:
        SimulationError: for fewer than 1 drive or 2 sweeps.
        FileExistsError: when ``out`` is there already.
        PartsError: unfinished work has other settings, or another process does the same.
        WorkerError: processes died repeatedly over the drives named; finished drives are kept.
    """
    out = Path(out)
    if drives < 1 or sweeps < 2:
        raise SimulationError(f"expected at least 1 drive of at least 2 sweeps, got {drives} and {sweeps}")
    if out.exists():
        raise FileExistsError(f"{out} is there already; delete it or choose another --out")
    simulated = {"seed": seed, **asdict(options)}
    description = {"drives": drives, "sweeps": sweeps, **simulated}
    bar = Progress(drives * sweeps, f"simulating {out.name}", "sweeps", progress)
    with bar, parts_folder(out, description) as folder:
        lengths = {f"drive_{number:04d}": sweeps for number in range(drives)}
        job = SimulationJob(plan_parts(folder.path, lengths), seed, options)
        folder.clean([part.path for part in job.parts])
        make_parts(job, range(job.count), bar, workers=workers, limits=Limits(seconds=None))
        made = (DriveStore(part.path).drive(part.drive) for part in job.parts)
        write_drives(out, made, {"simulated": simulated})
        shutil.rmtree(folder.path)
    return out


class SimulationJob(DriveJob):
    """Job that simulates one drive for each part."""

    def __init__(self, parts: list[DrivePart], seed: int, options: DriveOptions) -> None:
        super().__init__(parts)
        self.seed, self.options = seed, options

    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> None:
        """Simulate and write one drive.

        Args:
            part: number of the part, and of its drive.
            given_up: not used; a drive is simulated whole or fails.
            tell: called with the work that is begun.
        """
        tell(Begun(0, "simulating"))
        write_drives(self.path(part), [simulated_drive(self.parts[part].stop, self.seed, part, self.options)])
