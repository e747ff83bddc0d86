"""Retrieval of the object of a view against a loop over all views."""

from __future__ import annotations

import pytest
import torch

from equissl.metrics import instance_retrieval
from equissl.metrics.instance_retrieval import instance_hits


@pytest.mark.parametrize("elements", [2**24, 40])
def test_hits_are_the_definition(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_retrieval, "ELEMENTS", elements)
    z = torch.randn(5, 1, 4, generator=torch.Generator().manual_seed(0))
    z = z + torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1))
    found = instance_hits(z)
    rows = torch.nn.functional.normalize(z, dim=2).flatten(0, 1)
    for i in range(15):
        nearest = max((j for j in range(15) if j != i), key=lambda j, i=i: float(rows[i] @ rows[j]))
        assert found.flatten()[i] == (nearest // 3 == i // 3)
    assert 0 < found.mean() < 1


def test_separate_objects_are_found_and_collapsed_ones_by_chance() -> None:
    assert instance_hits(torch.eye(4)[:, None].expand(4, 3, 4)).mean() == 1
    collapsed = instance_hits(torch.ones(4, 3, 4))
    torch.testing.assert_close(collapsed, torch.full((4, 3), 2 / 11).double())  # 2 of the 11 other views


def test_bad_input_is_named() -> None:
    for shape in ((1, 3, 4), (3, 1, 4), (3, 4)):
        with pytest.raises(ValueError, match="2 views of each of 2 objects"):
            instance_hits(torch.zeros(shape))
    with pytest.raises(ValueError, match="expected finite scores"):
        instance_hits(torch.full((2, 2, 3), float("nan")))
