"""Tiny scene methods and batches for the tests in this folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.encoders.voxel import VoxelEncoderConfig
from equissl.methods import METHODS
from equissl.methods.drives import ContrastConfig, DriveMethod, FlowConfig
from equissl.objectives import ObjectiveConfig

# 32 x 32 x 24 voxels: 4 x 4 columns
VOXELS = VoxelEncoderConfig(point_range=(-8.0, -8.0, -2.0, 8.0, 8.0, 4.0), voxel_size=(0.5, 0.5, 0.25))
POINTS = ContrastConfig(projector=(12, 8), fewest_pairs=2)
HALF = ContrastConfig(projector=(12, 8), fewest_pairs=2, stage="conv3", reduction="mean", symmetric=True)
ALL = ("rotation", "translation", "scale", "flip")
# By class name; what follows a space tells variants of one class apart.
CASES: dict[str, dict[str, Any]] = {
    "ESSL3D": {"points": POINTS, "classifier": (16,)},
    "ESSL3D separate": {
        "points": POINTS,
        "classifier": (16,),
        "spatial_mode": "separate",
        "target": "relative",
        "flow": FlowConfig(views="different", symmetric=True, denominator="valid"),
    },
    "ESSL3D all": {
        "points": HALF,
        "classifier": (16,),
        "classify": ALL,
        "contrast": ALL,
        "flow": FlowConfig(stage="conv_out", views="same", normalise=False),
    },
    "ESSL3D time": {"points": POINTS, "contrast": (), "classify": ()},
    "ESSL3D space": {"points": POINTS, "classifier": (16,), "flow_weight": 0.0, "crop_before_transform": True},
    "CellContrast": {"points": POINTS},
    "CellContrast ego": {"points": POINTS, "sweeps": "ego"},
    "CellContrast flow": {"points": HALF, "sweeps": "flow"},
    "SweepInvariant": {"projector": (16, 8), "objective": ObjectiveConfig("byol", {"hidden": 12})},
    "SweepInvariant moco": {
        "projector": (16, 8),
        "objective": ObjectiveConfig("moco", {"queue": 32}),
        "sweeps": "same",
        "cuboid": 0.6,
        "drop": 0.2,
    },
    "SweepInvariant vicreg": {"projector": (16, 8), "objective": ObjectiveConfig("vicreg")},
    "Occupancy": {"queries": 60, "hidden": (16,), "depth": 0.5},
}


def make_cloud(points: int, generator: torch.Generator, spread: float = 17.0) -> Tensor:
    """(P, 4) anywhere in the range, some just outside of it."""
    box = torch.tensor([spread, spread, 5.5])
    xyz = (torch.rand(points, 3, generator=generator) - 0.5) * box + torch.tensor([0.0, 0.0, 1.0])
    return torch.cat([xyz, torch.rand(points, 1, generator=generator)], dim=1)


def make_pair(scenes: int = 4, points: int = 200, seed: int = 0) -> ScenePair:
    """Random scenes; what was at p in the earlier sweep is at p + flow in the later one, among other points."""
    generator = torch.Generator().manual_seed(seed)
    previous = tuple(make_cloud(points + 7 * scene, generator) for scene in range(scenes))
    motion = torch.eye(4).repeat(scenes, 1, 1)
    motion[:, 0, 3] = -0.75
    flow = tuple(torch.tensor([-0.75, 0.0, 0.0]) + 0.2 * torch.randn(len(p), 3, generator=generator) for p in previous)
    current = tuple(
        torch.cat([torch.cat([p[:, :3] + d, p[:, 3:]], dim=1)[10:], make_cloud(20, generator)])
        for p, d in zip(previous, flow, strict=True)
    )
    return ScenePair(
        previous,
        current,
        seeds=100 * seed + torch.arange(scenes),
        drives=("drive",) * scenes,
        sweeps=torch.stack([torch.arange(scenes), torch.arange(scenes) + 1], dim=1),
        motion=motion,
        flow=flow,
        flow_valid=tuple(torch.rand(len(p), generator=generator) > 0.1 for p in previous),
        flow_provider="test",
    )


def take(batch: ScenePair, rank: int, world: int) -> ScenePair:
    """One process' share of a batch."""
    share = len(batch) // world
    rows = slice(rank * share, (rank + 1) * share)
    names = ("previous", "current", "seeds", "drives", "sweeps", "motion", "flow", "flow_valid")
    return ScenePair(**{name: getattr(batch, name)[rows] for name in names}, flow_provider=batch.flow_provider)


def tiny_drive_method(name: str, seed: int = 0, **changes: Any) -> DriveMethod:
    torch.manual_seed(seed)
    method = METHODS[name.split()[0]](**{"encoder": VOXELS, **CASES[name], **changes})
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return method
