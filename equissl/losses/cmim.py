"""Contrastive mutual information machine (Livne, cMIM, 2025): its contrastive term, and the A-MIM bound beside it.

The formulas are recalled from the abstract and public reviews, not checked against the paper's text, and no
temperature was found there. The full objective adds `a_mim`, which needs a decoder's likelihood, and which agrees with
the code of the paper's author for hidden states of language models (NVIDIA NeMo). `negative_elbo` is its counterpart.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import (
    check_temperature,
    cross_view_negatives,
    same_view_negatives,
    unit_views,
    view_logits,
)


@full_precision
def cmim(z: Tensor, temperature: float | Tensor = 0.1, positive: Literal["self", "view"] = "self") -> Tensor:
    """InfoNCE against the mean, not the sum, of the negatives' exponentials, so that its size does not grow with B.

    Args:
        z: (B, V, D) codes of the global batch, B >= 2.
        temperature: divides the cosine similarities.
        positive: ``"self"`` as recalled: a code's positive is the code itself, with cosine 1, and its negatives are the
            codes of the other instances in the same view; one view is enough, several are averaged. No view is pulled
            to another. ``"view"`` is an adaptation to augmentations, or to two draws from one posterior: the positive
            is another view and the negatives are the other instances in that view, over all ordered pairs of views.

    Returns:
        Scalar; log 2 at collapse, ``log(1 + exp(-1 / temperature))`` for an orthonormal batch of any size.

    Raises:
        ValueError: for B < 2, too few views, other shapes, an unknown positive, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if positive not in ("self", "view"):
        raise ValueError(f"expected positive to be 'self' or 'view', got {positive!r}")
    z = unit_views(z, "cMIM", views=1 if positive == "self" else 2)
    lowered = math.log(len(z) - 1)
    if positive == "self":
        own = (z * z).sum(dim=2, keepdim=True) / temperature
        return contrast(own, same_view_negatives(z, temperature) - lowered).mean()
    return contrast(view_logits(z, temperature)[..., None], cross_view_negatives(z, temperature) - lowered).mean()


@full_precision
def a_mim(log_likelihood: Tensor, log_posterior: Tensor | None, log_prior: Tensor) -> Tensor:
    """Mean of ``-(log p(x|z) + (log q(z|x) + log p(z)) / 2)`` at codes z drawn from q with a gradient.

    Args:
        log_likelihood: (B,) log density of each sample under the decoder.
        log_posterior: (B,) log density of each code under its encoder; None for a deterministic encoder, which has no
            density, and whose term is left out.
        log_prior: (B,) log density of each code under the prior.

    Returns:
        Scalar; add `cmim` of the codes for the full objective.

    Raises:
        ValueError: for shapes that differ or are not (B,).
    """
    terms = [log_likelihood, log_prior] if log_posterior is None else [log_likelihood, log_prior, log_posterior]
    _check_densities(*terms)
    codes = log_prior if log_posterior is None else log_posterior + log_prior
    return -(log_likelihood + codes / 2).mean()


@full_precision
def negative_elbo(log_likelihood: Tensor, log_posterior: Tensor, log_prior: Tensor) -> Tensor:
    """Mean of ``-(log p(x|z) + log p(z) - log q(z|x))`` at codes z drawn from q: the VAE's loss beside `a_mim`.

    Kingma and Welling 2014 (arXiv 1312.6114), equation 2 by one draw. The posterior's density is subtracted here, which
    keeps codes uncertain; `a_mim` adds half of it, which makes them certain.

    Args:
        log_likelihood: (B,) log density of each sample under the decoder.
        log_posterior: (B,) log density of each code under its encoder.
        log_prior: (B,) log density of each code under the prior.

    Returns:
        Scalar; no less than the mean of -log p(x), in expectation.

    Raises:
        ValueError: for shapes that differ or are not (B,).
    """
    _check_densities(log_likelihood, log_prior, log_posterior)
    return -(log_likelihood + log_prior - log_posterior).mean()


def _check_densities(first: Tensor, *others: Tensor) -> None:
    if first.ndim != 1 or any(other.shape != first.shape for other in others):
        shapes = [tuple(density.shape) for density in (first, *others)]
        raise ValueError(f"expected log densities of one shape (B,), got {shapes}")
