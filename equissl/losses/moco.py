"""MoCo: a query's key against a queue of past keys (He et al., CVPR 2020)."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import check_pair, full_precision, unit_norm
from equissl.losses.similarity import check_temperature, log_sum


@full_precision
def moco(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float | Tensor = 0.2) -> Tensor:
    """Mean over queries of ``log(1 + sum_j exp((q.n_j - q.k) / temperature))``, by cosine similarity.

    Only queries get a gradient: keys come from a momentum teacher, negatives from a `FeatureQueue` of earlier keys. The
    other keys of the batch are no negatives, so a batch of one is allowed. Each query needs its own key only; with
    several processes the mean over processes of the local losses is the loss of the global batch.

    Args:
        queries: (B, D) of the online network.
        keys: (B, D) of the teacher.
        negatives: (M, D) past keys, which must not hold today's.
        temperature: divides the cosine similarities (0.07 in version 1, 0.2 in version 2).

    Returns:
        Scalar; log(1 + M) at collapse.

    Raises:
        ValueError: for shapes that do not fit, no queries or negatives, or a temperature that is not
            positive.
    """
    check_pair("queries", queries, "keys", keys, ndim=2)
    if negatives.ndim != 2 or negatives.shape[1:] != queries.shape[1:] or not len(queries) or not len(negatives):
        raise ValueError(
            f"expected queries (B, D) and negatives (M, D) with B, M >= 1, got {tuple(queries.shape)} and "
            f"{tuple(negatives.shape)}"
        )
    check_temperature(temperature)
    unit = unit_norm(queries)
    positives = (unit * unit_norm(keys.detach())).sum(dim=1, keepdim=True) / temperature
    return contrast(positives, log_sum(unit, unit_norm(negatives.detach()), temperature)).mean()
