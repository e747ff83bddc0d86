"""SupReMix: supervised contrast for continuous labels, with mixtures in label order (Wu et al., 2023).

After the authors' released code; the paper's equations were not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from equissl.losses import similarity
from equissl.losses.contrastive import contrast
from equissl.losses.label_mixtures import Mixing, Mixtures, mix_negatives, mix_positives
from equissl.losses.label_spaces import SCALARS, LabelSpace
from equissl.losses.mixing import mix_rows
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_temperature, unit_views

Magnify = Literal["l1", "l2", "none"]


class _Keys(NamedTuple):
    """Keys of n anchors, each (n, K): cosines, log-weights, which keys exist, and which of them are positives."""

    cosines: Tensor
    log_weights: Tensor
    exist: Tensor
    positive: Tensor


@full_precision
def sup_re_mix(
    z: Tensor,
    labels: Tensor,
    space: LabelSpace = SCALARS,
    temperature: float | Tensor = 0.1,
    mixing: Mixing | None = None,
    tolerance: float = 0.0,
    magnify: Magnify = "l1",
    generator: torch.Generator | None = None,
) -> Tensor:
    """SupCon with labels in a space: rows of one label attract, others repel by distance, and mixtures join both.

    Anchors are all B V rows. The positives of an anchor are the other rows of its label and its `mix_positives`; its
    negatives are all rows of other labels and its `mix_negatives`, each weighted by the distance of its label. All
    share one denominator and one maximum, and the mean is over the anchor's positives. The authors' code divides by
    one positive more, subtracts one maximum from rows and another from mixtures, and builds all mixtures of the
    batch, (B V)³ D numbers; here a few are drawn for each anchor. An anchor without positives costs 0 and counts in
    the mean, as in `supcon`.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 1.
        labels: (B, V, ...) label of each view, as the space takes them.
        space: distances and mixtures of labels: `SCALARS`, `ANGLES`, `ROTATIONS`, or one's own.
        temperature: divides the cosine similarities.
        mixing: which mixtures; None takes the defaults of `Mixing`.
        tolerance: labels this close are the same. 0 suits labels with repeated values; rotations and hues of
            rendered views never repeat, and need one.
        magnify: weight of a negative: ``distance + 1`` ("l1"), ``distance² + 1`` ("l2") or 1 ("none"). Labels in
            another unit weigh differently.
        generator: source of the mixtures, on the CPU. Several processes must pass generators in one state.

    Returns:
        Scalar; `supcon` without mixtures and weights.

    Raises:
        ValueError: for B < 2, other shapes, a negative tolerance, an unknown weight, or a temperature that is not
            positive.
    """
    losses, _ = sup_re_mix_anchors(z, labels, space, temperature, mixing, tolerance, magnify, generator)
    return losses.mean()


@full_precision
def sup_re_mix_anchors(
    z: Tensor,
    labels: Tensor,
    space: LabelSpace = SCALARS,
    temperature: float | Tensor = 0.1,
    mixing: Mixing | None = None,
    tolerance: float = 0.0,
    magnify: Magnify = "l1",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute loss and number of positives of each row as an anchor, (B V,) both.

    Args:
        z, labels, space, temperature, mixing, tolerance, magnify, generator: as of `sup_re_mix`.
    """
    check_temperature(temperature)
    z = unit_views(z, "SupReMix", views=1)
    if labels.shape[:2] != z.shape[:2]:
        raise ValueError(f"expected labels ({z.shape[0]}, {z.shape[1]}, ...), got {tuple(labels.shape)}")
    if not tolerance >= 0 or magnify not in ("l1", "l2", "none"):
        raise ValueError(f"expected tolerance >= 0 and magnify 'l1', 'l2' or 'none', got {tolerance} and {magnify!r}")
    mixing = mixing or Mixing()
    rows, places = z.flatten(0, 1), space.coordinates(labels.detach().double()).flatten(0, 1)
    negatives = mix_negatives(places, space, mixing, tolerance, generator) if mixing.negatives else None
    positives = mix_positives(places, space, mixing, tolerance, generator) if mixing.positives else None

    def block(start: int, stop: int) -> tuple[Tensor, Tensor]:
        chosen = slice(start, stop)
        keys = [_rows(rows, places, chosen, space, tolerance, magnify)]
        if negatives is not None:
            cosines, exist, distance = _mixed(rows, negatives, chosen, mixing)
            keys.append(_Keys(cosines, _log_weights(distance, magnify, rows), exist, torch.zeros_like(exist)))
        if positives is not None:
            cosines, exist, _ = _mixed(rows, positives, chosen, mixing)
            keys.append(_Keys(cosines, torch.zeros_like(cosines), exist, exist))
        return _losses(keys, temperature)

    return _in_blocks(block, len(rows))


def _in_blocks(block: Callable[[int, int], tuple[Tensor, Tensor]], count: int) -> tuple[Tensor, Tensor]:
    # Beside the logits there are weights and masks, and distances of rotations fill more tables for a moment.
    step = similarity.TABLE_ELEMENTS // (8 * count)
    if step >= count:
        return block(0, count)
    step = max(1, step)
    blocks = [
        checkpoint(block, start, min(start + step, count), use_reentrant=False, preserve_rng_state=False)
        for start in range(0, count, step)
    ]
    return torch.cat([losses for losses, _ in blocks]), torch.cat([positives for _, positives in blocks])


def _log_weights(distance: Tensor, magnify: Magnify, like: Tensor) -> Tensor:
    if magnify == "none":
        return torch.zeros_like(distance, dtype=like.dtype)
    return (distance if magnify == "l1" else distance.square()).log1p().to(like.dtype)


def _rows(rows: Tensor, places: Tensor, chosen: slice, space: LabelSpace, tolerance: float, magnify: Magnify) -> _Keys:
    apart = space.distance(places[chosen, None], places)
    order = torch.arange(len(rows), device=rows.device)
    other = order[chosen, None] != order
    same = (apart <= tolerance) & other
    weights = _log_weights(torch.where(same, torch.zeros_like(apart), apart), magnify, rows)
    return _Keys(rows[chosen] @ rows.T, weights, other, same)


def _mixed(rows: Tensor, mixtures: Mixtures, chosen: slice, mixing: Mixing) -> tuple[Tensor, Tensor, Tensor]:
    keys = mix_rows(rows, mixtures.parts[chosen], mixtures.share[chosen], mixing.normalize, mixing.detach)
    cosines = (keys @ rows[chosen, :, None]).squeeze(2)
    return cosines, mixtures.valid[chosen], mixtures.distance[chosen]


def _losses(keys: list[_Keys], temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    cosines, weights, exist, positive = (torch.cat(tables, dim=1) for tables in zip(*keys, strict=True))
    logits = cosines / temperature
    denominator = (logits + weights).masked_fill(~exist, float("-inf")).logsumexp(dim=1)
    count = positive.sum(dim=1)
    mean = torch.where(positive, logits, torch.zeros_like(logits)).sum(dim=1) / count.clamp(min=1)
    # The denominator holds the positives already, so the kernel admits no further one.
    losses = contrast(mean[:, None], denominator, admitted="none")
    # Times 0 rather than 0, so that broken embeddings show.
    return torch.where(count > 0, losses, 0 * denominator), count
