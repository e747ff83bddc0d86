"""NT-Xent for any number of views (Chen et al., SimCLR, ICML 2020; for V > 2 Khosla et al., SupCon, NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.contrastive import Admitted, contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import (
    check_contrasted,
    check_temperature,
    instance_negatives,
    log_sum,
    unit_views,
    view_logits,
)


@full_precision
def nt_xent(z: Tensor, temperature: float | Tensor = 0.1, admitted: Admitted = "all", normalise: bool = True) -> Tensor:
    """Mean cross-entropy of picking another view of the same instance among all other rows, by cosine similarity.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.
        admitted: positives in the denominator: ``"all"`` as in SupCon; ``"own"`` leaves the anchor's other positives
            out, as pytorch-metric-learning does, which differs for V > 2; ``"none"`` is the decoupled loss.
        normalise: False compares by the inner product of the embeddings as they are, as MCLRec does.

    Returns:
        Scalar. With all positives admitted, collapse costs log(VB - 1), and no arrangement costs less than log(V - 1).

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if normalise:
        z = unit_views(z, "NT-Xent")
    else:
        check_contrasted(z, "NT-Xent")
    return contrast(view_logits(z, temperature), instance_negatives(z, temperature), admitted).mean()


@full_precision
def group_nt_xent(
    z: Tensor, group_ids: Tensor, temperature: float | Tensor = 0.1, admitted: Admitted = "all"
) -> Tensor:
    """Compute NT-Xent with negatives of the anchor's own group alone: MCL as a mask (Zhang et al., ECCV 2024).

    With one group it is `nt_xent`; of several it is the mean of `nt_xent` of each group by itself, weighted by size.
    Ours: instances that are alone in their group have no negative, and are left out of the mean.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        group_ids: (B,) integer group of each instance, of the global batch as well.
        temperature: divides the cosine similarities.
        admitted: positives in the denominator, see `nt_xent`.

    Returns:
        Scalar; 0 where every instance is alone.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "NT-Xent of groups")
    if group_ids.shape != z.shape[:1]:
        raise ValueError(f"expected group_ids of shape ({len(z)},), got {tuple(group_ids.shape)}")
    batch, views, _ = z.shape
    rows, ids = z.flatten(0, 1), group_ids.repeat_interleave(views)
    own = torch.arange(len(rows), device=z.device).view(batch, views).repeat_interleave(views, dim=0)
    negatives = log_sum(rows, rows, temperature, own, groups=(ids, ids)).view(batch, views)
    alone = (group_ids[:, None] == group_ids).sum(dim=1, keepdim=True) == 1
    # Instances without negatives must stay finite in both branches, or their gradient is NaN.
    negatives = torch.where(alone, torch.zeros_like(negatives), negatives)
    loss = contrast(view_logits(z, temperature), negatives, admitted)
    kept = torch.where(alone, 0 * loss, loss)  # 0, but NaN embeddings show
    return kept.sum() / (views * (~alone).sum().clamp(min=1))
