"""Section ``data`` of every run's config; each kind of data adds its own fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(kw_only=True)
class DataConfig:
    """Settings of a run's batches.

    Attributes:
        kind: of data; empty takes the one that the method was written for.
        batch_size: objects, images or pairs in one batch, over all processes together.
        drop_last: leave out the last batch of a pass where fewer items are left than a batch holds; false trains on it.
        workers: loader processes of each training process; 0 loads in the training process.
        seed: of the order and of all that is random about an item; None takes the seed of the run.
        groups: file with the group of each training item, ``groups.npz`` of a stage of `equissl stages` or a ``.npy``
            array; None for none.
            Every batch is then drawn from one group, for any method (`equissl.datasets.samplers.GroupBatches`).
        group_mask: batches are drawn as ever instead, and an objective that is told the groups leaves out negatives of
            other groups (``group_nt_xent``).
    """

    kind: str = ""
    batch_size: int = 256
    drop_last: bool = True
    workers: int = 0
    seed: int | None = None
    groups: str | None = None
    group_mask: bool = False

    def settings(self) -> dict[str, Any]:
        """Return what a kind adds to these fields, as arguments of its data set."""
        shared = {field.name for field in fields(DataConfig)}
        return {name: value for name, value in asdict(self).items() if name not in shared}
