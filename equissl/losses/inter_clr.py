"""InterCLR's inter-image term: other images of the query's cluster as positives (Xie et al., TPAMI 2022)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.contrastive import contrast
from equissl.losses.precision import check_pair, full_precision, unit_norm
from equissl.losses.similarity import check_temperature

Margin = Literal["cosine", "arc"]


@full_precision
def inter_clr(
    queries: Tensor,
    positives: Tensor,
    memory: Tensor,
    negatives: Tensor | None = None,
    temperature: float | Tensor = 0.2,
    margin: float = -0.5,
    kind: Margin = "cosine",
) -> Tensor:
    """Mean over queries of ``log(1 + sum_n exp((q.n - s(q.p)) / temperature))``, with a margin in s, by cosine.

    Only queries get a gradient. A negative margin loosens the boundary, because members of a cluster need not be as
    close as views of one image; it multiplies the positive's odds by ``exp(-margin / temperature)``.

    Args:
        queries: (B, D) of the online network.
        positives: (B, D) memory of another image of each query's cluster.
        memory: (N, D) memory that the negatives are rows of.
        negatives: (B, n) positions in ``memory`` of each query's negatives; None takes all of ``memory`` for each.
        temperature: divides the similarities.
        margin: m, in cosine for ``"cosine"`` and in radians for ``"arc"``.
        kind: the positive's similarity: ``cos - m``, or `arc_margin`.

    Returns:
        Scalar; `moco` at margin 0.

    Raises:
        ValueError: for shapes that do not fit, no queries or negatives, an unknown kind, a margin out of range, or a
            temperature that is not positive.
    """
    check_temperature(temperature)
    _check(queries, positives, memory, negatives)
    unit, rows = unit_norm(queries), unit_norm(memory.detach())

    def block(part: slice) -> Tensor:
        logits = unit[part] @ rows.T / temperature
        return (logits if negatives is None else logits.gather(1, negatives[part])).logsumexp(dim=1)

    cosine = (unit * unit_norm(positives.detach())).sum(dim=1, keepdim=True)
    log_negatives = in_blocks(block, len(unit), len(rows))
    return contrast(_with_margin(cosine, margin, kind) / temperature, log_negatives).mean()


def arc_margin(cosine: Tensor, margin: float) -> Tensor:
    """``cos(theta + margin)`` where that still falls with theta, and the cosine shifted by a constant beyond.

    The constant makes it continuous, so that it rises with the cosine everywhere (ArcFace's own continuation has a jump
    there). Beyond: theta > pi - margin for positive margins, theta < -margin for negative ones.

    Args:
        cosine: (...) cosines of theta.
        margin: radians, above -pi and below pi.

    Returns:
        (...) of the same shape.

    Raises:
        ValueError: for a margin out of range.
    """
    if not -math.pi < margin < math.pi:
        raise ValueError(f"expected an arc margin between -pi and pi radians, got {margin}")
    # The slope of the sine has no limit at theta = 0 and pi; the slope in the embedding has.
    sine = (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    if margin >= 0:
        return torch.where(cosine >= -math.cos(margin), turned, cosine + math.cos(margin) - 1)
    return torch.where(cosine <= math.cos(margin), turned, cosine - math.cos(margin) + 1)


def _with_margin(cosine: Tensor, margin: float, kind: Margin) -> Tensor:
    if kind == "arc":
        return arc_margin(cosine, margin)
    if kind != "cosine":
        raise ValueError(f"expected the kind of margin to be 'cosine' or 'arc', got {kind!r}")
    if not math.isfinite(margin):
        raise ValueError(f"expected a finite margin, got {margin}")
    return cosine - margin


def _check(queries: Tensor, positives: Tensor, memory: Tensor, negatives: Tensor | None) -> None:
    check_pair("queries", queries, "positives", positives, ndim=2)
    if memory.ndim != 2 or memory.shape[1:] != queries.shape[1:] or not len(queries) or not len(memory):
        raise ValueError(
            f"expected queries (B, D) and memory (N, D) with B, N >= 1, got {tuple(queries.shape)} and "
            f"{tuple(memory.shape)}"
        )
    if negatives is not None and (negatives.ndim != 2 or len(negatives) != len(queries) or not negatives.shape[1]):
        raise ValueError(f"expected negatives ({len(queries)}, n) with n >= 1, got {tuple(negatives.shape)}")
