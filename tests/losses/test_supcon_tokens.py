"""SupCon among the tokens of mixed images, MixedAE's homologous contrast."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.losses import similarity, supcon, token_supcon


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_closed_forms() -> None:
    """n = L/g equal tokens for each source, orthogonal between sources: log((n-1) e^(1/tau) + L - n) - 1/tau."""
    length, groups, tau = 12, 3, 0.25
    sources = torch.arange(length).remainder(groups).expand(2, -1)
    tokens = torch.eye(groups, dtype=torch.float64)[sources] * 5
    n = length // groups
    expected = math.log((n - 1) * math.exp(1 / tau) + length - n) - 1 / tau
    torch.testing.assert_close(token_supcon(tokens, sources, tau), torch.full((2,), expected, dtype=torch.float64))
    same = torch.ones(2, length, 4, dtype=torch.float64)
    torch.testing.assert_close(
        token_supcon(same, sources, tau), torch.full((2,), math.log(length - 1), dtype=torch.float64)
    )


def test_each_item_is_supcon_of_its_own_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, labels = random(5, 7, 6), torch.arange(35).view(5, 7) % 3
    labels[0, 0] = 9  # a token without a positive
    expected = torch.stack([supcon(z[:, None], own, 0.3) for z, own in zip(tokens, labels, strict=True)])
    torch.testing.assert_close(token_supcon(tokens, labels, 0.3), expected)
    tokens.requires_grad_()
    whole = torch.autograd.grad(token_supcon(tokens, labels, 0.3).sum(), tokens)[0]
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 2 * 49)  # blocks of two items
    torch.testing.assert_close(token_supcon(tokens, labels, 0.3), expected)
    torch.testing.assert_close(torch.autograd.grad(token_supcon(tokens, labels, 0.3).sum(), tokens)[0], whole)


def test_broken_and_empty_tokens() -> None:
    tokens, labels = random(3, 4, 5), torch.tensor([[0, 0, 1, 1]] * 3)
    tokens[1, 2] = 0
    tokens.requires_grad_()
    gradient = torch.autograd.grad(token_supcon(tokens, labels).sum(), tokens)[0]
    assert gradient.isfinite().all() and gradient[1, 2].abs().max() == 0
    broken = random(3, 4, 5)
    broken[1, 2, 3] = math.nan
    assert token_supcon(broken, labels).isnan().tolist() == [False, True, False]
    assert token_supcon(broken.bfloat16(), labels).dtype == torch.float32


def test_errors() -> None:
    tokens, labels = random(3, 4, 5), torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\) and \(4,\)"):
        token_supcon(tokens, labels[0])
    with pytest.raises(ValueError, match=r"L >= 2.*got \(3, 1, 5\)"):
        token_supcon(tokens[:, :1], labels[:, :1])
    with pytest.raises(ValueError, match="positive temperature"):
        token_supcon(tokens, labels, 0)
