"""Which views the probes see."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from equissl.evaluation.views.sampling import fixed_pairs, num_steps, object_batches, random_pairs


def test_fixed_pairs_are_distinct_ordered_and_independent_of_the_other_objects() -> None:
    pairs = fixed_pairs(np.array([3, 8, 11]), 5, 7, seed=0)
    assert pairs.shape == (21, 3)
    assert (pairs[:, 1] != pairs[:, 2]).all()
    assert len({tuple(row) for row in pairs}) == 21
    alone = fixed_pairs(np.array([8]), 5, 7, seed=0)
    np.testing.assert_array_equal(alone[:, 1:], pairs[pairs[:, 0] == 1][:, 1:])
    assert not np.array_equal(alone, fixed_pairs(np.array([8]), 5, 7, seed=1))


def test_all_pairs_where_fewer_exist_than_are_wanted() -> None:
    pairs = fixed_pairs(np.array([0]), 3, 100, seed=0)
    assert sorted(map(tuple, pairs[:, 1:].tolist())) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]


def test_random_pairs_are_uniform_over_ordered_pairs() -> None:
    first, second = random_pairs(4, 12_000, torch.Generator().manual_seed(0))
    counts = Counter(zip(first.tolist(), second.tolist(), strict=True))
    assert len(counts) == 12 and not any(a == b for a, b in counts)
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_every_object_comes_once_an_epoch_and_no_batch_is_short() -> None:
    batches = list(object_batches(10, 4, 5, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [4] * 5
    order = torch.cat(batches)
    assert sorted(order[:10].tolist()) == sorted(order[10:].tolist()) == list(range(10))
    assert order[:10].tolist() != order[10:].tolist()


def test_budget_in_epochs_or_steps() -> None:
    assert num_steps(300, None, 41_920, 256) == 49_125
    assert num_steps(300, 7, 41_920, 256) == 7
    with pytest.raises(ValueError, match="at least one update"):
        num_steps(0, None, 10, 4)


def test_one_view_has_no_pair() -> None:
    with pytest.raises(ValueError, match="expected >= 2 views"):
        fixed_pairs(np.array([0]), 1, 5, seed=0)
