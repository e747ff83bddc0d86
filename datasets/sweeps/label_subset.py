"""Choice of the sweeps whose labels a detector may learn from: a share of them, or a published list."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from equissl.util.files import write_text


def choose_labelled(ids: Sequence[str], labels: float | str, seed: int = 0) -> list[int]:
    """Choose the positions, increasing, of the sweeps whose labels are used.

    Of a share, the sweeps are those with the lowest SHA-256 of ``SEED/ID``: the same on every machine, and those of a
    smaller share are among those of a larger one. 0.05 of KITTI's 3712 training sweeps are 186, 0.2 are 742.

    Args:
        ids: names of all sweeps, ``DRIVE/SWEEP``.
        labels: a share in (0, 1], at least one sweep; or a file of ids, one a line, ``#`` before remarks. The drive may
            be left out where one alone has the sweep.
        seed: seed of the share of labels.

    Raises:
        ValueError: for a share out of (0, 1], or a list with ids that are not among the sweeps, or without any.
        FileNotFoundError: no such list.
    """
    if isinstance(labels, str):
        return _listed(ids, Path(labels))
    if not 0 < labels <= 1:
        raise ValueError(f"expected a share of labels in (0, 1], or a file of ids, got {labels}")
    wanted = max(1, math.floor(labels * len(ids) + 0.5))
    order = sorted(range(len(ids)), key=lambda index: hashlib.sha256(f"{seed}/{ids[index]}".encode()).digest())
    return sorted(order[:wanted])


def write_label_list(path: Path, ids: Sequence[str], remark: str) -> None:
    """Write ids as `choose_labelled` reads them.

    Args:
        path: file to write.
        ids: names of the sweeps.
        remark: first line of the file.
    """
    write_text(path, "".join(f"{line}\n" for line in (f"# {remark}", *ids)))


def _listed(ids: Sequence[str], path: Path) -> list[int]:
    if not path.is_file():
        raise FileNotFoundError(f"expected a share of labels such as 0.05, or a file of ids, found nothing at {path}")
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    listed = list(dict.fromkeys(line for line in lines if line))
    place: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        for key in dict.fromkeys((name, name.rpartition("/")[2])):
            place.setdefault(key, []).append(index)
    if wrong := [name for name in listed if len(place.get(name, ())) != 1]:
        raise ValueError(
            f"expected {path} to name labelled training sweeps such as {ids[0] if ids else 'DRIVE/SWEEP'}, each alone; "
            f"{len(wrong)} of its {len(listed)} are not: {', '.join(wrong[:5])}"
        )
    if not listed:
        raise ValueError(f"expected {path} to name at least one sweep, it names none")
    return sorted(place[name][0] for name in listed)
