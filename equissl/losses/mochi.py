"""MoCHi: MoCo with synthetic hard negatives (Kalantidis et al., Hard Negative Mixing, NeurIPS 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.contrastive import contrast
from equissl.losses.mixing import draw_pairs, draw_partners, mix_rows, mix_with_queries
from equissl.losses.precision import check_pair, full_precision, unit_norm
from equissl.losses.similarity import check_temperature


class HardMixtures(NamedTuple):
    """Components of each of B queries' mixtures, by rank among its hardest negatives (0 is the hardest).

    Attributes:
        pairs: (B, s, 2) ranks of two negatives.
        pair_weights: (B, s) share of the first.
        partners: (B, s') ranks of a negative to mix with the query.
        shares: (B, s') share of the query.
    """

    pairs: Tensor
    pair_weights: Tensor
    partners: Tensor
    shares: Tensor


def draw_mixtures(
    queries: int,
    hardest: int,
    mixed: int,
    query_mixed: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> HardMixtures:
    """Draw mixtures of each query's ``hardest`` negatives, for each query separately.

    Args:
        queries: number of queries B.
        hardest: number of hardest negatives to choose from.
        mixed: mixtures s of two negatives, with weights uniform in [0, 1).
        query_mixed: mixtures s' of a negative with the query, the query's share uniform in [0, 0.5).
        generator: source of the choice.
        device: device of the results.
    """
    pairs = draw_pairs(queries, mixed, hardest if mixed else 2, generator, device)
    partners = draw_partners(queries, query_mixed, hardest if query_mixed else 1, generator, device)
    return HardMixtures(*pairs, *partners)


@full_precision
def mochi(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    hardest: int = 1024,
    mixed: int = 1024,
    query_mixed: int = 128,
    temperature: float | Tensor = 0.2,
    detach: bool = True,
    generator: torch.Generator | None = None,
    mixtures: HardMixtures | None = None,
) -> Tensor:
    """`moco` whose denominator also holds mixtures of each query's hardest negatives, made for that query alone.

    Mixtures of two negatives, and of a negative with the query itself; all of unit length. Never below `moco`, which it
    is without mixtures. Only queries get a gradient. Memory is B (M + (2 s + s') D), up to a limit beyond which queries
    are compared block by block, and again in the backward pass.

    Args:
        queries: (B, D) of the online network.
        keys: (B, D) of the teacher.
        negatives: (M, D) past keys, which must not hold today's.
        hardest: how many of a query's most similar negatives are mixed, at most M. Few of them are often of the query's
            own class.
        mixed: mixtures s of two negatives for each query.
        query_mixed: mixtures s' of a negative with the query.
        temperature: divides the cosine similarities.
        detach: the mixtures hold the query as a constant; otherwise the gradient passes through them as well.
        generator: source of the mixtures. Several processes must pass generators in the same state.
        mixtures: mixtures to use instead of drawn ones; then ``mixed`` and ``query_mixed`` are not read.

    Returns:
        Scalar; log(1 + M + s + s') at collapse.

    Raises:
        ValueError: for shapes that do not fit, no queries or negatives, more ``hardest`` than negatives or fewer than
            the mixtures need (2, or 1 without mixtures of two), or a temperature that is not positive.
    """
    _check(queries, keys, negatives)
    check_temperature(temperature)
    if mixtures is None:
        _check_counts(hardest, mixed, query_mixed, len(negatives))
        mixtures = draw_mixtures(len(queries), hardest, mixed, query_mixed, generator, queries.device)
    unit, memory = unit_norm(queries), unit_norm(negatives.detach())
    synthetic = 2 * mixtures.pair_weights.shape[1] + mixtures.shares.shape[1]

    def block(rows: slice) -> Tensor:
        chosen = HardMixtures(*(part[rows] for part in mixtures))
        return _logits(unit[rows], memory, chosen, hardest, detach, temperature).logsumexp(dim=1)

    positives = (unit * unit_norm(keys.detach())).sum(dim=1, keepdim=True) / temperature
    log_negatives = in_blocks(block, len(unit), len(memory) + synthetic * unit.shape[1])
    return contrast(positives, log_negatives).mean()


def _logits(
    queries: Tensor, memory: Tensor, mixtures: HardMixtures, hardest: int, detach: bool, temperature: float | Tensor
) -> Tensor:
    """(b, M + s + s') logits of unit queries with the memory and with the mixtures that each makes of it."""
    cosines = queries @ memory.T
    if not mixtures.pair_weights.numel() and not mixtures.shares.numel():
        return cosines / temperature
    ranked = cosines.detach().topk(hardest, dim=1).indices
    pairs = ranked.gather(1, mixtures.pairs.flatten(1)).view(mixtures.pairs.shape)
    partners = ranked.gather(1, mixtures.partners)
    own = (queries * (queries.detach() if detach else queries)).sum(dim=1, keepdim=True).expand(-1, partners.shape[1])
    parts = torch.stack((own, cosines.gather(1, partners)), dim=-1)
    between = cosines.gather(1, pairs.flatten(1)).view(pairs.shape)
    mixed = mix_rows(memory, pairs, mixtures.pair_weights, normalize=False)
    joined = mix_with_queries(queries, memory, partners, mixtures.shares, normalize=False, detach=detach)
    extra = (_mixed_cosine(between, mixtures.pair_weights, mixed), _mixed_cosine(parts, mixtures.shares, joined))
    return torch.cat((cosines, *extra), dim=1) / temperature


def _mixed_cosine(cosines: Tensor, weights: Tensor, mixtures: Tensor) -> Tensor:
    """(b, S) cosines with mixtures (b, S, D), from those with their two parts (b, S, 2).

    A constant mixture leaves the gradient to the parts' cosines, so that none of width D is kept for the backward pass.
    """
    length = torch.linalg.vector_norm(mixtures, dim=-1)
    short = length <= 1e-6  # opposite parts
    sums = torch.lerp(cosines[..., 1], cosines[..., 0], weights.to(cosines.dtype))
    return torch.where(short, torch.zeros_like(sums), sums / torch.where(short, torch.ones_like(length), length))


def _check(queries: Tensor, keys: Tensor, negatives: Tensor) -> None:
    check_pair("queries", queries, "keys", keys, ndim=2)
    if negatives.ndim != 2 or negatives.shape[1:] != queries.shape[1:] or not len(queries) or not len(negatives):
        raise ValueError(
            f"expected queries (B, D) and negatives (M, D) with B, M >= 1, got {tuple(queries.shape)} and "
            f"{tuple(negatives.shape)}"
        )


def _check_counts(hardest: int, mixed: int, query_mixed: int, negatives: int) -> None:
    if mixed < 0 or query_mixed < 0:
        raise ValueError(f"expected numbers of mixtures from 0, got {mixed} and {query_mixed}")
    fewest = 2 if mixed else 1
    if (mixed or query_mixed) and not fewest <= hardest <= negatives:
        raise ValueError(f"expected between {fewest} and {negatives} hardest negatives (all there are), got {hardest}")
