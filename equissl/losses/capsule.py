"""Losses on capsule activations and pose matrices (EquiCaps, arXiv 2506.09895; CapsIE, arXiv 2405.14386)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.losses.precision import check_pair, full_precision, unit_norm


def _safe_log(x: Tensor, eps: float) -> Tensor:
    # log(max(x, eps)), but with the gradient 1 / max(x, eps) also below eps: an activation of zero can still be raised.
    return torch.log(x + (eps - x).clamp_min(0).detach())


@full_precision
def activation_cross_entropy(activations: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    """Compute ``mean_b -sum_k target_k log activations_k``; the gradient reaches both arguments.

    Args:
        activations: (B, K) distribution over K capsules per sample (non-negative, rows sum to 1).
        target: (B, K) distribution of the other view.
        eps: activations below it count as eps inside the logarithm.

    Returns:
        Scalar in [0, -log eps]; log K where the activations are uniform (as self-routing starts out), the entropy of
        the target where both agree, so 0 only for one-hot agreement.
    """
    check_pair("activations", activations, "target", target, ndim=2)
    return -(target * _safe_log(activations, eps)).sum(dim=1).mean()


@full_precision
def sharpen(activations: Tensor, temperature: float | Tensor, eps: float = 1e-8) -> Tensor:
    """``p^(1/T) / sum p^(1/T)``: a distribution with its peaks raised for T < 1 (Assran et al., PAWS, ICCV 2021).

    Args:
        activations: (B, K) distribution over K capsules per sample.
        temperature: T > 0.
        eps: activations below it count as eps.

    Returns:
        (B, K), rows sum to 1.
    """
    return torch.softmax(_safe_log(activations, eps) / temperature, dim=-1)


@full_precision
def sharpened_cross_entropy(
    activations: Tensor,
    target: Tensor,
    temperature: float | Tensor,
    target_temperature: float | Tensor,
    eps: float = 1e-8,
) -> Tensor:
    """Cross-entropy of `sharpen`-ed distributions, ``mean_b -sum_k s(target)_k log s(activations)_k``.

    In the logarithm throughout, since a power of 10 or 40 of an activation soon leaves float32's range.

    Args:
        activations: (B, K) distribution over K capsules per sample.
        target: (B, K) distribution of the other view; the gradient reaches it too.
        temperature: T > 0 that sharpens ``activations``.
        target_temperature: T > 0 that sharpens ``target``.
        eps: activations below it count as eps before they are sharpened.

    Returns:
        Scalar; log K where the activations are uniform.
    """
    check_pair("activations", activations, "target", target, ndim=2)
    log_probabilities = torch.log_softmax(_safe_log(activations, eps) / temperature, dim=1)
    return -(sharpen(target, target_temperature, eps) * log_probabilities).sum(dim=1).mean()


@full_precision
def mean_entropy_gap(activations: Tensor, eps: float = 1e-8) -> Tensor:
    """Compute ``log K - H(mean activation)``: how far the batch is from using all capsules equally.

    Args:
        activations: (B, K) activations of the global batch, or (K,) their mean (see `all_reduce_mean`).
        eps: means below it count as eps inside the logarithm.

    Returns:
        Scalar in [0, log K]: 0 where all capsules are used equally, log K where one capsule takes everything.
    """
    if activations.ndim not in (1, 2) or activations.numel() == 0:
        raise ValueError(f"expected activations of shape (B, K) or (K,), got {tuple(activations.shape)}")
    mean = activations if activations.ndim == 1 else activations.mean(dim=0)
    return math.log(mean.shape[0]) + (mean * _safe_log(mean, eps)).sum()


@full_precision
def normalize_poses(poses: Tensor) -> Tensor:
    """Pose matrices (..., n, n) divided by their Frobenius norm; zero matrices stay zero and get no gradient."""
    if poses.ndim < 2 or poses.shape[-1] != poses.shape[-2]:
        raise ValueError(f"expected poses of shape (..., n, n), got {tuple(poses.shape)}")
    return unit_norm(poses, dim=(-2, -1))


@full_precision
def pose_alignment(poses: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of Frobenius-normalised pose matrices over batch, capsules and entries.

    Args:
        poses: (B, K, n, n) pose matrices of the first view moved by the relative transformation, ``P @ G``.
        target: (B, K, n, n) pose matrices of the second view.

    Returns:
        Scalar in [0, 4 / n²], equal to ``(2 - 2 mean cosine) / n²``: 0 for poses equal up to positive scale,
        2 / n² for orthogonal ones.
    """
    check_pair("poses", poses, "target", target)
    return (normalize_poses(poses) - normalize_poses(target)).square().mean()
