"""Tiny drives: a few hundred points a sweep, moving, with boxes and flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep, rigid_flow

RATE = 10.0


def drive(name: str, sweeps: int = 8, points: int = 40, seed: int = 0, flow: bool = True, poses: bool = True) -> Drive:
    """A car that goes 0.5 m further ahead each sweep through random points."""
    step = np.eye(4)
    step[0, 3] = -0.5
    made = []
    for k in range(sweeps):
        rng = np.random.default_rng([seed, k])
        cloud = rng.uniform((-10, -10, -2), (10, 10, 0), (points + k, 3)).astype(np.float32)
        pose = np.eye(4)
        pose[0, 3] = 0.5 * k
        made.append(
            Sweep(
                points=cloud,
                timestamp=1_000_000_000 + k * int(1e9 / RATE),
                pose=pose if poses else None,
                intensity=np.full(len(cloud), k / sweeps, np.float32),
                boxes=Boxes(np.array([[3.0, k, -1.0, 4.0, 2.0, 1.5, 0.1]]), ("Car",), ("1",)),
                ground=cloud[:, 2] < -1.8,
                flow=rigid_flow(cloud, step) if flow else None,
                flow_valid=rng.random(len(cloud)) < 0.9 if flow else None,
                flow_provider="truth" if flow else None,
                frame=f"{k:06d}",
            )
        )
    return Drive.of(name, made, RATE, "test")


def write_worlds(path: Path, count: int = 1, **options) -> Path:
    return write_drives(path, [drive(f"drive{k}", seed=k, **options) for k in range(count)])
