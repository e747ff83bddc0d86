"""MCLRec's regulariser, NT-Xent of inner products, and the next item's cross-entropy against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.losses import next_item_loss, nt_xent, similarity, similarity_gap

SCALE = torch.tensor([1.5, 0.5, 2.0, 0.25, 1.0], dtype=torch.float64)[:, None]


def eye(count: int = 5) -> torch.Tensor:
    return torch.eye(count, 8, dtype=torch.float64)


@pytest.mark.parametrize("by_row", [True, False])
def test_orthonormal_pairs_cost_two_and_equal_scores_nothing(by_row: bool) -> None:
    assert similarity_gap(eye(), eye(), by_row).item() == pytest.approx(2, abs=1e-12)
    same = torch.ones(5, 8, dtype=torch.float64)
    assert similarity_gap(same, same, by_row).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("by_row", [True, False])
def test_beside_two_loops(by_row: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    rows = torch.cat([x, y])
    positives = [float(rows[r] @ rows[(r + 4) % 8]) for r in range(8)]
    negatives = [[float(rows[r] @ rows[j]) for j in range(8) if j % 4 != r % 4] for r in range(8)]
    pulled, lifted = [], []
    for p, n in zip(positives, negatives, strict=True):
        least, most = (p, max(n)) if by_row else (min(positives), max(map(max, negatives)))
        low, high = min(least, most), max(least, most)
        pulled.append(max(0, p - low))
        lifted += [max(0, high - value) for value in n]
    expected = sum(pulled) / 8 + sum(lifted) / len(lifted)
    assert similarity_gap(x, y, by_row).item() == pytest.approx(expected, rel=1e-12)


def test_nt_xent_of_inner_products() -> None:
    """Orthogonal pairs of length s: log(e^{s²} + 2B - 2) - s² each; cosine would not see s."""
    z = torch.stack([SCALE * eye(), SCALE * eye()], 1)
    squared = SCALE.flatten().square()
    expected = ((squared.exp() + 8).log() - squared).mean()
    torch.testing.assert_close(nt_xent(z, 1.0, normalise=False), expected)
    assert nt_xent(z, 1.0).item() == pytest.approx(math.log(math.e + 8) - 1, abs=1e-12)
    unit = torch.nn.functional.normalize(torch.randn(5, 2, 8, dtype=torch.float64), dim=2)
    torch.testing.assert_close(nt_xent(unit, 0.5, normalise=False), nt_xent(unit, 0.5))


def test_next_item_is_the_cross_entropy_also_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    items = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(9, (7,), generator=generator)
    expected = torch.nn.functional.cross_entropy(states @ items.T, targets, reduction="none")
    (wanted,) = torch.autograd.grad(expected.sum(), states)
    for limit in (similarity.TABLE_ELEMENTS, 20):
        monkeypatch.setattr(similarity, "TABLE_ELEMENTS", limit)
        found = next_item_loss(states, items, targets)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found.sum(), states)[0], wanted)
    with pytest.raises(ValueError, match=r"got \(7, 4\), \(9, 3\), \(7,\)"):
        next_item_loss(states, items[:, :3], targets)
