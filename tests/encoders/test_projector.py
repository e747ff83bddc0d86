"""The projector."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equissl.encoders import Projector, split_sizes


def test_layers_and_parameter_count() -> None:
    projector = Projector(512)
    kinds = [type(layer) for layer in projector]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert projector[-1].bias is None and projector[0].bias is not None
    assert sum(p.numel() for p in projector.parameters()) == 9_449_472
    assert projector(torch.randn(4, 512)).shape == (4, 2048) and projector.out_dim == 2048


def test_half_of_the_representation_gets_half_of_the_sizes() -> None:
    sizes = split_sizes((2048, 2048, 2048), 256, 512)
    assert sizes == (1024, 1024, 1024)
    assert sum(p.numel() for p in Projector(256, sizes).parameters()) == 2_365_440


def test_one_size_is_a_linear_map() -> None:
    projector, x, y = Projector(5, [3]), torch.randn(4, 5), torch.randn(4, 5)
    torch.testing.assert_close(projector(x + 2 * y), projector(x) + 2 * projector(y))


@pytest.mark.parametrize("sizes", [(), (8, 0)])
def test_bad_sizes_are_named(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one projector size"):
        Projector(4, sizes)
