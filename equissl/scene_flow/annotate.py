"""Computation of scene flow once for a whole store, instead of at every reading of a pair."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from equissl.datasets.drives.drive_parts import DriveJob, DrivePart, plan_parts
from equissl.datasets.drives.errors import Problem
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.scene_flow.base import FlowError, FlowProvider, add_flow
from equissl.scene_flow.registry import get_flow_provider
from equissl.util.job import Begun, Limits, Tell
from equissl.util.parts import make_parts
from equissl.util.parts_folder import parts_folder
from equissl.util.progress import Progress

SWEEPS = 16  # of one part
NO_FLOW: dict[str, Any] = {"flow": None, "flow_valid": None, "flow_provider": None, "flow_classes": None}


@dataclass
class FlowReport:
    """Summary of a flow run.

    Attributes:
        path: of the new store.
        pairs: sweeps that carry flow to their next.
        failed: (sequence, frame, reason) of pairs that the provider could not work with; their sweeps carry none.
        seconds: wall time.
    """

    path: Path
    pairs: int
    failed: list[tuple[str, str, str]]
    seconds: float


def write_flow_store(
    store: str | Path,
    out: str | Path,
    provider: str = "icp_cluster",
    options: dict[str, Any] | None = None,
    workers: int = 0,
    progress: bool = True,
) -> FlowReport:
    """Copy a drive store with the flow of a provider, from each sweep to its next, in place of any flow it had.

    Killed and started again it goes on where it stopped, and ends with the same bytes.

    Args:
        store: drive store, or an OpenSceneFlow log.
        out: the store to write; whole or not at all.
        provider: name, see :mod:`equissl.scene_flow`.
        options: of the provider; ``{drive}`` in a text becomes the name of the drive.
        workers: processes of one thread each; 0 works in this one.
        progress: show how far it is.

    Raises:
        FlowError: for an unknown provider, when ``out`` is the store itself, or when no pair at all got flow.
        DriveStoreError: see :class:`DriveStore`.
        PartsError: unfinished work is of another store, provider or options, or another process does the same.
        WorkerError: processes died repeatedly over the sweeps named; finished parts are kept.
    """
    start, source, out, options = time.monotonic(), DriveStore(store), Path(out), options or {}
    if out.exists() and out.samefile(source.path):
        raise FlowError(f"expected another file than the store to write to, got {out} for both")
    lengths = {name: len(entry.timestamps) for name, entry in source.index.items()}
    attributes = {"flow_provider": provider, "flow_options": options}
    description = {"store": source.path.name, "bytes": source.path.stat().st_size, "sweeps": lengths, **attributes}
    for name in source.names[:1]:
        provider_of(name, provider, options)  # an unknown name or option shows before anything is written
    bar = Progress(source.num_sweeps, f"flow of {source.path.name}", "sweeps", progress)
    with bar, parts_folder(out, description) as folder:
        job = FlowJob(plan_parts(folder.path, lengths, SWEEPS), source, provider, options)
        folder.clean([part.path for part in job.parts])
        make_parts(job, range(job.count), bar, workers=workers, limits=Limits(seconds=None))
        pairs, failed = _outcome(job.parts)
        if pairs:
            problems = [*source.problems, *(Problem(drive, frame, "", reason) for drive, frame, reason in failed)]
            write_drives(out, _joined(source, job.parts), {**source.attributes, **attributes}, problems)
        shutil.rmtree(folder.path)
    if not pairs:
        why = f", the first because: {failed[0][2]}" if failed else ": there are none"
        raise FlowError(f"expected flow for the pairs of {source.path}, got it for none{why}")
    return FlowReport(out, pairs, failed, time.monotonic() - start)


def provider_of(drive: str, name: str, options: Mapping[str, Any]) -> FlowProvider:
    """Make the provider for one drive.

    Args:
        sequence: name of the drive, which takes the place of ``{drive}`` in options.
        name: of the provider.
        options: of the provider.

    Raises:
        FlowError: for an unknown name or option.
    """
    filled = {k: v.replace("{drive}", drive) if isinstance(v, str) else v for k, v in options.items()}
    return get_flow_provider(name, **filled)


class FlowJob(DriveJob):
    """Job that copies the sweeps of each part with their scene flow.

    Args:
        parts: of the drives.
        store: that holds them.
        provider, options: as of ``write_flow_store``.
    """

    def __init__(self, parts: list[DrivePart], store: DriveStore, provider: str, options: dict[str, Any]) -> None:
        super().__init__(parts)
        self.store, self.provider, self.options = store, provider, options

    def run(self, part: int, given_up: Mapping[int, str], tell: Tell) -> None:
        """Write the sweeps of one part; pairs that the provider cannot work with are noted as problems.

        Args:
            part: number of the part.
            given_up: not used; a sweep is never left out.
            tell: called with the work that is begun.
        """
        name, indices = self.parts[part].drive, self.items(part)
        drive, entry = self.store.drive(name), self.store.index[name]
        following = dict(find_pairs(entry.timestamps, entry.rate, entry.poses)[0].tolist())
        provider, sweeps, problems = provider_of(name, self.provider, self.options), [], []
        for index in indices:
            sweep = replace(drive[index], **NO_FLOW)
            if index in following:
                tell(Begun(index, "estimating flow"))
                try:
                    sweep = add_flow(sweep, drive[following[index]], provider)
                except FlowError as error:
                    problems.append(Problem(name, sweep.frame, "", str(error)))
            sweeps.append(sweep)
        pairs = sum(sweep.flow is not None for sweep in sweeps)
        write_drives(self.path(part), [Drive.of(name, sweeps)], {"pairs": pairs}, problems)


def _outcome(parts: list[DrivePart]) -> tuple[int, list[tuple[str, str, str]]]:
    """Number of pairs with flow, and the pairs without."""
    pairs, failed = 0, []
    for part in parts:
        store = DriveStore(part.path)
        pairs += store.attributes["pairs"]
        failed += [(problem.drive, problem.frame, problem.reason) for problem in store.problems]
        store.close()  # thousands of files cannot be open at once
    return pairs, failed


def _joined(store: DriveStore, parts: list[DrivePart]) -> Iterator[Drive]:
    """Return the drives of the store, their sweeps read from the parts."""
    for name in store.names:
        mine = [part for part in parts if part.drive == name]
        yield replace(store.drive(name), read=partial(_read, [DriveStore(part.path) for part in mine], name))


def _read(parts: list[DriveStore], name: str, index: int) -> Sweep:
    store, place = parts[index // SWEEPS], index % SWEEPS
    sweep = store.read(name, place)
    if place == SWEEPS - 1:
        store.close()
    return sweep
