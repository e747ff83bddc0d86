"""Share of the variance between classes against its closed forms."""

from __future__ import annotations

import pytest
import torch

from equissl.losses import class_share


def test_between_nothing_and_everything() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    within = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    between = torch.tensor([[2.0], [2.0], [-2.0], [-2.0]], dtype=torch.float64)
    constant = torch.full((4, 1), 3.0, dtype=torch.float64)
    found = [class_share(x, labels, 3).item() for x in (within, between, within + between, constant)]
    assert found == pytest.approx([0.0, 1.0, 0.8, 0.0])  # of 1 within and 4 between
    joined = torch.cat([within, between, within + between], dim=1)
    assert class_share(joined, labels, 3).item() == pytest.approx(1.8)


def test_shift_and_scale_change_nothing() -> None:
    codes = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(30) % 3
    expected = class_share(codes, labels, 3)
    torch.testing.assert_close(class_share(codes * torch.tensor([5.0, -0.1, 1, 2]) + 7, labels, 3), expected)
    squares = [
        1 - sum(x[labels == c].var(correction=0) for c in range(3)) / 3 / x.var(correction=0) for x in codes.unbind(1)
    ]
    torch.testing.assert_close(expected, sum(squares))


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \(5, 2\) and \(4,\)"):
        class_share(torch.zeros(5, 2), torch.zeros(4, dtype=torch.long), 2)
