"""Benchmark of path integration without views: whole rotations from unordered actions, with or without a pose.

An aggregate of M views does not know the order of the actions between them. Rotations about one axis commute, so that
their sum is the answer; others do not, and only then are views worth something beside actions (docs/sequences.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from equissl.bench.record import Measured
from equissl.evaluation.probes import mlp
from equissl.geometry import canonicalize_unitquat, euler_to_rotmat, rotmat_to_unitquat
from equissl.metrics import r2_uniform

HIDDEN, BATCH, SCORED, RATE = (256, 256), 512, 20_000, 1e-3


def bench_paths(
    degrees: Sequence[float] = (30, 45, 60, 90),
    steps: Sequence[int] = (2, 3, 4, 6, 8),
    updates: int = 1500,
    threads: int = 1,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Regress the rotation from the first view to the one after the last by an MLP, from what is known of a path.

    Every batch holds new paths. ``actions`` knows the last action, and sum and second moments of those before it;
    ``pose`` also the last observed view's pose, with as much noise as signal (R² 0.5); ``exact pose`` without noise.

    Args:
        degrees: half-widths of the rotations of each view about x, y and z.
        steps: numbers of actions in a path, at least 2.
        updates: of each MLP.
        threads: of the CPU.
        seed: of paths and MLPs.
        say: receives one line for each setting.

    Returns:
        for each range and number of steps, R² over unit quaternions on 20,000 further paths.

    Raises:
        ValueError: for no update, or fewer than two steps.
    """
    if updates < 1 or min(steps) < 2:
        raise ValueError(f"expected at least one update and 2 steps, got {updates} and {list(steps)}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found: dict[str, str] = {}
        for degree in degrees:
            for length in steps:
                scores = _scores(degree, length, updates, seed)
                name = f"±{degree:g}°, {length} steps"
                found[name] = Measured(", ".join(f"{known} {value:.3f}" for known, value in scores.items()), scores)
                say(f"{name}: {found[name]}")
        return found
    finally:
        torch.set_num_threads(before)


def _scores(degree: float, length: int, updates: int, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    test, target = _paths(degree, length, SCORED, generator)
    heads = {name: mlp(x.shape[1], HIDDEN, 4, seed) for name, x in test.items()}
    optimizer = torch.optim.Adam([p for head in heads.values() for p in head.parameters()], lr=RATE, fused=True)
    scale = {name: (x.mean(0), x.std(0).clamp(min=1e-6)) for name, x in test.items()}
    middle, spread = target.mean(0), target.std(0)
    for _ in range(updates):
        known, wanted = _paths(degree, length, BATCH, generator)
        guesses = [head((known[name] - scale[name][0]) / scale[name][1]) for name, head in heads.items()]
        loss = torch.stack([F.mse_loss(guess, (wanted - middle) / spread) for guess in guesses]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        return {
            name: float(r2_uniform(head((test[name] - scale[name][0]) / scale[name][1]) * spread + middle, target))
            for name, head in heads.items()
        }


def _paths(degree: float, length: int, count: int, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Draw paths: what is known of them, and their rotations from first to last view (count, 4)."""
    euler = torch.rand(count, length + 1, 3, generator=generator) * 2 - 1
    poses = euler_to_rotmat(euler * math.radians(degree))
    known, pose = known_actions(poses), _quats(poses[:, -2])
    noisy = pose + pose.std(0) * torch.randn(pose.shape, generator=generator)
    inputs = {"actions": known, "pose": torch.cat([known, noisy], 1), "exact pose": torch.cat([known, pose], 1)}
    return inputs, _quats(poses[:, 0].mT @ poses[:, -1])


def known_actions(poses: Tensor) -> Tensor:
    """Return what is known of actions whose order is lost: the last one, and sum and moments of the others.

    Args:
        poses: (N, M + 1, 3, 3) rotations of the views, M at least 2.

    Returns:
        (N, 18): quaternion of the last action; sum, and ten second moments, of those before it.
    """
    actions = _quats(poses[:, :-1].mT @ poses[:, 1:])
    early, last = actions[:, :-1], actions[:, -1]
    row, column = torch.triu_indices(4, 4)
    return torch.cat([last, early.sum(1), (early[..., row] * early[..., column]).sum(1)], dim=1)


def _quats(rotations: Tensor) -> Tensor:
    return canonicalize_unitquat(rotmat_to_unitquat(rotations))
