"""SwAV: predict the cluster code of one view from another (Caron et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision
from equissl.losses.prototypes import sinkhorn
from equissl.losses.views import check_views


@full_precision
def swav(
    scores: Tensor,
    assign: int = 2,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    queue_scores: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of every view's softmax against the Sinkhorn codes of each *other* assigning view.

    Args:
        scores: (B, V, K) similarities of the global batch to the prototypes, see `Prototypes`. With multi-crop, V
            counts all crops, large ones first.
        assign: how many of the first views give codes (the large crops), at most V.
        temperature: divides the scores in the softmax.
        epsilon: smoothness of the codes.
        iterations: Sinkhorn iterations.
        queue_scores: (M, assign, K) scores of past embeddings against today's prototypes. They only make the codes
            more balanced where B is much smaller than K.

    Returns:
        Scalar, the mean over assigning views of the mean over the other views; log K at collapse.

    Raises:
        ValueError: for other shapes, a batch of one, one view, NaN or infinite values, or an impossible ``assign``.
    """
    check_views(scores, "SwAV", "scores")
    batch, views = scores.shape[:2]
    if not 1 <= assign <= views or temperature <= 0:
        raise ValueError(f"expected assign in 1..{views} and a positive temperature, got {assign} and {temperature}")
    codes = _codes(scores.detach()[:, :assign], queue_scores, epsilon, iterations)
    log_probabilities = (scores / temperature).log_softmax(dim=-1)
    agreement = codes @ log_probabilities.mT  # (B, assign, V)
    own = torch.eye(assign, views, dtype=torch.bool, device=scores.device)
    return -agreement.masked_fill(own, 0).sum() / (batch * assign * (views - 1))


def _codes(scores: Tensor, queue: Tensor | None, epsilon: float, iterations: int) -> Tensor:
    if queue is not None:
        if queue.ndim != 3 or queue.shape[1:] != scores.shape[1:]:
            raise ValueError(
                f"expected queue_scores of shape (M, {scores.shape[1]}, {scores.shape[2]}), got {tuple(queue.shape)}"
            )
        scores = torch.cat((scores, queue.detach().to(scores.dtype)))
    batch = scores.shape[0] - (0 if queue is None else queue.shape[0])
    return torch.stack([sinkhorn(view, epsilon, iterations)[:batch] for view in scores.unbind(dim=1)], dim=1)
