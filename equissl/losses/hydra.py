"""Contrast of arbitrary pairs of classes in a gated subspace: Hydra, SimLAP in the authors' code.

Any two classes can be a positive pair in a subspace that holds what they share; a gate of the pair chooses it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.contrastive import contrast
from equissl.losses.gating import gated_cosine, gated_product
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.similarity import check_temperature

GatedLogits = Literal["product", "cosine"]
Pairs = Literal["arbitrary", "distinct", "identical"]
_LOGITS = {"product": gated_product, "cosine": gated_cosine}


def hydra(
    queries: Tensor,
    keys: Tensor,
    labels: Tensor,
    partners: Tensor,
    gates: Tensor,
    temperature: float | Tensor = 0.1,
    logits: GatedLogits = "product",
    ungated: float | Tensor | None = None,
) -> Tensor:
    """Compute the mean of `hydra_anchors` over the anchors that have a positive; 0 where none has.

    Args:
        queries, keys, labels, partners, gates, temperature, logits, ungated: see `hydra_anchors`.

    Raises:
        ValueError: see `hydra_anchors`.
    """
    losses, positives = hydra_anchors(queries, keys, labels, partners, gates, temperature, logits, ungated)
    return losses.sum() / (positives > 0).sum().clamp(min=1)


@full_precision
def hydra_anchors(
    queries: Tensor,
    keys: Tensor,
    labels: Tensor,
    partners: Tensor,
    gates: Tensor,
    temperature: float | Tensor = 0.1,
    logits: GatedLogits = "product",
    ungated: float | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute how much each query prefers keys of its class' partner to those of neither class, in their subspace.

    ``mean_p log(exp(u_p) + sum_n exp(u_n)) - u_p`` with positives p of the class ``partners[i]`` and negatives n of
    neither that class nor ``labels[i]``; the other keys of the query's own class do not matter, its own view included.
    The table of logits is made block by block where it would be large, from two products of matrices.

    Args:
        queries: (B, D) embeddings of the global batch.
        keys: (B, D) embeddings of another view of the same samples.
        labels: (B,) classes.
        partners: (B,) class of each query's positives.
        gates: (B, D) of the pair of classes, at least 0.
        temperature: divides the gated cosines.
        logits: ``product`` of unit vectors, where a closed dimension lowers the logit, which is the authors' present
            form; or ``cosine`` of the gated vectors, their earlier one, which a factor of a gate does not change.
        ungated: share of the cosine without a gate that is subtracted.

    Returns:
        (B,) losses, 0 without a positive, and (B,) number of positives.

    Raises:
        ValueError: for shapes that do not fit, unknown logits, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if logits not in _LOGITS:
        raise ValueError(f"expected logits 'product' or 'cosine', got {logits!r}")
    if labels.shape != queries.shape[:1] or partners.shape != labels.shape or keys.shape != queries.shape:
        raise ValueError(
            "expected queries and keys (B, D), labels and partners (B,), got "
            + ", ".join(str(tuple(x.shape)) for x in (queries, keys, labels, partners))
        )

    def block(rows: slice) -> Tensor:
        table = _LOGITS[logits](queries[rows], keys, gates[rows])
        if ungated is not None:
            table = table - ungated * (unit_norm(queries[rows]) @ unit_norm(keys).T)
        table = table / temperature
        positive = partners[rows, None] == labels
        neither = ~positive & (labels[rows, None] != labels)
        negatives = table.masked_fill(~neither, float("-inf")).logsumexp(dim=1)
        scored = contrast(table[..., None], negatives[:, None].expand_as(table), "own")
        count = positive.sum(dim=1)
        losses = torch.where(positive, scored, torch.zeros_like(scored)).sum(dim=1) / count.clamp(min=1)
        losses = losses + 0 * table.sum(dim=1)  # what is not finite shows, positive or not
        return torch.stack([losses, count.to(losses.dtype)], dim=1)

    losses, positives = in_blocks(block, len(queries), len(keys)).unbind(dim=1)
    return losses, positives.detach()


def draw_partner_classes(
    labels: Tensor, classes: int, pairs: Pairs, generator: torch.Generator | None = None
) -> Tensor:
    """Draw the class of each anchor's positives.

    Args:
        labels: (B,) classes of the anchors, of the global batch.
        classes: number of classes.
        pairs: ``identical``: the anchor's own; ``distinct``: any other one, whether the batch holds it or not;
            ``arbitrary``: that of another anchor, by a permutation of the batch.
        generator: source of the draws, on the CPU; equal ones in every process draw equal classes.

    Returns:
        (B,).

    Raises:
        ValueError: for unknown pairs, or distinct ones of a single class.
    """
    if pairs == "identical":
        return labels
    if pairs == "arbitrary":
        return labels[torch.randperm(len(labels), generator=generator).to(labels.device)]
    if pairs != "distinct" or classes < 2:
        raise ValueError(
            f"expected pairs 'arbitrary', 'distinct' (of at least 2 classes) or 'identical', got {pairs!r} and "
            f"{classes} classes"
        )
    steps = 1 + torch.randint(classes - 1, labels.shape, generator=generator)
    return (labels + steps.to(labels.device)) % classes
