"""Hard feature mixtures and focal contrast of Core-tuning (Zhang et al., NeurIPS 2021, arXiv 2102.06605).

Formulas are those of the authors' release, with two corrections, which are ours: the hardest pairs are sought among
pairs of the right classes alone (the release multiplies similarities by a mask of zeros, which can win, and takes
position 0 for none), and the focal terms are averaged over an anchor's positives (the release divides by all columns;
``average="columns"`` does so too).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.mixing import draw_shares, mix_rows
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.similarity import check_temperature

# Squared distance up to which two label vectors are one: far above rounding in float64, far below what mixtures differ.
SAME = 1e-12
TABLES = 6  # tables of all pairs that a block of the contrast holds at once


@torch.no_grad()
@full_precision
def hardest_pairs(features: Tensor, labels: Tensor) -> Tensor:
    """Find each row's least similar row of its class and most similar row of the other classes, by cosine.

    Args:
        features: (N, D).
        labels: (N,) classes.

    Returns:
        (N, 2) positions: hardest positive, hardest negative. A row that is the only one of its class is its own
        positive, and one without another class in the batch its own negative.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"expected features (N, D) and labels (N,), got {tuple(features.shape)} and {tuple(labels.shape)}"
        )
    rows, order = unit_norm(features), torch.arange(len(features), device=features.device)
    infinity = float("inf")

    def block(chosen: slice) -> Tensor:
        cosines, own = rows[chosen] @ rows.T, order[chosen, None]
        same = labels[chosen, None] == labels
        positives = cosines.masked_fill(~same | (own == order), infinity)
        negatives = cosines.masked_fill(same, -infinity)
        found = torch.stack([positives.argmin(dim=1), negatives.argmax(dim=1)], dim=1)
        there = torch.stack([positives.amin(dim=1) < infinity, negatives.amax(dim=1) > -infinity], dim=1)
        return torch.where(there, found, own)

    return in_blocks(block, len(rows), TABLES * len(rows))


def hard_mixtures(
    features: Tensor,
    targets: Tensor,
    labels: Tensor,
    concentration: float = 1.0,
    least: float = 0.8,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Join features with Core-tuning's two mixtures of each: a hard positive and a semi-hard negative.

    With shares from Beta(a, a), drawn for every row: the hard positive is a mixture of the row's hardest positive and
    hardest negative, the semi-hard negative one of the row and a random row, which gets the share max(share, least).
    Whether the release draws one share for both is not known to us; here they are two. No gradient flows to the
    features themselves, so that the encoder learns from mixtures alone.

    Args:
        features: (N, D) of the global batch.
        targets: (N, C) label vectors, mixed as the features are.
        labels: (N,) classes.
        concentration: a.
        least: lowest share of the random row.
        generator: source of the draws.

    Returns:
        (3N, D) features, semi-hard negatives and hard positives, in this order, and their (3N, C) label vectors.

    Raises:
        ValueError: for shapes that do not fit, or a share outside [0, 1].
    """
    if not 0 <= least <= 1:
        raise ValueError(f"expected the least share of a random row in [0, 1], got {least}")
    count, device = len(features), features.device
    hard = draw_shares((count,), concentration, generator, device)
    easy = draw_shares((count,), concentration, generator, device).clamp(min=least)
    source = device if generator is None else generator.device
    others = torch.randperm(count, generator=generator, device=source).to(device)
    pairs, own = hardest_pairs(features, labels), torch.arange(count, device=device)
    mixes = [(torch.stack([others, own], dim=1), easy), (pairs, hard)]
    mixed = [mix_rows(features, *mix, normalize=False, detach=False) for mix in mixes]
    mixed_targets = [mix_rows(targets, *mix, normalize=False) for mix in mixes]
    return torch.cat([features.detach().to(mixed[0].dtype), *mixed]), torch.cat([targets, *mixed_targets])


@full_precision
def focal_supcon(
    z: Tensor,
    targets: Tensor,
    temperature: float | Tensor = 0.07,
    average: Literal["positives", "columns"] = "positives",
) -> Tensor:
    """Compute SupCon in which each positive counts the more, the less probable it is: the mean of ``-(1 - p) log p``.

    The probability p of a positive is its share of the softmax over all other rows. Positives are the rows with an
    identical label vector; a row without one is no anchor.

    Args:
        z: (N, D) embeddings of the global batch.
        targets: (N, C) label vectors, soft or not.
        temperature: divides the cosine similarities.
        average: over an anchor's positives, or over all N columns, as in the authors' release, which makes the loss
            smaller by their ratio.

    Returns:
        Scalar, never above SupCon's; 0 where no row has a positive.

    Raises:
        ValueError: for shapes that do not fit, fewer than 2 rows, an unknown average, or a temperature that is not
            positive.
    """
    check_temperature(temperature)
    if z.ndim != 2 or targets.ndim != 2 or len(targets) != len(z):
        raise ValueError(
            f"expected embeddings (N, D) and label vectors (N, C), got {tuple(z.shape)} and {tuple(targets.shape)}"
        )
    if len(z) < 2:
        raise ValueError(f"a contrast needs at least 2 rows, got {len(z)}")
    if average not in ("positives", "columns"):
        raise ValueError(f"expected average to be 'positives' or 'columns', got {average!r}")
    rows, places = unit_norm(z), targets.detach().double()
    keys, squares = rows / temperature, places.square().sum(dim=1)
    order = torch.arange(len(rows), device=z.device)

    def block(chosen: slice) -> Tensor:
        others = order[chosen, None] != order
        apart = squares[chosen, None] + squares - 2 * places[chosen] @ places.T
        positive = others & (apart <= SAME)
        logits = (rows[chosen] @ keys.T).masked_fill(~others, float("-inf"))
        denominator = logits.logsumexp(dim=1)
        log_p = torch.where(positive, logits - denominator[:, None], torch.zeros_like(logits))
        terms = torch.where(positive, torch.expm1(log_p) * log_p, torch.zeros_like(logits)).sum(dim=1)
        count = positive.sum(dim=1)
        shared = count.clamp(min=1) if average == "positives" else len(rows)
        # times 0 rather than 0, so that broken embeddings show
        losses = torch.where(count > 0, terms / shared, 0 * denominator)
        return torch.stack([losses, (count > 0).to(losses.dtype)], dim=1)

    losses, anchors = in_blocks(block, len(rows), TABLES * len(rows)).unbind(dim=1)
    return losses.sum() / anchors.sum().clamp(min=1)
