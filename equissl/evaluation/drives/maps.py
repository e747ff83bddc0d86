"""Feature maps for the report: three principal components of every ground cell of a few sweeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.evaluation.drives.encoding import SweepEncoder, rotate_cloud
from equissl.sparse import SparseTensor
from equissl.util.files import atomic_path

COMPONENTS = 3
ANGLE = 60.0  # degrees by which the second map's sweep is turned


def principal_components(features: Tensor, count: int = COMPONENTS) -> Tensor:
    """Compute scores (N, count) on the principal components, signed so that each has its largest weight positive.

    Without the convention a component and its negative are equally right, and pictures of equal features would differ.
    Missing components are zero.

    Args:
        features: (N, D).
        count: number of components.
    """
    x = features.detach().to("cpu", torch.float64)
    x = x - x.mean(0)
    _, _, axes = torch.linalg.svd(x, full_matrices=False)
    axes = axes[:count]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    scores = x @ (axes * largest.sign()).T
    return torch.nn.functional.pad(scores, (0, count - scores.shape[1]))


def sweep_maps(encoders: Mapping[str, SweepEncoder], pairs: Sequence[ScenePair]) -> dict[str, np.ndarray]:
    """Compute maps of the earlier sweep of each pair, as recorded and turned by 60°, with components common to the two.

    Args:
        encoders: encoders by name.
        pairs: batches of one pair each.

    Returns:
        arrays ``NAME/PAIR/now/cells`` (M, 2) cells along x and y, ``…/values`` (M, 3), and the same for ``turned``.
    """
    arrays: dict[str, np.ndarray] = {}
    for number, pair in enumerate(pairs):
        cloud = pair.previous[0]
        for name, encoder in encoders.items():
            maps = {"now": encoder.bev([cloud]), "turned": encoder.bev([rotate_cloud(cloud, math.radians(ANGLE))])}
            values = principal_components(torch.cat([bev.features for bev in maps.values()]))
            parts = values.split([len(bev) for bev in maps.values()])
            for (state, bev), part in zip(maps.items(), parts, strict=True):
                arrays[f"{name}/{number}/{state}/cells"] = _cells(bev)
                arrays[f"{name}/{number}/{state}/values"] = part.numpy().astype(np.float32)
    return arrays


def describe_maps(encoder: SweepEncoder, pairs: Sequence[ScenePair]) -> dict[str, Any]:
    """Describe the ground cells of maps and the sweeps that they show.

    Args:
        encoder: one of the encoders; its grid gives the cells.
        pairs: see `sweep_maps`.
    """
    grid = encoder.encoder.grid
    stride = grid.shape[1] // encoder.encoder.bev_shape[0]
    shown = [{"drive": pair.drives[0], "sweeps": pair.sweeps[0].tolist()} for pair in pairs]
    return {
        "low": list(grid.point_range[:2]),
        "high": list(grid.point_range[3:5]),
        "cell": [stride * size for size in grid.voxel_size[:2]],
        "angle": ANGLE,
        "pairs": shown,
    }


def write_maps(path: Path, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write maps to one file, whole or not at all.

    Args:
        path: of the file (.npz).
        arrays: see `sweep_maps`.
        description: see `describe_maps`.
    """
    text: Any = np.array(json.dumps(description))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, description=text, **arrays)  # type: ignore[arg-type]


def read_maps(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and the description that `write_maps` wrote."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, json.loads(str(arrays.pop("description")))


def _cells(bev: SparseTensor) -> np.ndarray:
    return bev.indices[:, [3, 2]].cpu().numpy()
