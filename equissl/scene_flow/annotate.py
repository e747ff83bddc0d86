"""Scene flow computed once for a whole store, instead of whenever a pair is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.scene_flow.base import FlowError, FlowProvider, add_flow
from equissl.scene_flow.registry import get_flow_provider

logger = logging.getLogger(__name__)
SAY_EVERY = 15.0  # seconds


@dataclass
class FlowReport:
    """What was written.

    Attributes:
        path: of the new store.
        pairs: sweeps that carry flow to their next.
        failed: (sequence, frame, reason) of pairs that the provider could not work with; their sweeps carry none.
        seconds: all of it took.
    """

    path: Path
    pairs: int
    failed: list[tuple[str, str, str]]
    seconds: float


def write_flow_store(
    store: str | Path, out: str | Path, provider: str = "icp_cluster", options: dict[str, Any] | None = None
) -> FlowReport:
    """Copies a drive store with the flow of a provider, from each sweep to its next, in place of any flow it had.

    Args:
        store: drive store, or an OpenSceneFlow log.
        out: the store to write; whole or not at all.
        provider: name, see :mod:`equissl.scene_flow`.
        options: of the provider; ``{drive}`` in a text becomes the name of the drive.

    Raises:
        FlowError: for an unknown provider, when ``out`` is the store itself, or when no pair at all got flow.
        DriveStoreError: see :class:`DriveStore`.
    """
    source, out = DriveStore(store), Path(out)
    if out.exists() and out.samefile(source.path):
        raise FlowError(f"expected another file than the store to write to, got {out} for both")
    writer = _Annotator(source, provider, options or {})
    for name in source.names[:1]:
        writer.provider(name)  # an unknown name or option shows before anything is written
    attributes = {**source.attributes, "flow_provider": provider, "flow_options": options or {}}
    start = time.monotonic()
    write_drives(out, writer.drives(), attributes, source.problems)
    if not writer.pairs:
        out.unlink()
        why = f", the first because: {writer.failed[0][2]}" if writer.failed else ": there are none"
        raise FlowError(f"expected flow for the pairs of {source.path}, got it for none{why}")
    return FlowReport(out, writer.pairs, writer.failed, time.monotonic() - start)


class _Annotator:
    """Sequences whose sweeps get flow as they are read, each once and in order."""

    def __init__(self, store: DriveStore, provider: str, options: dict[str, Any]) -> None:
        self.store, self.name, self.options = store, provider, options
        self.pairs = 0
        self.failed: list[tuple[str, str, str]] = []
        self._said = time.monotonic()

    def provider(self, drive: str) -> FlowProvider:
        filled = {k: v.replace("{drive}", drive) if isinstance(v, str) else v for k, v in self.options.items()}
        return get_flow_provider(self.name, **filled)

    def drives(self) -> Iterator[Drive]:
        for name in self.store.names:
            drive, entry = self.store.drive(name), self.store.index[name]
            following = dict(find_pairs(entry.timestamps, entry.rate, entry.poses)[0].tolist())
            provider = self.provider(name)
            yield replace(drive, read=partial(self._read, drive, provider, following))

    def _read(self, drive: Drive, provider: FlowProvider, following: dict[int, int], index: int) -> Sweep:
        sweep = replace(drive.read(index), flow=None, flow_valid=None, flow_provider=None, flow_classes=None)
        if index not in following:
            return sweep
        try:
            found = add_flow(sweep, drive.read(following[index]), provider)
        except FlowError as error:
            self.failed.append((drive.name, sweep.frame, str(error)))
            return sweep
        self.pairs += 1
        if time.monotonic() - self._said > SAY_EVERY:
            self._said = time.monotonic()
            logger.info("%s: sweep %d of %d", drive.name, index + 1, len(drive))
        return found
