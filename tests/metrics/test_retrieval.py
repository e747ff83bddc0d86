"""Streamed retrieval against brute force in NumPy, closed forms, and a memory limit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from equissl.geometry import euler_to_unitquat
from equissl.metrics import retrieval as r


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def brute_ranks(predicted: np.ndarray, candidates: np.ndarray, normalize: bool) -> np.ndarray:
    """(n, V) rank from 1 of view q for query q, one query at a time."""
    ranks = np.empty(predicted.shape[:2], int)
    for i, j in np.ndindex(*ranks.shape):
        score = [float(predicted[i, j] @ c) / (np.linalg.norm(c) if normalize else 1) for c in candidates[i]]
        ranks[i, j] = 1 + list(np.argsort(score)[::-1]).index(j)
    return ranks


@pytest.mark.parametrize("normalize", [True, False])
def test_ranks_mrr_and_hits_are_brute_force(normalize: bool) -> None:
    candidates = numbers(7, 12, 6) * (1 + torch.arange(12))[:, None]
    predicted = candidates / 5 + numbers(7, 12, 6, seed=1)
    above, tied = r.view_ranks(predicted, candidates, torch.arange(12), normalize)
    ranks = brute_ranks(predicted.double().numpy(), candidates.double().numpy(), normalize)
    assert ranks.std() > 1 and (tied == 1).all()
    np.testing.assert_array_equal(above + 1, ranks)
    assert r.mean_reciprocal_rank(above, tied) == pytest.approx(np.mean(1 / ranks), rel=1e-12)
    for k in r.HITS:
        assert r.hit_rate(above, tied, k) == pytest.approx(np.mean(ranks <= k), rel=1e-12)


def test_targets_may_differ_between_objects() -> None:
    candidates, target = numbers(3, 5, 4), torch.tensor([[4, 0], [1, 1], [2, 3]])
    predicted = candidates.gather(1, target[..., None].expand(-1, -1, 4))
    assert (r.view_ranks(predicted, candidates, target)[0] == 0).all()


def test_a_collapsed_embedding_scores_as_chance_does() -> None:
    above, tied = r.view_ranks(torch.ones(3, 50, 4), torch.ones(3, 50, 4), torch.arange(50))
    assert r.mean_reciprocal_rank(above, tied) == pytest.approx(r.chance_mrr(50), rel=1e-12)
    assert r.chance_mrr(50) == pytest.approx(0.0900, abs=5e-5)  # published chance level, H_50 / 50
    assert [r.hit_rate(above, tied, k) for k in r.HITS] == pytest.approx([0.02, 0.04, 0.10, 0.20])


def test_expected_reciprocal_rank_is_the_mean_over_orders_of_the_ties() -> None:
    above, tied = torch.tensor([3, 0]), torch.tensor([4, 2])
    expected = [np.mean([1 / k for k in (4, 5, 6, 7)]), 0.75]
    np.testing.assert_allclose(r.reciprocal_ranks(above, tied), expected, rtol=1e-12)
    assert r.hit_rate(above, tied, 5) == pytest.approx((2 / 4 + 1) / 2)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rows", [7, 1000])
def test_pre_is_brute_force_for_any_block(normalize: bool, rows: int) -> None:
    candidates, queries = numbers(60, 5) * torch.linspace(0.5, 3, 60)[:, None], numbers(33, 5, seed=1)
    quats, wanted = (euler_to_unitquat(numbers(n, 3, seed=2).double()) for n in (60, 33))
    blocks = zip(queries.split(8), wanted.split(8), strict=True)
    errors = r.prediction_retrieval_errors(blocks, candidates, quats, normalize, rows)
    length = np.linalg.norm(candidates, axis=1) if normalize else np.ones(60)
    nearest = np.argmax(queries.double().numpy() @ candidates.double().numpy().T / length, axis=1)
    expected = [1 - float(q @ quats[n].numpy()) ** 2 for q, n in zip(wanted.numpy(), nearest, strict=True)]
    np.testing.assert_allclose(errors, expected, atol=1e-12)


def test_the_first_of_tied_candidates_counts() -> None:
    candidates = torch.ones(50, 3)
    assert r.nearest_candidates(torch.ones(4, 3), candidates, rows=8).tolist() == [0] * 4
    candidates[[13, 14, 41]] *= 2
    assert r.nearest_candidates(torch.ones(4, 3), candidates, rows=14).tolist() == [13] * 4


def test_pose_distances_have_their_closed_form_and_no_sign() -> None:
    angle = torch.tensor([0.0, 1.0, torch.pi / 2, torch.pi], dtype=torch.float64)
    turned = torch.stack([0 * angle, 0 * angle, (angle / 2).sin(), (angle / 2).cos()], -1)
    still = torch.tensor([0.0, 0, 0, 1])
    for sign in (1, -1):
        torch.testing.assert_close(r.pose_distances(sign * turned, still), (1 - angle.cos()) / 2, atol=1e-12, rtol=0)


def test_chance_pre_is_the_mean_over_pairs_and_the_published_level() -> None:
    quats, others = (euler_to_unitquat(numbers(n, 3, seed=n).double()) for n in (40, 30))
    each = r.pose_distances(quats[:, None], others[None])
    assert r.chance_pre(quats, others) == pytest.approx(float(each.mean()), rel=1e-12)
    box = (torch.rand(400_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5) * torch.pi
    assert r.chance_pre(*euler_to_unitquat(box).chunk(2)) == pytest.approx(0.6268, abs=1e-3)


def test_errors_say_what_came() -> None:
    good = numbers(2, 3, 4)
    with pytest.raises(ValueError, match=r"got \(2, 3, 4\), \(2, 3, 5\), \(3,\)"):
        r.view_ranks(good, numbers(2, 3, 5), torch.arange(3))
    with pytest.raises(ValueError, match=r"target views in 0\.\.2, got 1\.\.3"):
        r.view_ranks(good, good, torch.arange(1, 4))
    with pytest.raises(ValueError, match="finite scores"):
        r.view_ranks(good * torch.nan, good, torch.arange(3))
    with pytest.raises(ValueError, match="finite scores"):
        r.nearest_candidates(good[0] * torch.inf, good[1])
    with pytest.raises(ValueError, match="C >= 1"):
        r.nearest_candidates(good[0], good[0, :0])
    with pytest.raises(ValueError, match="at least one query"):
        r.prediction_retrieval_errors([], good[0], torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"poses of shape \(3, 4\), got \(2, 4\)"):
        r.prediction_retrieval_errors([], good[0], torch.zeros(2, 4))
    with pytest.raises(ValueError, match="k >= 1, got 0"):
        r.hit_rate(torch.tensor([0]), torch.tensor([1]), 0)
    with pytest.raises(ValueError, match="at least one query"):
        r.reciprocal_ranks(torch.tensor([]), torch.tensor([]))


MEASURE = """
import torch
from pathlib import Path
from equissl.metrics import retrieval as r
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
    assert r.prediction_retrieval_errors(blocks, rows, quats).max() < 1e-5
status = Path('/proc/self/status').read_text()
print(int(status.split('VmHWM:')[1].split()[0]) / 2**20)
"""


def peak_gb(**sizes: int) -> float:
    """Peak memory in GiB of a process of its own that holds (objects, 50, dim) embeddings and looks them up."""
    done = subprocess.run([sys.executable, "-c", MEASURE.format(**sizes)], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("mrr", [True, False])
def test_half_a_million_candidates_of_the_published_width_fit_in_4_gb(mrr: bool) -> None:
    assert peak_gb(objects=10_000, dim=1024, queries=1024, mrr=mrr) < 3.7
