"""K-means against scikit-learn, and the sorted list of clusters' members."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses import similarity
from equissl.losses.cluster_index import ClusterIndex
from equissl.losses.kmeans import halve, kmeans, nearest_centroid, spread

ROWS = torch.randn(200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([2, -1, 0, 2, 4, 2, -1, 0, 4, 2])  # of 5 clusters, two of which are empty


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inertia(rows: Tensor, centroids: Tensor, labels: Tensor) -> float:
    return (rows - centroids[labels]).square().sum().item()


def test_lloyd_matches_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is only an oracle")
    start = ROWS[:7]
    oracle = cluster.KMeans(7, init=start.numpy(), n_init=1, max_iter=200, tol=0, algorithm="lloyd").fit(ROWS.numpy())
    centroids, labels = kmeans(ROWS, 7, 200, start=start)
    np.testing.assert_array_equal(labels.numpy(), oracle.labels_)
    np.testing.assert_allclose(centroids.numpy(), oracle.cluster_centers_, rtol=1e-9, atol=1e-12)


def test_random_starts_are_as_good_as_scikit_learns() -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is only an oracle")
    oracle = cluster.KMeans(7, n_init=10, random_state=0).fit(ROWS.numpy()).inertia_
    ours = [inertia(ROWS, *kmeans(ROWS, 7, 100, generator=seeded(s))) for s in range(10)]
    assert min(ours) < 1.03 * oracle and max(ours) < 1.25 * oracle


@pytest.mark.parametrize("spherical", [True, False])
def test_finds_separated_clusters_and_is_a_fixed_point(spherical: bool) -> None:
    truth = torch.arange(200) % 6
    rows = 8 * torch.eye(6).double()[truth] + 0.1 * torch.randn(200, 6, generator=seeded(), dtype=torch.float64)
    centroids, labels = kmeans(rows, 6, spherical=spherical, generator=seeded(1))
    assert len({(int(t), int(found)) for t, found in zip(truth, labels, strict=True)}) == 6
    unit = normalize(rows, dim=1) if spherical else rows
    for k in range(6):
        mean = unit[labels == k].mean(0)
        torch.testing.assert_close(centroids[k], normalize(mean, dim=0) if spherical else mean)
    torch.testing.assert_close(nearest_centroid(unit, centroids), labels)


def test_spherical_ignores_lengths() -> None:
    lengths = torch.rand(200, 1, generator=seeded(), dtype=torch.float64) + 0.1
    first, second = (kmeans(x, 5, spherical=True, start=ROWS[:5]) for x in (ROWS, lengths * ROWS))
    assert torch.equal(first[1], second[1])
    torch.testing.assert_close(first[0].norm(dim=1), torch.ones(5).double())


def test_an_empty_cluster_moves_to_the_farthest_row() -> None:
    rows = torch.tensor([[0.0], [1.0], [10.0]])
    centroids, labels = kmeans(rows, 3, start=torch.tensor([[0.0], [1.0], [1e6]]))
    assert labels.tolist() == [0, 1, 2] and centroids[:, 0].tolist() == [0, 1, 10]
    assert kmeans(torch.ones(5, 2), 3, generator=seeded())[1].unique().numel() == 1  # nothing else to find


def test_first_centroids_are_spread_and_repeatable() -> None:
    truth = torch.arange(60) % 6
    rows = 100 * torch.eye(6).double()[truth] + torch.randn(60, 6, generator=seeded(), dtype=torch.float64)
    for seed in range(10):
        chosen = spread(rows, 6, seeded(seed))
        assert len(chosen.argmax(dim=1).unique()) == 6
        assert torch.equal(chosen, spread(rows, 6, seeded(seed)))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = kmeans(ROWS, 7, generator=seeded())
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 40)
    for ours, whole in zip(kmeans(ROWS, 7, generator=seeded()), expected, strict=True):
        torch.testing.assert_close(ours, whole)


def test_halves() -> None:
    rows = torch.cat((torch.tensor([[1.0, 0.1]]).expand(4, 2), torch.tensor([[0.1, 1.0]]).expand(3, 2)))
    part = halve(rows)
    assert len(part[:4].unique()) == len(part[4:].unique()) == 1 and part[0] != part[4]
    for count in (2, 3, 8):
        assert halve(torch.ones(count, 2)).bincount().tolist() == [count // 2, count - count // 2]


def test_index_counts_and_means() -> None:
    index = ClusterIndex(LABELS, 5)
    assert index.counts.tolist() == [2, 0, 4, 0, 2]
    assert index.order.tolist() == [1, 6, 2, 7, 0, 3, 5, 9, 4, 8]
    means = index.means(ROWS[:10])
    for k in range(5):
        expected = ROWS[:10][LABELS.eq(k)].mean(0) if LABELS.eq(k).any() else torch.zeros(5).double()
        torch.testing.assert_close(means[k], expected)


def test_draws_are_uniform_over_the_right_members() -> None:
    index = ClusterIndex(LABELS, 5)
    rows = torch.tensor([3]).expand(6000)
    counts = index.draw_mates(rows, seeded()).bincount(minlength=10)
    assert counts[[0, 5, 9]].min() > 1850 and counts.sum() == counts[[0, 5, 9]].sum()
    for row in (0, 2, 4):
        away = (LABELS >= 0) & LABELS.ne(LABELS[row])
        counts = index.draw_others(torch.tensor([row]), 6000, seeded())[0].bincount(minlength=10)
        assert counts[~away].sum() == 0
        assert counts[away].min() > 0.85 * 6000 / away.sum()
    alone = ClusterIndex(torch.tensor([0, 1, 1]), 2)
    assert alone.draw_mates(torch.tensor([0, 1, 2]), seeded()).tolist() == [0, 2, 1]


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"1 to N clusters, got \(200, 5\) and 201"):
        kmeans(ROWS, 201)
    with pytest.raises(ValueError, match=r"start of shape \(3, 5\), got \(4, 5\)"):
        kmeans(ROWS, 3, start=ROWS[:4])
    with pytest.raises(ValueError, match=r"members of at least 2 clusters, got counts \[3, 0\]"):
        ClusterIndex(torch.tensor([0, 0, 0]), 2).draw_others(torch.tensor([0]), 1)
