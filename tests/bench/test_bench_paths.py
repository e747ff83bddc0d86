"""Benchmark of path integration without views: unordered actions, and the last pose beside them."""

from __future__ import annotations

import pytest
import torch

from equissl.bench.paths import bench_paths, known_actions
from equissl.geometry import random_rotmat


def test_actions_alone_suffice_for_two_steps_and_less_the_wider_the_rotations() -> None:
    found = bench_paths(degrees=(30, 90), steps=(2, 4), updates=150, say=lambda line: None)
    actions = {name: line.numbers["actions"] for name, line in found.items()}
    assert actions["±30°, 2 steps"] > 0.95
    assert actions["±30°, 2 steps"] > actions["±30°, 4 steps"] > 0.7 > 0.4 > actions["±90°, 4 steps"]
    assert found["±90°, 4 steps"].numbers["exact pose"] > actions["±90°, 4 steps"] + 0.05


def test_the_order_of_the_actions_is_lost() -> None:
    """Three views and their successors: the first two actions change places, the last one stays."""
    actions = random_rotmat(12, dtype=torch.float64).view(4, 3, 3, 3)
    swapped = actions[:, [1, 0, 2]]
    first = random_rotmat(4, dtype=torch.float64)

    def poses(moves: torch.Tensor) -> torch.Tensor:
        way = [first]
        for step in range(3):
            way.append(way[-1] @ moves[:, step])
        return torch.stack(way, 1)

    torch.testing.assert_close(known_actions(poses(actions)), known_actions(poses(swapped)))
    assert not torch.allclose(poses(actions)[:, -1], poses(swapped)[:, -1])


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"steps": (1, 2)}])
def test_too_little_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected at least one update and 2 steps"):
        bench_paths(**wrong)
