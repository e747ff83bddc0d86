"""Batch whitening: a linear map that gives the rows of a batch mean 0 and the identity as covariance.

Of all dimensions together (Ermolov et al., W-MSE, ICML 2021), or inside groups of channels, shuffled or not (Zhuo et
al., WhitenedCSE, ACL 2023).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from equissl.losses.precision import full_precision
from equissl.losses.views import check_finite

WhiteningMethod = Literal["eigh", "newton_schulz", "cholesky"]


def _centred(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    if x.ndim < 2 or x.shape[-1] == 0 or x.shape[-2] < 2:
        raise ValueError(f"expected x of shape (..., N, D) with N >= 2, got {tuple(x.shape)}")
    rows, dims = x.shape[-2:]
    if eps == 0 and rows <= dims:
        raise ValueError(
            f"whitening {dims} dimensions needs more than {dims} rows, got {rows}: their covariance is singular; "
            "use larger chunks, fewer dimensions, or eps > 0"
        )
    check_finite("x", x)
    centred = x - x.mean(dim=-2, keepdim=True)
    covariance = centred.mT @ centred / (rows - 1)
    if eps > 0:
        covariance = (1 - eps) * covariance + eps * torch.eye(dims, dtype=x.dtype, device=x.device)
    return centred, covariance


def _noise(x: Tensor, variance: Tensor) -> Tensor:
    """Variances that are rounding only: of the covariance's entries, or of the values that it was computed from."""
    eps = torch.finfo(x.dtype).eps
    values = eps * x.detach().abs().amax(dim=(-2, -1))[..., None]
    return torch.maximum(x.shape[-1] * eps * variance, values.square())


def _singular(x: Tensor) -> ValueError:
    return ValueError(
        f"the covariance of {x.shape[-2]} rows in {x.shape[-1]} dimensions is singular to working precision: the "
        "features have collapsed, or lost dimensions; eps > 0 would regularise it"
    )


@full_precision
def cholesky_whiten(x: Tensor, eps: float = 0.0) -> Tensor:
    """Solve the rows against the Cholesky factor of their covariance (Ermolov et al., W-MSE, ICML 2021).

    Unchanged by lower-triangular maps with a positive diagonal and by shifts of x (at eps 0), not by rotations.

    Args:
        x: (..., N, D) rows; leading dimensions are whitened separately. N > D unless eps > 0.
        eps: the covariance (divisor N - 1) becomes ``(1 - eps) cov + eps I``.

    Returns:
        Tensor of the same shape, mean 0 and covariance I over N.

    Raises:
        ValueError: for too few rows, NaN or infinite values, and a covariance that is singular to working precision,
            as at collapse.
    """
    centred, covariance = _centred(x, eps)
    factor, info = torch.linalg.cholesky_ex(covariance)
    # A squared pivot is the variance that earlier dimensions leave unexplained.
    left = factor.detach().diagonal(dim1=-2, dim2=-1).square()
    total = covariance.detach().diagonal(dim1=-2, dim2=-1)
    if ((info != 0) | (left <= _noise(x, total)).any(dim=-1)).any():
        raise _singular(x)
    return torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT


class _InverseRoot(Function):
    """``A^(-1/2)`` of symmetric positive matrices and their eigenvalues, differentiable where eigenvalues repeat.

    In the basis of the eigenvectors, the slope between two eigenvalues a and b is ``-1 / (√a √b (√a + √b))``: no
    difference of eigenvalues remains, as in the gradient of `eigh` (Daleckii and Krein). The eigenvalues come without
    gradient.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        roots = values.rsqrt()
        ctx.save_for_backward(roots, vectors)
        ctx.mark_non_differentiable(values)
        return (vectors * roots[..., None, :]) @ vectors.mT, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _values: Tensor) -> Tensor:
        roots, vectors = ctx.saved_tensors
        first, second = roots[..., :, None], roots[..., None, :]
        # Written in the inverse roots: 1 / (√a √b (√a + √b)) with √a = 1 / first.
        slope = -(first * second).square() / (first + second)
        inner = vectors.mT @ gradient @ vectors
        out = vectors @ (slope * inner) @ vectors.mT
        return (out + out.mT) / 2


@full_precision
def zca_whiten(x: Tensor, eps: float = 0.0) -> Tensor:
    """Multiply the rows by the inverse square root of their covariance: the whitening closest to the input.

    Rotating x rotates the output, permuting dimensions permutes it.

    Args:
        x: (..., N, D) rows; leading dimensions are whitened separately. N > D unless eps > 0.
        eps: the covariance (divisor N - 1) becomes ``(1 - eps) cov + eps I``.

    Returns:
        Tensor of the same shape, mean 0 and covariance I over N.

    Raises:
        ValueError: as `cholesky_whiten`.
    """
    centred, covariance = _centred(x, eps)
    root, values = _InverseRoot.apply(covariance)
    if (values <= _noise(x, values[..., -1:])).any():
        raise _singular(x)
    return centred @ root


def _newton_schulz(matrix: Tensor, iterations: int) -> Tensor:
    """Inverse root from products only, of the matrix over its trace, by the coupled form, which is stable.

    The root and its inverse go along together from A and I; each step multiplies both by ``(3 - inverse root) / 2``.
    """
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[..., None, None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    root, inverse = matrix / trace, identity.expand_as(matrix)
    for _ in range(iterations):
        step = (3 * identity - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return inverse / trace.sqrt()


def default_groups(rows: int, channels: int) -> int:
    """Find the fewest groups that divide the channels with at most half as many channels each as there are rows.

    Args:
        rows: N.
        channels: D.
    """
    fitting = (g for g in range(1, channels + 1) if channels % g == 0 and 2 * (channels // g) <= rows)
    return next(fitting, channels)


def draw_permutations(
    copies: int, channels: int, generator: torch.Generator | None = None, device: torch.device | None = None
) -> Tensor:
    """Draw (copies, channels) random orders of the channels on the CPU.

    Args:
        copies: number of orders.
        channels: length of each.
        generator: source (on the CPU). Several processes must pass generators in one state, so that all compute one
            loss.
        device: where to put them.
    """
    orders = [torch.randperm(channels, generator=generator) for _ in range(copies)]
    return torch.stack(orders).to(device)


@full_precision
def group_whiten(
    x: Tensor,
    groups: int | None = None,
    permutation: Tensor | None = None,
    method: WhiteningMethod = "eigh",
    eps: float = 1e-5,
    iterations: int = 10,
) -> Tensor:
    """Whiten groups of channels on their own, after shuffling the channels, and undo the shuffle.

    Different shuffles give different whitened copies of one batch, unless there is one group or one channel a group.
    One group is full ZCA whitening, one channel a group is standardisation. The covariance has the divisor N, as in
    the authors' code.

    Args:
        x: (..., N, D) rows; leading dimensions are whitened separately.
        groups: G, a divisor of D; None takes `default_groups`, as the paper advises. The paper has 128 for D = 768.
        permutation: (..., D) or (D,) order of the channels before they are cut into groups; None keeps theirs.
        method: ``"eigh"`` is exact ZCA (symmetric), with a gradient that repeated eigenvalues do not disturb;
            ``"newton_schulz"`` approximates ZCA with products only, well for variances above about
            ``1.5^(-2 iterations)`` of their group's sum; ``"cholesky"`` is exact but triangular, so that the order of
            the channels inside a group matters.
        eps: the covariance becomes ``(1 - eps) cov + eps I``. Above 0, collapse and groups as wide as the batch are
            finite. At 0 a singular covariance gives NaN or infinite values.
        iterations: iterations of Newton-Schulz.

    Returns:
        Tensor of the same shape: of each group mean 0 and, for eps 0, covariance I with divisor N. NaN and infinite
        values make their groups NaN.

    Raises:
        ValueError: for fewer than 2 rows, groups that do not divide D, a permutation of another shape, eps outside of
            [0, 1), eps 0 with no more rows than channels in a group, or an unknown method.
    """
    groups = _check_groups(x, groups, permutation, method, eps)
    order = None if permutation is None else permutation.unsqueeze(-2).expand(x.shape)
    shuffled = x if order is None else x.gather(-1, order)
    chunks = shuffled.unflatten(-1, (groups, -1)).movedim(-2, -3)  # (..., G, N, D/G)
    centred = chunks - chunks.mean(dim=-2, keepdim=True)
    white = _whiten_centred(centred, method, eps, iterations).movedim(-3, -2).flatten(-2)
    return white if order is None else white.gather(-1, order.argsort(dim=-1))


def _whiten_centred(centred: Tensor, method: WhiteningMethod, eps: float, iterations: int) -> Tensor:
    identity = torch.eye(centred.shape[-1], dtype=centred.dtype, device=centred.device)
    covariance = (1 - eps) * (centred.mT @ centred / centred.shape[-2]) + eps * identity
    # Decompositions raise at NaN; the rows are NaN themselves then, and stay so.
    broken = ~covariance.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    covariance = torch.where(broken, identity, covariance)
    if method == "cholesky":
        factor, _ = torch.linalg.cholesky_ex(covariance)
        return torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT
    if method == "newton_schulz":
        return centred @ _newton_schulz(covariance, iterations)
    root, _ = _InverseRoot.apply(covariance)
    return centred @ root


def _check_groups(x: Tensor, groups: int | None, permutation: Tensor | None, method: str, eps: float) -> int:
    if x.ndim < 2 or x.shape[-1] == 0 or x.shape[-2] < 2:
        raise ValueError(f"expected x of shape (..., N, D) with N >= 2, got {tuple(x.shape)}")
    if method not in ("eigh", "newton_schulz", "cholesky"):
        raise ValueError(f"expected method 'eigh', 'newton_schulz' or 'cholesky', got {method!r}")
    if not 0 <= eps < 1:
        raise ValueError(f"expected eps in [0, 1), got {eps}")
    rows, channels = x.shape[-2:]
    groups = default_groups(rows, channels) if groups is None else groups
    if groups < 1 or channels % groups:
        raise ValueError(f"expected a number of groups that divides {channels} channels, got {groups}")
    if eps == 0 and rows <= channels // groups:
        raise ValueError(f"whitening groups of {channels // groups} channels at eps 0 needs more rows, got {rows}")
    if permutation is not None and permutation.shape not in (x.shape[-1:], x.shape[:-2] + x.shape[-1:]):
        raise ValueError(f"expected permutation ({channels},) or one per batch of rows, got {tuple(permutation.shape)}")
    return groups
