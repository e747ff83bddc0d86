"""Gaussian log densities, and the two bounds that are made of them."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from equissl.losses import a_mim, gaussian_log_density, negative_elbo


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_density_is_torch_s() -> None:
    x, mean, log_std = (random(5, 3, 4, 4, seed=seed) for seed in range(3))
    expected = Normal(mean, log_std.exp()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(gaussian_log_density(x, mean, log_std), expected)
    torch.testing.assert_close(
        gaussian_log_density(x, mean, log_std[0, 0, 0, :1]),
        Normal(mean, log_std[0, 0, 0, 0].exp()).log_prob(x).flatten(1).sum(1),
    )
    assert gaussian_log_density(x.bfloat16(), mean.bfloat16(), log_std.bfloat16()).dtype == torch.float32


def test_density_names_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 3\), \(4, 1, 3\) and \(1,\)"):
        gaussian_log_density(random(4, 3), random(4, 1, 3), random(1))
    with pytest.raises(ValueError, match=r"expected x \(B, ...\)"):
        gaussian_log_density(random(4), random(4), random(4))


def test_bounds_of_a_linear_gaussian_model() -> None:
    """With z ~ N(0, 1) and x|z ~ N(z, s²) the exact posterior is known, and the ELBO is log p(x) whatever z."""
    s2 = 0.3
    x, zero = random(50, 6), torch.zeros(1, dtype=torch.float64)
    variance = torch.tensor([s2 / (1 + s2)], dtype=torch.float64)
    mean, log_std = x / (1 + s2), variance.log() / 2
    for seed in (1, 2):
        z = mean + log_std.exp() * random(50, 6, seed=seed)
        likelihood = gaussian_log_density(x, z, torch.tensor([s2], dtype=torch.float64).log() / 2)
        posterior, prior = gaussian_log_density(z, mean, log_std), gaussian_log_density(z, zero, zero)
        evidence = Normal(0.0, (1 + s2) ** 0.5).log_prob(x).sum(1)
        torch.testing.assert_close(negative_elbo(likelihood, posterior, prior), -evidence.mean())
        # Bayes: log p(x|z) = log p(x) + log q(z|x) - log p(z)
        expected = -(evidence + 1.5 * posterior - 0.5 * prior).mean()
        torch.testing.assert_close(a_mim(likelihood, posterior, prior), expected)


def test_elbo_with_another_posterior_is_larger_by_the_divergence() -> None:
    """Averaged over draws: -ELBO is -log p(x) + KL, so that no posterior beats the exact one."""
    x, zero = torch.full((200_000, 1), 0.7, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    z = random(200_000, 1)  # the prior in place of N(0.35, 1/2), the posterior of x|z ~ N(z, 1)
    loss = negative_elbo(
        gaussian_log_density(x, z, zero), gaussian_log_density(z, zero, zero), gaussian_log_density(z, zero, zero)
    )
    divergence = torch.distributions.kl_divergence(Normal(0.0, 1.0), Normal(0.35, 0.5**0.5))
    expected = -Normal(0.0, 2**0.5).log_prob(torch.tensor(0.7)) + divergence
    assert loss.item() == pytest.approx(expected.item(), abs=0.02)


def test_bounds_name_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"of one shape \(B,\), got \[\(7,\), \(7,\), \(6,\)\]"):
        negative_elbo(random(7), random(6), random(7))
