"""Simulated drives as a drive store."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from equissl.datasets.drives.simulated.drive import simulated_drive
from equissl.datasets.drives.simulated.options import DriveOptions, SimulationError
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Drive

DEFAULT_OPTIONS = DriveOptions()


def simulate_drives(
    out: Path | str,
    drives: int = 40,
    sweeps: int = 20,
    seed: int = 0,
    options: DriveOptions = DEFAULT_OPTIONS,
    workers: int = 0,
) -> Path:
    """Simulates drives with exact poses, boxes and scene flow, and writes them as a drive store.

    The file does not depend on ``workers``; it appears when it is complete.

    Args:
        out: the file to write.
        drives: how many.
        sweeps: consecutive sweeps of each.
        seed: of the data set.
        options: what is simulated.
        workers: processes; 0 simulates in this one.

    Returns:
        ``out``.

    Raises:
        SimulationError: for fewer than 1 drive or 2 sweeps.
        FileExistsError: when ``out`` is there already.
    """
    if drives < 1 or sweeps < 2:
        raise SimulationError(f"expected at least 1 drive of at least 2 sweeps, got {drives} and {sweeps}")
    if Path(out).exists():
        raise FileExistsError(f"{out} is there already; delete it or choose another --out")
    return write_drives(
        out, _drives([(number, sweeps, seed, options) for number in range(drives)], workers),
        {"simulated": {"seed": seed, **asdict(options)}},
    )  # fmt: skip


def _drives(jobs: list[tuple[int, int, int, DriveOptions]], workers: int) -> Iterator[Drive]:
    if not workers:
        yield from map(_drive, jobs)
        return
    # new processes: the ray caster's threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn")) as pool:
        yield from pool.map(_drive, jobs)


def _drive(job: tuple[int, int, int, DriveOptions]) -> Drive:
    """One drive, its sweeps made here: a worker's time, not the writer's."""
    number, sweeps, seed, options = job
    drive = simulated_drive(sweeps, seed, number, options)
    return Drive.of(drive.name, list(drive), drive.rate, drive.dataset, **drive.attributes)
