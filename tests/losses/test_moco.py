"""MoCo's loss against closed forms, cross-entropy and lightly."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.losses.feature_queue import FeatureQueue
from equissl.losses.moco import moco

Q, K = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
N = torch.randn(11, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_closed_forms() -> None:
    queue = FeatureQueue(8, 9)
    queue.enqueue(torch.eye(9)[1:])
    for tau in (0.1, 0.5):
        value = moco(3 * torch.eye(9)[:1], torch.eye(9)[:1], queue(), tau).item()
        assert value == pytest.approx(math.log1p(8 * math.exp(-1 / tau)), rel=1e-5)
    assert moco(torch.ones(4, 3), torch.ones(4, 3), torch.ones(7, 3)).item() == pytest.approx(math.log(8))


def test_is_a_cross_entropy_and_one_way() -> None:
    unit = [torch.nn.functional.normalize(x, dim=1) for x in (Q, K, N)]
    logits = torch.cat(((unit[0] * unit[1]).sum(1, keepdim=True), unit[0] @ unit[2].T), dim=1) / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(moco(Q, K, N), expected)
    assert moco(Q, K, N).item() != pytest.approx(moco(K, Q, N).item(), rel=1e-3)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(moco(Q[order], K[order], N.flip(0)), expected)


def test_only_queries_get_a_gradient() -> None:
    q, k, n = (x.clone().requires_grad_() for x in (Q, K, N))
    moco(q, k, n).backward()
    assert q.grad.abs().max() > 0 and k.grad is None and n.grad is None
    assert torch.autograd.gradcheck(lambda q: moco(q, K, N), Q.clone().requires_grad_())


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_embeddings_show_in_the_loss(place: int, bad: float) -> None:
    inputs = [Q.clone(), K.clone(), N.clone()]
    inputs[place][3, 2] = bad
    assert moco(*inputs).isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    half = [x.to(dtype).requires_grad_() for x in (Q, K, N)]
    value = moco(*half)
    torch.testing.assert_close(value.double(), moco(Q, K, N), rtol=1e-2, atol=0)
    value.backward()
    assert half[0].grad.dtype == dtype


def test_matches_lightly_with_a_memory_bank() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    oracle = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(11, 6))
    first = N.float()
    oracle.memory_bank.bank = torch.nn.functional.normalize(first, dim=1)
    oracle.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    q = Q.float().requires_grad_()
    assert moco(q, K.float(), first).item() == pytest.approx(oracle(q, K.float()).item(), rel=1e-5)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"got \(5, 6\) and \(4, 6\)"):
        moco(Q, K[:4], N)
    for bad in (N[:, :3], N[:0], N[None]):
        with pytest.raises(ValueError, match=r"negatives \(M, D\) with B, M >= 1"):
            moco(Q, K, bad)
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        moco(Q, K, N, 0)
