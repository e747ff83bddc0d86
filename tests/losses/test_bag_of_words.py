"""Bags of words: closed forms, limits, invariances, blocks and the maps' borders."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.losses import (
    bag_of_words_loss,
    bags_of_words,
    map_locations,
    nearest_word_distances,
    perplexity,
    similarity,
    word_locations,
    word_logits,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FEATURES, WORDS = random(5, 7, 3), random(6, 3, seed=1)


def test_distances_and_bags_by_their_definition() -> None:
    squares = torch.cdist(FEATURES, WORDS).square()
    torch.testing.assert_close(nearest_word_distances(FEATURES, WORDS), squares.amin(2))
    present = (-0.7 * squares).softmax(2).amax(1)
    torch.testing.assert_close(bags_of_words(FEATURES, WORDS, 0.7), present / present.sum(1, keepdim=True))
    word = WORDS[None, 2:3]
    assert 0 <= float(nearest_word_distances(word, WORDS)) < 1e-12


def test_limits_of_the_sharpness() -> None:
    torch.testing.assert_close(bags_of_words(FEATURES, WORDS, 0.0), torch.full((5, 6), 1 / 6).double())
    hard = bags_of_words(FEATURES, WORDS, 1e9)
    for bag, nearest in zip(hard, torch.cdist(FEATURES, WORDS).argmin(2), strict=True):
        expected = torch.zeros(6).double()
        expected[nearest.unique()] = 1 / len(nearest.unique())
        torch.testing.assert_close(bag, expected, rtol=0, atol=1e-9)


def test_places_rotations_and_shifts_do_not_matter() -> None:
    bags = bags_of_words(FEATURES, WORDS, 0.7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bags_of_words(FEATURES[:, order], WORDS, 0.7), bags)
    turn, shift = torch.linalg.qr(random(3, 3, seed=2)).Q, random(3, seed=3)
    torch.testing.assert_close(bags_of_words(FEATURES @ turn + shift, WORDS @ turn + shift, 0.7), bags)


def test_divergence_of_uniform_and_of_equal_bags() -> None:
    halves = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).double()
    logits = torch.zeros(1, 4).double().requires_grad_()
    value = bag_of_words_loss(logits, halves)
    assert value.item() == pytest.approx(math.log(2))  # log 4 minus the entropy, log 2
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    torch.testing.assert_close(gradient, logits.softmax(1) - halves)
    bags = bags_of_words(FEATURES, WORDS, 0.7)
    torch.testing.assert_close(bag_of_words_loss(bags.log() + 3, bags), torch.zeros(5).double(), rtol=0, atol=1e-12)
    both = bag_of_words_loss(random(5, 6, seed=4), bags)
    expected = F.cross_entropy(random(5, 6, seed=4), bags, reduction="none") - torch.special.entr(bags).sum(1)
    torch.testing.assert_close(both, expected)


def test_perplexity_counts_words() -> None:
    bags = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]]).double()
    torch.testing.assert_close(perplexity(bags), torch.tensor([1.0, 2.0, 4.0]).double())


def test_logits_are_those_of_unit_words() -> None:
    x = random(4, 3)
    torch.testing.assert_close(word_logits(x, 5 * WORDS, 8.0), 8 * x @ F.normalize(WORDS, dim=1).T)
    torch.testing.assert_close(word_logits(2 * x, WORDS, 8.0), 2 * word_logits(x, WORDS, 8.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert word_logits(x.bfloat16(), WORDS.bfloat16(), 8.0).dtype == torch.float32


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nearest_word_distances(FEATURES, WORDS), bags_of_words(FEATURES, WORDS, 0.7)
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 2 * 7 * 6)
    parts = nearest_word_distances(FEATURES, WORDS), bags_of_words(FEATURES, WORDS, 0.7)
    for one, two in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, two)


def test_borders_and_windows() -> None:
    maps = random(2, 3, 7, 5)
    inside = maps[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(map_locations(maps), inside.flatten(2).mT)
    averages = torch.stack([inside[:, :, i : i + 3].mean((2, 3)) for i in range(3)], 1)
    torch.testing.assert_close(word_locations(maps), averages)
    small = random(2, 3, 2, 2)  # nothing would be left
    assert map_locations(small).shape == (2, 4, 3)
    torch.testing.assert_close(word_locations(small)[:, 0], small.mean((2, 3)))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"words \(K, C\), got \(5, 7, 3\) and \(6, 2\)"):
        bags_of_words(FEATURES, WORDS[:, :2], 1.0)
    with pytest.raises(ValueError, match=r"maps \(N, C, h, w\), got \(5, 7, 3\)"):
        map_locations(FEATURES)
    with pytest.raises(ValueError, match=r"got \(1, 4\) and \(2, 4\)"):
        bag_of_words_loss(torch.zeros(1, 4), torch.zeros(2, 4))
