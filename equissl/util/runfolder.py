"""Files of run folders and exported folders, by their paths alone."""

from __future__ import annotations

from pathlib import Path

CONFIG_FILE = "config.yaml"
LAST = Path("checkpoints") / "last.ckpt"
CARD = "card.json"  # of an exported folder


def checkpoint_file(run_dir: str | Path) -> Path:
    """Return the checkpoint of a run folder, or the path itself when it is a file.

    Raises:
        FileNotFoundError: no such run.
    """
    path = Path(run_dir)
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(
            f"no run at {path}: expected a folder written by `equissl pretrain --out`, or a .ckpt file"
        )
    if not (path / LAST).is_file():
        held = sorted(p.name for p in path.iterdir())[:10]
        raise FileNotFoundError(f"no {LAST} in {path}; the folder holds {held or 'nothing'}")
    return path / LAST
