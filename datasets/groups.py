"""Groups of the items of a data set, by which batches or negatives are restricted, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from equissl.datasets.addressed import Address, AddressedDataset
from equissl.util.files import atomic_path

LABELS, CLUSTERS = "labels", "clusters"


class GroupsError(ValueError):
    """A file of groups that cannot be read, or that is of another data set."""


def mixed_radix(labels: np.ndarray, clusters: Sequence[int]) -> np.ndarray:
    """Number the groups of items that share the label of every stage: ``c <- c K + c_s``, so that groups are refined.

    Zhang et al. (MCL, ECCV 2024) mean this; their release loads the last stage's labels at every turn instead, and so
    never has more than K groups.

    Args:
        labels: (N, S) label of each item at each of S stages, the first stage first.
        clusters: S numbers K of labels; those of a stage are 0 to K - 1.

    Returns:
        (N,) int64, below the product of all K.

    Raises:
        GroupsError: other shapes, labels out of range, or more groups than 63 bits number.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.shape[1] != len(clusters) or not np.issubdtype(labels.dtype, np.integer):
        got = f"{labels.dtype} {labels.shape} and {len(clusters)}"
        raise GroupsError(f"expected integer labels (N, S) and S numbers of clusters, got {got}")
    if (labels < 0).any() or (labels >= np.asarray(clusters)).any():
        raise GroupsError(f"expected labels from 0 to below {list(clusters)}, got up to {labels.max(axis=0).tolist()}")
    if np.prod([float(count) for count in clusters]) > 2**63:
        raise GroupsError(f"expected at most 2^63 groups, got {list(clusters)} clusters in {len(clusters)} stages")
    groups = np.zeros(len(labels), np.int64)
    for stage, count in enumerate(clusters):
        groups = groups * count + labels[:, stage]
    return groups


def write_groups(file: Path, labels: np.ndarray, clusters: Sequence[int], **facts: int | str) -> None:
    """Write the labels of all stages so far.

    Args:
        file: ``.npz`` file.
        labels: (N, S).
        clusters: S numbers of labels.
        **facts: what the last stage's labels were made with, for `read_stages`.
    """
    arrays: dict[str, Any] = {LABELS: np.asarray(labels, np.int64), CLUSTERS: np.asarray(clusters, np.int64), **facts}
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_stages(file: Path | str) -> tuple[np.ndarray, list[int], dict[str, Any]]:
    """Read the labels (N, S) of all stages, their numbers of clusters, and the facts that stand beside them.

    Raises:
        GroupsError: no such file, or another one.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = dict(arrays)
        labels, clusters = found.pop(LABELS), found.pop(CLUSTERS).tolist()
    except (OSError, ValueError, LookupError, AttributeError, TypeError, EOFError) as error:
        raise GroupsError(f"{file}: expected labels of stages (.npz) as `equissl stages` writes: {error}") from error
    return labels, clusters, {name: value.item() for name, value in found.items()}


def read_groups(file: Path | str, items: int) -> np.ndarray:
    """Read the group (N,) of each item.

    Args:
        file: ``groups.npz`` of a stage, or a ``.npy`` array (N,) of integers.
        items: N, of the data set.

    Raises:
        GroupsError: no such file, another one, or one of a data set of another size.
    """
    if str(file).endswith(".npy"):
        try:
            groups = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise GroupsError(f"{file}: expected an array of groups: {error}") from error
    else:
        groups = mixed_radix(*read_stages(file)[:2])
    if groups.shape != (items,) or not np.issubdtype(groups.dtype, np.integer):
        got = f"{groups.dtype} {groups.shape}"
        raise GroupsError(f"{file}: expected an integer for each of the {items} items to train on, got {got}")
    return groups.astype(np.int64)


class GroupedItems(Dataset):
    """A data set whose batches also hold the group of each item.

    Args:
        dataset: whose batches have a field ``group_ids``; all else that is asked of this one is asked of it.
        groups: (N,) int64.
    """

    def __init__(self, dataset: AddressedDataset, groups: np.ndarray) -> None:
        self.dataset, self.groups = dataset, torch.from_numpy(groups)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, address: Address) -> Any:
        """Return one item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> Any:
        """Return the batch of items at ``addresses``, a list of (epoch, index)."""
        groups = self.groups[torch.tensor([index for _, index in addresses])]
        return replace(self.dataset.__getitems__(addresses), group_ids=groups)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):  # not yet there while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)
