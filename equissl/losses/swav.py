"""SwAV: predict the cluster code of one view from another (Caron et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

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
        ValueError: for other shapes, a batch of one, one view, an impossible ``assign`` or a temperature that is not
            positive.
    """
    check_views(scores, "SwAV", "scores")
    views = scores.shape[1]
    if not 1 <= assign <= views or temperature <= 0:
        raise ValueError(f"expected assign in 1..{views} and a positive temperature, got {assign} and {temperature}")
    codes = _codes(scores.detach()[:, :assign], queue_scores, epsilon, iterations)
    return _SwappedPrediction.apply(scores, codes, temperature)


def _codes(scores: Tensor, queue: Tensor | None, epsilon: float, iterations: int) -> Tensor:
    if queue is None:
        return sinkhorn(scores, epsilon, iterations)
    if queue.ndim != 3 or queue.shape[1:] != scores.shape[1:]:
        raise ValueError(
            f"expected queue_scores of shape (M, {scores.shape[1]}, {scores.shape[2]}), got {tuple(queue.shape)}"
        )
    joined = torch.cat((scores, queue.detach().to(scores.dtype)))
    return sinkhorn(joined, epsilon, iterations)[: len(scores)]


class _SwappedPrediction(Function):
    """Mean cross-entropy of views' softmax with other views' codes, which are constants.

    The gradient ``softmax - code`` is written over the probabilities in the forward pass: scores are the largest
    tensors of the objective, and autograd would pass over them, and allocate them, more than twice as often.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
        (batch, views, _), assign = scores.shape, codes.shape[1]
        scale = 1 / (batch * assign * (views - 1))
        log_probabilities = (scores / temperature).log_softmax(dim=-1)
        agreement = codes @ log_probabilities.mT  # (B, assign, V)
        own = torch.eye(assign, views, dtype=torch.bool, device=scores.device)
        if ctx.needs_input_grad[0]:
            gradient = log_probabilities.exp_()
            for view, slope in enumerate(gradient.unbind(dim=1)):
                others = [code for code in range(assign) if code != view]
                slope.mul_(len(others) * scale / temperature)
                for code in others:
                    slope.sub_(codes[:, code], alpha=scale / temperature)
            ctx.save_for_backward(gradient)
        return -agreement.masked_fill(own, 0).sum() * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer, None, None
