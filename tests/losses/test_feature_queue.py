"""The queue of past embeddings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.losses.feature_queue import FeatureQueue


def numbered(start: int, count: int) -> Tensor:
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].expand(count, 2)


def test_starts_with_random_unit_vectors_from_the_generator() -> None:
    first, second = (FeatureQueue(6, 4, torch.Generator().manual_seed(s)) for s in (0, 0))
    torch.testing.assert_close(first().norm(dim=1), torch.ones(6))
    assert torch.equal(first(), second()) and not first.full


def test_oldest_rows_go_first_and_writing_wraps_around() -> None:
    """Batches of 3 into 5 places: never a divisor."""
    queue = FeatureQueue(5, 2)
    for step in range(7):
        queue.enqueue(numbered(3 * step, 3))
        newest = {float(n) for n in range(max(0, 3 * step - 2), 3 * step + 3)}
        assert newest <= set(queue()[:, 0].tolist())
        assert queue.full == (step >= 1)


def test_of_a_batch_larger_than_the_queue_the_last_rows_stay() -> None:
    queue = FeatureQueue(4, 2)
    queue.enqueue(numbered(0, 1))
    queue.enqueue(numbered(1, 10))
    assert sorted(queue()[:, 0].tolist()) == [7, 8, 9, 10]
    queue.enqueue(numbered(11, 1))
    assert sorted(queue()[:, 0].tolist()) == [8, 9, 10, 11]


def test_a_checkpoint_continues_at_the_same_place() -> None:
    queue, restored = FeatureQueue(5, 2), FeatureQueue(5, 2)
    queue.enqueue(numbered(0, 3))
    restored.load_state_dict(queue.state_dict())
    for copy in (queue, restored):
        copy.enqueue(numbered(3, 4))
    assert torch.equal(queue(), restored()) and restored.full


def test_enqueue_before_backward_changes_no_gradient() -> None:
    queue = FeatureQueue(5, 2, torch.Generator().manual_seed(0))
    query = torch.ones(1, 2, requires_grad=True)
    expected = queue().sum(0)
    loss = (query @ queue().T).sum()
    queue.enqueue(numbered(0, 3).requires_grad_())
    loss.backward()
    torch.testing.assert_close(query.grad[0], expected)
    assert not queue().requires_grad


def test_rows_may_hold_several_views_and_any_precision() -> None:
    queue = FeatureQueue(4, (2, 3))
    queue.enqueue(torch.ones(4, 2, 3, dtype=torch.bfloat16))
    assert queue().dtype == torch.float32 and torch.equal(queue(), torch.ones(4, 2, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])  # the last one is infinite in the queue's float32
def test_a_batch_that_is_not_finite_is_left_out_as_a_whole(bad: float) -> None:
    """Activations that overflow at the start of float16 training neither poison the memory nor end the run."""
    queue = FeatureQueue(5, 2)
    queue.enqueue(numbered(0, 3))
    before, state = queue(), set(queue.state_dict())
    broken = numbered(3, 4).double()
    broken[1, 0] = bad
    queue.enqueue(broken)
    assert torch.equal(queue(), before) and not queue.full and int(queue.refused) == 1
    queue.enqueue(numbered(3, 2))
    assert sorted(queue()[:, 0].tolist()) == [0, 1, 2, 3, 4] and queue.full and int(queue.refused) == 1
    assert state == {"rows", "written"}


def test_errors() -> None:
    queue = FeatureQueue(5, 2)
    with pytest.raises(ValueError, match=r"rows of shape \(B, 2\), got \(3, 4\)"):
        queue.enqueue(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"positive size and positive dimensions, got size 0"):
        FeatureQueue(0, 2)
