"""Benchmark of reading, writing and loading drives as pairs: every format found in a folder, and simulated ones."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.ingest import ingest
from equissl.datasets.drives.pairs.dataset import SweepPairs
from equissl.datasets.drives.readers import READERS, open_reader
from equissl.datasets.drives.simulated import DriveOptions, simulated_drive
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.store.writer import write_drives

DEPTH = 3  # folders down that are looked at
logger = logging.getLogger(__name__)


def bench_ingest(
    root: Path | str | None = None,
    sweeps: int = 20,
    workers: str = "0,2",
    seconds: float = 3.0,
    beams: int = 64,
    columns: int = 2083,
    folder: Path | str | None = None,
) -> dict[str, float]:
    """Measure sweeps per second of reading, writing and loading.

    Args:
        root: where to look for recorded drives, three folders deep; None measures simulated drives alone.
        sweeps: at most so many of each format, and that many simulated ones.
        workers: numbers of loader processes to try, separated by commas.
        seconds: how long each loading is measured.
        beams, columns: of the simulated sensor.
        folder: where temporary data go; default the system's.

    Returns:
        ``sweeps_per_s/STEP/FORMAT``: ``ingest`` (reading the files, ground, writing a store, one process), ``read``
        (from the store), ``simulate``, ``write``; ``pairs_per_s/FORMAT/wN`` with N loader processes; and
        ``points/FORMAT`` of a sweep.

    Raises:
        ValueError: for fewer than two sweeps.
    """
    if sweeps < 2:
        raise ValueError(f"expected at least 2 sweeps, got {sweeps}")
    counts = [int(word) for word in workers.split(",")]
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-ingest-") as name:
        stores = dict(_simulated(Path(name), sweeps, beams, columns, results))
        for form, place in find_drives(Path(root)) if root is not None else ():
            logger.info(f"{form}: {place}")
            stores |= dict(_ingested(Path(name), form, place, sweeps, results))
        for form, store in stores.items():
            results |= _reading(form, store) | _loading(form, store, counts, seconds)
    return results


def find_drives(root: Path) -> list[tuple[str, Path]]:
    """Find folders under ``root`` that a format reads, the shallowest for each format; plain folders do not count."""
    known = [name for name in READERS if name != "folder"]
    found: dict[str, Path] = {}
    for place in _folders(root, DEPTH):
        for name in known:
            if name not in found and _opens(name, place):
                found[name] = place
    return sorted(found.items())


def _folders(root: Path, depth: int) -> Iterator[Path]:
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = sorted(child for place in level for child in place.iterdir() if child.is_dir())


def _opens(name: str, place: Path) -> bool:
    try:
        return bool(open_reader(name, place).names())
    except (IngestError, ImportError):
        return False


def _simulated(
    folder: Path, sweeps: int, beams: int, columns: int, results: dict[str, float]
) -> Iterator[tuple[str, Path]]:
    drive = simulated_drive(sweeps, options=DriveOptions(beams=beams, columns=columns))
    start = time.perf_counter()
    made = [drive[index] for index in range(sweeps)]
    results["sweeps_per_s/simulate"] = sweeps / (time.perf_counter() - start)
    start = time.perf_counter()
    kept = type(drive).of(drive.name, made, drive.rate, drive.dataset)
    path = write_drives(folder / "simulated.h5", [kept])
    results["sweeps_per_s/write/simulated"] = sweeps / (time.perf_counter() - start)
    yield "simulated", path


def _ingested(
    folder: Path, form: str, place: Path, sweeps: int, results: dict[str, float]
) -> Iterator[tuple[str, Path]]:
    path = folder / f"{form}.h5"
    try:
        report = ingest(
            form, place, path, limit=sweeps, need_pairs=False, check=False, workers=0, progress=False
        )  # fmt: skip
    except (IngestError, ImportError) as error:
        logger.info(f"  left out: {str(error).splitlines()[0]}")
        return
    results[f"sweeps_per_s/ingest/{form}"] = report.sweeps / report.seconds
    yield form, path


def _reading(form: str, path: Path) -> dict[str, float]:
    store = DriveStore(path)
    start, points, count = time.perf_counter(), 0, 0
    for name in store.names:
        for sweep in store.drive(name):
            points, count = points + len(sweep), count + 1
    speed = count / (time.perf_counter() - start)
    store.close()
    return {f"sweeps_per_s/read/{form}": speed, f"points/{form}": points / count}


def _loading(form: str, path: Path, counts: list[int], seconds: float) -> dict[str, float]:
    """Measure pairs per second of a loader that batches two, without flow; nothing for a store without pairs."""
    if not DriveStore(path).pairs():
        return {}
    dataset = SweepPairs(path, split=None, flow="none")
    return {f"pairs_per_s/{form}/w{count}": _pairs_per_second(dataset, count, seconds) for count in counts}


def _pairs_per_second(dataset: SweepPairs, workers: int, seconds: float) -> float:
    loader = DataLoader(dataset, batch_sampler=_Addresses(len(dataset)), num_workers=workers, collate_fn=_same)
    stream = iter(loader)
    next(stream)  # workers have started and the file is in the page cache
    start, pairs = time.perf_counter(), 0
    while not pairs or time.perf_counter() - start < seconds:
        pairs += len(next(stream))
    return pairs / (time.perf_counter() - start)


class _Addresses:
    """Batches of two items, epoch after epoch."""

    def __init__(self, items: int) -> None:
        self.items = items

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        number = 0
        while True:
            yield [divmod(number + k, self.items) for k in range(2)]
            number += 2


def _same(batch: Any) -> Any:
    return batch
