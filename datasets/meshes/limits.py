"""Limits on the cost of one mesh: bytes, faces and seconds of decoding. Meshes beyond them are named at the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Mesh, MeshError


class _OutOfTime(BaseException):
    """No ``Exception``: mesh libraries catch those and go on."""


@dataclass(frozen=True)
class MeshLimits:
    """Limits on the cost of one mesh; None is no limit.

    Attributes:
        megabytes: megabytes of the mesh file, before it is read.
        faces: triangles, after decoding.
        seconds: seconds of decoding. Sizes give the same choice on every machine, time does not: it is the last resort.
    """

    megabytes: float | None = 512.0
    faces: int | None = 5_000_000
    seconds: float | None = 120.0

    def check_size(self, files: Files, path: str, name: str) -> None:
        """Raise :class:`MeshError` for a file of too many bytes; an absent one is left to its reader.

        Args:
            files: source of the bytes.
            path: in it.
            name: name of the mesh, for the message.
        """
        size = files.size(path) if self.megabytes is not None else None
        if size is not None and self.megabytes is not None and size > self.megabytes * 1e6:
            raise MeshError(f"{name}: {path} has {size / 1e6:.1f} MB, more than the limit of {self.megabytes:g} MB")

    def check_faces(self, mesh: Mesh) -> None:
        """Raise :class:`MeshError` for a mesh of too many faces."""
        if self.faces is not None and len(mesh.faces) > self.faces:
            raise MeshError(f"{mesh.name}: {len(mesh.faces)} faces, more than the limit of {self.faces}")

    @contextmanager
    def decoding(self, name: str) -> Iterator[None]:
        """Raise :class:`MeshError` in the block once it has taken too long.

        A timer signal interrupts it, so this works in the main thread of a process, where builders' workers decode;
        in other threads, and on systems without such signals, there is no limit.
        """
        main = threading.current_thread() is threading.main_thread()
        if self.seconds is None or not main or not hasattr(signal, "setitimer"):
            yield
            return
        try:
            with _alarm(self.seconds):
                yield
        except _OutOfTime:
            raise MeshError(f"{name}: decoding takes longer than the limit of {self.seconds:g} s") from None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def expire(_: int, __: FrameType | None) -> None:
        raise _OutOfTime

    handler = signal.signal(signal.SIGALRM, expire)
    # again every second: a library's `except:` may swallow the first
    before, _ = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, before)
        signal.signal(signal.SIGALRM, handler)
