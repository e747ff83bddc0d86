"""Removal of what a run wrote that failed before its first step."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from equissl.runs.log import METRICS_FILE, read_metrics
from equissl.util.ranks import process_rank
from equissl.util.runfolder import CONFIG_FILE, LAST


@contextlib.contextmanager
def removed_unless_started(out: Path) -> Iterator[None]:
    """Remove what is written into ``out`` inside of the context, if that ends with an error before the first step.

    What was there before stays, with the config as it was, and so do the folders of other runs that began meanwhile.
    Folders above that were made for it go too.

    Args:
        out: run folder, which need not be there yet.
    """
    before = {out / name for name in _entries(out)}
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    config = out / CONFIG_FILE
    saved = config.read_bytes() if config.is_file() else None
    try:
        yield
    except BaseException:
        if process_rank() == 0 and not _started(out):
            new = [path for path in (out / name for name in _entries(out)) if path not in before]
            _remove([path for path in new if not _holds_runs(path)])
            if saved is not None:
                config.write_bytes(saved)
            _remove_empty(missing)
        raise


def _started(out: Path) -> bool:
    """Return True where a checkpoint is there, or a row of the log, which the first step writes."""
    return (out / LAST).is_file() or ((out / METRICS_FILE).is_file() and bool(read_metrics(out)))


def _holds_runs(path: Path) -> bool:
    """Return True for a run folder, and for one of run folders (NAME/seed0)."""
    return (path / CONFIG_FILE).is_file() or any(path.glob(f"*/{CONFIG_FILE}"))


def _entries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, inner ones first, up to one that holds something else."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
