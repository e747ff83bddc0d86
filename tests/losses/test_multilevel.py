"""Multilevel contrast against InfoNCE, and what similarity does to negatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.losses import info_nce, info_nce_of_views, level_nce, multilevel_nce, similarity, similarity_log_weights


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WHOLE, LEVELS = random(6, 2, 4), [random(6, 2, 3, seed=1), random(6, 2, 5, seed=2)]
ALIKE = torch.nn.functional.cosine_similarity(random(6, 1, 3), random(6, 1, 3).transpose(0, 1), dim=2)


def test_unlike_subjects_give_a_sum_of_infonce_terms() -> None:
    for reference in (None, torch.zeros(6, 6), -torch.rand(6, 6)):
        total = multilevel_nce(WHOLE, LEVELS, (2.0, 0.5, 3.0), 0.3, reference)
        terms = [info_nce_of_views(z, 0.3) for z in (WHOLE, *LEVELS)]
        torch.testing.assert_close(total, 2 * terms[0] + 0.5 * terms[1] + 3 * terms[2])


def test_one_level_is_infonce() -> None:
    torch.testing.assert_close(multilevel_nce(WHOLE, [], (1.0,), 0.3, ALIKE), info_nce_of_views(WHOLE, 0.3))


def test_the_order_of_levels_with_their_weights_means_nothing() -> None:
    one = multilevel_nce(WHOLE, LEVELS, (1.0, 0.5, 3.0), 0.3, ALIKE)
    torch.testing.assert_close(one, multilevel_nce(WHOLE, LEVELS[::-1], (1.0, 3.0, 0.5), 0.3, ALIKE))


def test_a_negative_as_similar_as_the_subject_is_no_negative() -> None:
    reference = torch.eye(6, dtype=torch.float64)
    reference[:, 5] = 1
    z, weights = WHOLE[:, :2], similarity_log_weights(reference)
    removed = []
    for query in range(5):  # the sixth is its own positive, whose weight is never asked
        keys = torch.cat([z[query : query + 1, 1], z[[j for j in range(5) if j != query], 1]])
        removed.append(info_nce(z[query : query + 1, 0], keys, 0.3))
    rows = [info_nce(z[i : i + 1, 0], z[:, 1], 0.3, torch.tensor([i]), weights[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(torch.stack(rows), torch.stack(removed))


@pytest.mark.parametrize("blocked", [False, True])
def test_weighted_contrast_is_the_definition(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 10 if blocked else 2**26)
    unit = torch.nn.functional.normalize(LEVELS[0], dim=2)
    losses = []
    for i in range(6):
        logits = [math.exp(float(unit[i, 0] @ unit[j, 1]) / 0.3) for j in range(6)]
        weights = [1 - max(float(ALIKE[i, j]), 0) if j != i else 1.0 for j in range(6)]
        losses.append(-math.log(logits[i] / sum(w * x for w, x in zip(weights, logits, strict=True))))
    found = level_nce(LEVELS[0], 0.3, similarity_log_weights(ALIKE))
    assert found.item() == pytest.approx(sum(losses) / 6, rel=1e-9)


def test_more_similarity_means_less_repulsion() -> None:
    shares = [level_nce(WHOLE, 0.3, similarity_log_weights(torch.full((6, 6), r))).item() for r in (0.0, 0.5, 0.9)]
    assert shares == sorted(shares, reverse=True) and len(set(shares)) == 3


def test_gradient() -> None:
    weights = similarity_log_weights(ALIKE)
    assert torch.autograd.gradcheck(lambda z: level_nce(z, 0.5, weights), random(6, 3, 4).requires_grad_())


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="whole and of 2 levels, got 2"):
        multilevel_nce(WHOLE, LEVELS, (1.0, 1.0))
    with pytest.raises(ValueError, match=r"expected log weights \(6, 6\), got \(5, 6\)"):
        level_nce(WHOLE, 0.3, torch.zeros(5, 6))
    with pytest.raises(ValueError, match="at least 2 views, got 1"):
        level_nce(WHOLE[:, :1])
