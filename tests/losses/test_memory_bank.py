"""The memory bank: what it remembers, how its clusters live, and what it draws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses import similarity
from equissl.losses.memory_bank import MemoryBank

SAMPLES, DIM = 60, 6
TRUTH = torch.arange(SAMPLES) % 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grouped(noise: float = 0.2, seed: int = 0) -> Tensor:
    """(60, 6) unit features around three axes, 20 each."""
    return normalize(torch.eye(DIM)[TRUTH] + noise * torch.randn(SAMPLES, DIM, generator=seeded(seed)), dim=1)


def filled(clusters: int = 3, **options: object) -> MemoryBank:
    bank = MemoryBank(SAMPLES, DIM, clusters, min_members=options.pop("min_members", 4), **options)
    bank.initialise(grouped())
    return bank


def run(bank: MemoryBank, steps: int, start: int = 0) -> None:
    for step in range(start, start + steps):
        samples = torch.randperm(SAMPLES, generator=seeded(step))[:16]
        bank.update(samples, torch.randn(16, DIM, generator=seeded(1000 + step)))


def test_initialise_groups_the_features() -> None:
    bank = filled()
    pairs = {(int(t), int(found)) for t, found in zip(TRUTH, bank.labels, strict=True)}
    assert len(pairs) == 3 and bank.clustered
    for k in range(3):
        mean = normalize(grouped()[bank.labels == k].mean(0), dim=0)
        torch.testing.assert_close(bank.centroids[k], mean)


def test_fills_from_visits_and_clusters_after_one_epoch() -> None:
    bank, features = MemoryBank(SAMPLES, DIM, 3, min_members=4), grouped()
    for part in torch.arange(SAMPLES).split(20):
        assert not bank.clustered and (bank.labels == -1).all()
        bank.update(part, 5 * features[part])
    assert bank.clustered and bank.labels.min() == 0
    torch.testing.assert_close(bank.features, features)
    assert torch.equal(bank.index().counts, torch.tensor([20, 20, 20]))


def test_samples_never_visited_stay_out_of_the_clusters_until_they_are() -> None:
    bank, features = MemoryBank(SAMPLES, DIM, 3, min_members=4), grouped()
    known = torch.arange(48)
    for _ in range(2):
        bank.update(known, features[known])
    assert (bank.labels[:48] >= 0).all() and (bank.labels[48:] == -1).all()
    for kind in ("hard", "semi-hard", "random", "semi-easy"):
        drawn = bank.draw_negatives(features[known], known, 20, kind, 25, seeded())
        assert drawn.max() < 48
    assert bank.index().draw_mates(known, seeded()).max() < 48
    bank.update(torch.tensor([50]), features[50:51])
    assert bank.labels[50] == bank.labels[TRUTH[50]]


@pytest.mark.parametrize("momentum", [1.0, 0.3])
def test_features_move_by_the_momentum_and_labels_follow(momentum: float) -> None:
    bank = filled(momentum=momentum)
    old, new = grouped(), torch.randn(SAMPLES, DIM, generator=seeded(3))
    samples = torch.tensor([7, 40, 3])
    bank.update(samples, new[:3])
    expected = normalize((1 - momentum) * old[samples] + momentum * normalize(new[:3], dim=1), dim=1)
    torch.testing.assert_close(bank.features[samples], expected)
    assert torch.equal(bank.labels[samples], (expected @ bank.centroids.T).argmax(1))
    rest = torch.ones(SAMPLES, dtype=torch.bool).index_fill(0, samples, False)
    torch.testing.assert_close(bank.features[rest], old[rest])


def test_centroids_are_computed_again_every_so_often() -> None:
    bank = filled(recompute_every=3, min_members=1)
    before = bank.centroids.clone()
    for step in range(6):
        bank.update(torch.arange(5), grouped(0.3, step)[:5])
        recomputed = int(bank.updates) % 3 == 0
        assert torch.equal(bank.centroids, before) is not recomputed
        if recomputed:
            before = bank.centroids.clone()
            for k in range(3):
                torch.testing.assert_close(before[k], normalize(bank.features[bank.labels == k].mean(0), dim=0))


def test_small_clusters_dissolve_and_the_largest_is_split() -> None:
    bank = filled(min_members=5)
    axis = [int(bank.labels[TRUTH.eq(t)][0]) for t in range(3)]
    # Sixteen of the third group join the first group's direction or its opposite corner, four remain: too few.
    movers = (TRUTH == 2).nonzero()[:16, 0]
    target = normalize(torch.eye(DIM)[0] + 0.9 * torch.eye(DIM)[3], dim=0).expand(16, DIM)
    bank.update(movers, target)
    assert bank.index().counts.min() >= 4 and bank.index().counts.sum() == SAMPLES
    first, second = bank.labels[TRUTH == 0].unique(), bank.labels[movers].unique()
    assert len(first) == len(second) == 1 and first != second  # the largest cluster, cut where it is two
    assert {int(first), int(second)} == {axis[0], axis[2]}
    for k in (int(first), int(second)):
        torch.testing.assert_close(bank.centroids[k], normalize(bank.features[bank.labels == k].mean(0), dim=0))


def test_collapsed_features_keep_every_cluster_alive() -> None:
    bank = MemoryBank(SAMPLES, DIM, 10, min_members=3)
    for _ in range(25):
        bank.update(torch.arange(SAMPLES), torch.ones(SAMPLES, DIM))
        if bank.clustered:
            assert bank.index().counts.min() >= 1 and bank.index().counts.sum() == SAMPLES
    assert bank.features.isfinite().all()


def test_online_labels_track_a_drift() -> None:
    """The groups' axes turn away from where k-means saw them; labels still separate the groups."""
    bank = filled(recompute_every=2)
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=seeded(5)))[0]
    for step in range(60):
        weight = min(1.0, step / 40)
        samples = torch.randperm(SAMPLES, generator=seeded(step))[:30]
        bank.update(samples, ((1 - weight) * grouped(0.2, step) + weight * grouped(0.2, step) @ turn)[samples])
    assert len({(int(t), int(found)) for t, found in zip(TRUTH, bank.labels, strict=True)}) == 3


def test_two_copies_with_the_same_batches_are_equal_whatever_the_global_generator() -> None:
    banks = [MemoryBank(SAMPLES, DIM, 6, 0.5, 3, 5) for _ in range(2)]
    for seed, bank in enumerate(banks):
        torch.manual_seed(seed)
        run(bank, 30)
    assert banks[0].clustered
    for name, value in banks[0].state_dict().items():
        assert torch.equal(value, banks[1].state_dict()[name]), name


def test_a_checkpoint_goes_on_as_if_never_stopped() -> None:
    for stop in (2, 17):  # before and after there are clusters
        whole, first, second = (MemoryBank(SAMPLES, DIM, 6, 0.5, 3, 5) for _ in range(3))
        run(whole, 30)
        run(first, stop)
        second.load_state_dict(first.state_dict())
        run(second, 30 - stop, stop)
        for name, value in whole.state_dict().items():
            assert torch.equal(value, second.state_dict()[name]), name


def test_of_a_sample_seen_twice_in_a_batch_the_last_embedding_counts() -> None:
    bank, rows = filled(), torch.randn(4, DIM, generator=seeded(1))
    bank.update(torch.tensor([5, 9, 5, 9]), rows)
    torch.testing.assert_close(bank.features[[5, 9]], normalize(rows[2:], dim=1))
    assert bank.visits == 4


def test_broken_embeddings_leave_no_trace() -> None:
    bank, reference = filled(), filled()
    rows = torch.randn(4, DIM, generator=seeded(1))
    broken = rows.clone()
    broken[1, 2], broken[3] = float("nan"), float("inf")
    bank.update(torch.tensor([5, 9, 9, 12]), broken)
    reference.update(torch.tensor([5, 9]), rows[[0, 2]])
    for name in ("features", "labels", "centroids"):
        assert torch.equal(getattr(bank, name), getattr(reference, name))
    fresh = MemoryBank(SAMPLES, DIM, 3)
    fresh.update(torch.tensor([1]), torch.full((1, DIM), float("nan")))
    assert not fresh.seen.any() and not fresh.features.any()


def test_half_precision_and_gradients_stay_outside() -> None:
    bank = filled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bank.update(torch.tensor([5]), torch.ones(1, DIM, dtype=torch.bfloat16, requires_grad=True))
        drawn = bank.draw_negatives(grouped()[:2].half(), torch.arange(2), 3, generator=seeded())
    assert not bank.features.requires_grad and drawn.dtype == torch.long
    torch.testing.assert_close(bank.features[5], torch.full((DIM,), DIM**-0.5))


@pytest.mark.parametrize("kind", ["hard", "semi-hard", "random", "semi-easy"])
def test_pools_match_sorted_cosines(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bank, samples = filled(), torch.arange(10)
    queries = torch.randn(10, DIM, generator=seeded(2))
    drawn = bank.draw_negatives(queries, samples, 6, kind, 15, seeded())
    assert drawn.shape == (10, 6) and (bank.labels[drawn] != bank.labels[samples, None]).all()
    cosine = normalize(queries, dim=1) @ bank.features.T
    for b in range(10):
        others = (bank.labels != bank.labels[b]).nonzero()[:, 0]
        ranked = others[cosine[b, others].argsort(descending=True)].tolist()
        pool = {"hard": ranked[:6], "semi-hard": ranked[:15], "random": ranked, "semi-easy": ranked[-15:]}[kind]
        assert set(drawn[b].tolist()) <= set(pool)
        if kind != "random":
            assert len(drawn[b].unique()) == 6  # without replacement
    again = bank.draw_negatives(queries, samples, 6, kind, 15, seeded())
    assert torch.equal(again, drawn)
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 100)
    assert torch.equal(bank.draw_negatives(queries, samples, 6, kind, 15, seeded()), drawn)


def test_a_pool_is_used_as_a_whole() -> None:
    bank = filled()
    query = torch.randn(1, DIM, generator=seeded(2))
    seen = {
        int(i)
        for s in range(200)
        for i in bank.draw_negatives(query, torch.tensor([0]), 3, "semi-hard", 15, seeded(s))[0]
    }
    assert len(seen) == 15
    assert not torch.equal(
        *(bank.draw_negatives(query, torch.tensor([0]), 3, "random", generator=seeded(s)) for s in (0, 1))
    )


def test_where_others_are_few_random_ones_stand_in() -> None:
    """Twenty of sixty in the own cluster: forty others cannot fill a pool of fifty."""
    bank = filled()
    for kind in ("hard", "semi-hard", "semi-easy"):
        drawn = bank.draw_negatives(grouped()[:4], torch.arange(4), 50, kind, 55, seeded())
        assert (bank.labels[drawn] != bank.labels[:4, None]).all()


def test_errors() -> None:
    with pytest.raises(ValueError, match="that 60 samples can fill, got 4 clusters of 20"):
        MemoryBank(60, 6, 4)
    with pytest.raises(ValueError, match=r"momentum in \(0, 1\], got 60, 6, 10 and 0"):
        MemoryBank(60, 6, momentum=0)
    bank = filled()
    with pytest.raises(ValueError, match=r"embeddings \(B, 6\), got \(3,\) and \(2, 6\)"):
        bank.update(torch.arange(3), torch.ones(2, 6))
    for bad in (-1, 60):
        with pytest.raises(ValueError, match=f"below the bank's 60 samples, got {bad} to {bad}"):
            bank.update(torch.tensor([bad]), torch.ones(1, 6))
    with pytest.raises(ValueError, match="'random' or 'semi-easy' negatives, got 'easy'"):
        bank.draw_negatives(torch.ones(1, 6), torch.tensor([0]), 1, "easy")
    with pytest.raises(ValueError, match="1 <= count <= pool <= 60, got 5 and 4"):
        bank.draw_negatives(torch.ones(1, 6), torch.tensor([0]), 5, "semi-hard", 4)
    with pytest.raises(ValueError, match=r"finite features of shape \(60, 6\), got \(60, 5\)"):
        bank.initialise(torch.ones(60, 5))
    with pytest.raises(ValueError, match="6 NaN or infinite values"):
        bank.initialise(grouped().index_fill(0, torch.tensor([3]), float("nan")))
    small = MemoryBank(60, 6, 3)
    with pytest.raises(
        ValueError, match="need 60 samples, got 30 different ones in 60 visits: is 60 the dataset's size"
    ):
        for _ in range(2):
            small.update(torch.arange(30), torch.ones(30, 6))
