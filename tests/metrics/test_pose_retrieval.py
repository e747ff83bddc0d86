"""Streamed look-up among all views against brute force in NumPy, closed forms, ties, and a memory limit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from equissl.geometry import euler_to_unitquat
from equissl.metrics.pose_retrieval import chance_pre, pose_distances, prediction_retrieval_errors


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def poses(count: int, seed: int = 0) -> torch.Tensor:
    return euler_to_unitquat(numbers(count, 3, seed=seed).double())


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rows", [7, 1000])
def test_pre_is_brute_force_for_any_block(normalize: bool, rows: int) -> None:
    candidates, queries = numbers(60, 5) * torch.linspace(0.5, 3, 60)[:, None], numbers(33, 5, seed=1)
    quats, wanted = (euler_to_unitquat(numbers(n, 3, seed=2).double()) for n in (60, 33))
    blocks = zip(queries.split(8), wanted.split(8), strict=True)
    errors = prediction_retrieval_errors(blocks, candidates, quats, normalize, rows)
    length = np.linalg.norm(candidates, axis=1) if normalize else np.ones(60)
    nearest = np.argmax(queries.double().numpy() @ candidates.double().numpy().T / length, axis=1)
    expected = [1 - float(q @ quats[n].numpy()) ** 2 for q, n in zip(wanted.numpy(), nearest, strict=True)]
    np.testing.assert_allclose(errors, expected, atol=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rows", [7, 1000])
def test_ties_share_the_error(normalize: bool, rows: int) -> None:
    """Candidates with the same numbers in other orders score the same for a query of ones, but for rounding."""
    generator, vector = torch.Generator().manual_seed(0), numbers(1024) + 1
    candidates = torch.stack([vector[torch.randperm(1024, generator=generator)] for _ in range(60)])
    quats, wanted = poses(60), poses(33, seed=1)
    errors = prediction_retrieval_errors([(torch.ones(33, 1024), wanted)], candidates, quats, normalize, rows)
    np.testing.assert_allclose(errors, pose_distances(wanted[:, None], quats).mean(1), atol=1e-12)
    assert errors.mean().item() == pytest.approx(chance_pre(wanted, quats), rel=1e-9)


@pytest.mark.parametrize("rows", [14, 1000])
def test_only_the_nearest_count(rows: int) -> None:
    """Blocks whose best is beaten later leave nothing behind."""
    candidates = torch.ones(50, 3)
    candidates[[13, 14, 41]] *= 2
    quats, wanted = poses(50), poses(4, seed=1)
    errors = prediction_retrieval_errors([(torch.ones(4, 3), wanted)], candidates, quats, False, rows)
    expected = pose_distances(wanted[:, None], quats[[13, 14, 41]]).mean(1)
    np.testing.assert_allclose(errors, expected, atol=1e-12)


def test_pose_distances_have_their_closed_form_and_no_sign() -> None:
    angle = torch.tensor([0.0, 1.0, torch.pi / 2, torch.pi], dtype=torch.float64)
    turned = torch.stack([0 * angle, 0 * angle, (angle / 2).sin(), (angle / 2).cos()], -1)
    still = torch.tensor([0.0, 0, 0, 1])
    for sign in (1, -1):
        torch.testing.assert_close(pose_distances(sign * turned, still), (1 - angle.cos()) / 2, atol=1e-12, rtol=0)


def test_chance_pre_is_the_mean_over_pairs_and_the_published_level() -> None:
    quats, others = (euler_to_unitquat(numbers(n, 3, seed=n).double()) for n in (40, 30))
    each = pose_distances(quats[:, None], others[None])
    assert chance_pre(quats, others) == pytest.approx(float(each.mean()), rel=1e-12)
    box = (torch.rand(400_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5) * torch.pi
    assert chance_pre(*euler_to_unitquat(box).chunk(2)) == pytest.approx(0.6268, abs=1e-3)


def test_errors_say_what_came() -> None:
    good, quats = numbers(3, 4), torch.zeros(3, 4)
    with pytest.raises(ValueError, match="finite scores"):
        prediction_retrieval_errors([(good * torch.inf, quats)], good, quats)
    with pytest.raises(ValueError, match="C >= 1"):
        prediction_retrieval_errors([(good, quats)], good[:0], quats[:0])
    with pytest.raises(ValueError, match=r"queries of shape \(Q, 4\), got \(3, 5\)"):
        prediction_retrieval_errors([(numbers(3, 5), quats)], good, quats)
    with pytest.raises(ValueError, match="at least one query"):
        prediction_retrieval_errors([], good, quats)
    with pytest.raises(ValueError, match=r"poses of shape \(3, 4\), got \(2, 4\)"):
        prediction_retrieval_errors([], good, torch.zeros(2, 4))


MEASURE = """
import torch
from pathlib import Path
from equissl.metrics import retrieval as r
from equissl.metrics.pose_retrieval import prediction_retrieval_errors
torch.set_num_threads(1)
objects, views, dim = {objects}, 50, {dim}
g = torch.Generator().manual_seed(0)
table = torch.empty(objects, views, dim)
for block in table.split(500):
    block.copy_(torch.randn(block.shape, generator=g))
if {mrr}:
    found = [r.view_ranks(x + 0.1, x, torch.arange(views)) for x in table.split(40)]
    assert r.mean_reciprocal_rank(*(torch.cat(x) for x in zip(*found))) == 1
else:
    rows = table.flatten(0, 1)
    quats = torch.nn.functional.normalize(torch.randn(len(rows), 4, generator=g), dim=1)
    chosen = torch.randperm(len(rows), generator=g)[:{queries}]
    blocks = ((rows[i] + 0.1, quats[i]) for i in chosen.split(1024))
    assert prediction_retrieval_errors(blocks, rows, quats).max() < 1e-5
status = Path('/proc/self/status').read_text()
print(int(status.split('VmHWM:')[1].split()[0]) / 2**20)
"""


def peak_gb(**sizes: int) -> float:
    """Peak memory in GiB of a process of its own that holds (objects, 50, dim) embeddings and looks them up."""
    # Freed blocks over 1 MB go back to the system, so that the peak is the product's and not the allocator's.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    command = [sys.executable, "-c", MEASURE.format(**sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("mrr", [True, False])
def test_half_a_million_candidates_of_the_published_width_fit_in_4_gb(mrr: bool) -> None:
    assert peak_gb(objects=10_000, dim=1024, queries=1024, mrr=mrr) < 3.7
