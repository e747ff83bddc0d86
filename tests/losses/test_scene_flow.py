"""Warping by scene flow against loops, and the distance of what arrives."""

from __future__ import annotations

import pytest
import torch

from equissl.losses import flow_distance, warp_features


def test_every_reached_cell_gets_the_mean_over_its_points() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, dtype=torch.float64, generator=generator)
    source = torch.randint(-1, 30, (500,), generator=generator)
    destination = torch.randint(-1, 40, (500,), generator=generator)
    cells, warped = warp_features(features, source, destination)
    known = (source >= 0) & (destination >= 0)
    assert torch.equal(cells, destination[known].unique())
    for cell, value in zip(cells.tolist(), warped, strict=True):
        torch.testing.assert_close(value, features[source[known & (destination == cell)]].mean(0))


def test_the_order_of_points_changes_no_bit() -> None:
    features = torch.randn(30, 5)
    source, destination = torch.randint(0, 30, (500,)), torch.randint(0, 10, (500,))
    order = torch.randperm(500)
    first, second = (
        warp_features(features, source, destination),
        warp_features(features, source[order], destination[order]),
    )
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_no_points_and_no_features() -> None:
    none = torch.zeros(0, dtype=torch.long)
    for features, source in ((torch.randn(4, 3), none), (torch.randn(0, 3), none), (torch.randn(4, 3), none - 1)):
        cells, warped = warp_features(features, source, source)
        assert cells.shape == (0,) and warped.shape == (0, 3)
    with pytest.raises(ValueError, match=r"expected features \(N, C\) with source and destination \(P,\)"):
        warp_features(torch.randn(4, 3), torch.zeros(2), torch.zeros(3))


def test_distance() -> None:
    z, y = torch.tensor([[2.0, 0], [0, 1], [0, 0]]), torch.tensor([[1.0, 0], [1, 0], [1, 0]]).requires_grad_()
    torch.testing.assert_close(flow_distance(z, y), torch.tensor([0.0, 2.0, 1.0]))
    torch.testing.assert_close(flow_distance(z, y, normalise=False), torch.tensor([1.0, 2.0, 1.0]))
    target = torch.randn(3, 2, requires_grad=True)
    flow_distance(target, y).sum().backward()
    assert target.grad is None and y.grad is not None
    with pytest.raises(ValueError, match="expected targets and predictions of the same 2-dimensional shape"):
        flow_distance(z, y[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert flow_distance(z.bfloat16(), y.bfloat16()).dtype == torch.float32
