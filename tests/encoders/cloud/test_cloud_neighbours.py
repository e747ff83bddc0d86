"""Centres and neighbours against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.encoders.cloud import choose_centres, farthest_points, nearest, neighbours
from equissl.encoders.cloud.neighbours import take


def points(batch: int = 3, number: int = 30) -> Tensor:
    return torch.randn(batch, number, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("blocked", [False, True])
def test_nearest_points_are_the_definition(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ELEMENTS", 100 if blocked else 2**24)
    cloud = points()
    found = nearest(cloud[:, :7], cloud, 5)
    distances = (cloud[:, :7, None] - cloud[:, None]).norm(dim=3)
    expected = distances.sort(dim=2).values[..., :5]
    torch.testing.assert_close(distances.gather(2, found).sort(dim=2).values, expected)


def test_close_neighbours_far_from_the_origin_are_told_apart() -> None:
    """Squares of 1e4 leave float32 nothing of distances of 1e-3."""
    steps = torch.tensor([0.0, 3.0, 1.0, 2.0])[:, None] * torch.tensor([[2.0**-9, 0.0, 0.0]])
    cloud = (steps + torch.tensor([100.0, 100.0, 100.0]))[None]
    assert sorted(nearest(cloud[:, :1], cloud, 2)[0, 0].tolist()) == [0, 2]


def test_farthest_points_are_the_definition() -> None:
    cloud = points()
    for places, chosen in zip(cloud, farthest_points(cloud, 8).tolist(), strict=True):
        assert chosen[0] == int((places - places.mean(dim=0)).norm(dim=1).argmax())
        for step in range(1, 8):
            gaps = torch.cdist(places, places[chosen[:step]]).amin(dim=1)
            assert chosen[step] == int(gaps.argmax())


def test_spread_centres_are_even_in_the_order_of_the_cloud() -> None:
    assert choose_centres(points(2, 10), 4)[1].tolist() == [0, 2, 5, 7]
    assert choose_centres(points(2, 3), 4)[0].tolist() == [0, 1, 2]
    assert choose_centres(points(2, 5), 2, "all")[0].tolist() == [0, 1, 2, 3, 4]


def test_rows_are_taken_within_each_cloud() -> None:
    cloud = points()
    indices = torch.tensor([[[0, 1]], [[2, 2]], [[29, 0]]])
    assert torch.equal(take(cloud, indices)[2, 0, 0], cloud[2, 29])
    assert torch.equal(take(cloud, indices)[1, 0], cloud[1, [2, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: choose_centres(points(), 4, "nearest"), "got 'nearest' and 4"),
        (lambda: choose_centres(points(), 0), "got 'spread' and 0"),
        (lambda: farthest_points(points(), 31), r"1\.\.30, got 31"),
        (lambda: nearest(points(), points(), 31), "1 to 30 neighbours, got 31"),
    ],
)
def test_bad_counts_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
