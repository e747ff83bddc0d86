"""SepCLR: factors of a target set apart from those it shares with a background set (Louiset et al., ICLR 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.losses.potentials import log_mean_potential, log_potentials
from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.similarity import check_temperature
from equissl.losses.views import view_pairs


@dataclass(frozen=True)
class SepCLRWeights:
    """Weights beside those of the common alignment and the common uniformity, which are 1 and ``uniformity``.

    The authors' vary by data set: salient, information-less, joint entropy of 1000, 1000, 10 on CIFAR-MNIST and CelebA;
    1, 10, 10 on chest X-rays; 1, 100, 10 on fundus images; 100, 100, 10 on dSprites, whose factors are nearest to those
    of rendered objects and so are the defaults.

    Attributes:
        salient: weight of the salient part's alignment and, times ``uniformity``, of its uniformity.
        information_less: weight of the salient part's length on background samples.
        joint_entropy: weight of the term that keeps common and salient part independent.
        uniformity: weight of uniformity against alignment, in both parts.
    """

    salient: float = 100.0
    information_less: float = 100.0
    joint_entropy: float = 10.0
    uniformity: float = 2.0

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Compute the weighted sum of the terms of `sep_clr_terms`."""
        common = terms["common_alignment"] + self.uniformity * terms["common_uniformity"]
        salient = terms["salient_alignment"] + self.uniformity * terms["salient_uniformity"]
        rest = self.information_less * terms["information_less"] + self.joint_entropy * terms["joint_entropy"]
        return common + self.salient * salient + rest


@full_precision
def sep_clr_terms(common: Tensor, salient: Tensor, y: Tensor, temperature: float = 0.5) -> dict[str, Tensor]:
    """Compute the six terms of SepCLR, unweighted.

    Alignment is ``mean ||x - x'||² / (2 temperature)`` over pairs of views, uniformity the log of the mean Gaussian
    potential between different samples, within a view and averaged over views, of which both parts have one. The
    salient part's uniformity and the joint entropy see the salient vectors of background samples as 0.

    A batch of one class is no error: alignment has no target samples or ``information_less`` no background ones, and
    that term is 0; without target samples, so is the salient uniformity.

    Args:
        common: (B, V, Dc) common part, made unit vectors here.
        salient: (B, V, Ds) salient part, of any length.
        y: (B,) 1 or True for samples of the target set, 0 or False for the background.
        temperature: potentials are ``exp(-distance² / (2 temperature))``.

    Returns:
        Scalars common_alignment, common_uniformity, salient_alignment, salient_uniformity, information_less and
        joint_entropy. The last is the mean over samples of the log of the mean potential between whole vectors (own
        included), in [-log B, 0]: the negative of their joint entropy, so the lower, the more independent the parts.

    Raises:
        ValueError: for shapes that do not fit, B < 2, V < 2, or a temperature that is not positive.
    """
    _check(common, salient, y, temperature)
    t = 1 / (2 * temperature)
    common, target = unit_norm(common), y.bool()
    shown = torch.where(target[:, None, None], salient, torch.zeros_like(salient))
    joint = log_potentials(torch.cat((common, shown), dim=2).transpose(0, 1), t, own=True) - math.log(len(y))
    everyone, background = torch.ones_like(target), ~target
    return {
        "common_alignment": _alignment(common, everyone, t),
        "common_uniformity": _uniformity(common, t),
        "salient_alignment": _alignment(salient, target, t),
        "salient_uniformity": _uniformity(shown, t),
        "information_less": _mean(t * salient.square().sum(dim=2).mean(dim=1), background),
        "joint_entropy": joint.mean(),
    }


@full_precision
def sep_clr(
    common: Tensor, salient: Tensor, y: Tensor, weights: SepCLRWeights | None = None, temperature: float = 0.5
) -> Tensor:
    """Compute the weighted sum of the terms of `sep_clr_terms`.

    Args:
        common: (B, V, Dc) common part of the embeddings of the global batch, made unit vectors here.
        salient: (B, V, Ds) salient part, of any length.
        y: (B,) 1 or True for samples of the target set, 0 or False for the background.
        weights: weights of the terms; None takes the defaults of `SepCLRWeights`.
        temperature: potentials are ``exp(-distance² / (2 temperature))``.

    Returns:
        Scalar; 0 at collapse with a salient part of 0.

    Raises:
        ValueError: as `sep_clr_terms`.
    """
    return (weights or SepCLRWeights()).total(sep_clr_terms(common, salient, y, temperature))


def _check(common: Tensor, salient: Tensor, y: Tensor, temperature: float) -> None:
    check_temperature(temperature)
    shapes = f"got {tuple(common.shape)}, {tuple(salient.shape)} and {tuple(y.shape)}"
    if common.ndim != 3 or salient.ndim != 3 or common.shape[:2] != salient.shape[:2] or y.shape != common.shape[:1]:
        raise ValueError(f"expected common (B, V, Dc), salient (B, V, Ds) and y (B,), {shapes}")
    if min(*common.shape, *salient.shape) < 1 or min(common.shape[:2]) < 2:
        raise ValueError(f"SepCLR needs at least 2 samples, 2 views and 1 dimension of each part, {shapes}")


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen samples of (B,) values; 0 where there are none, without waiting for the device."""
    return torch.where(chosen, values, torch.zeros_like(values)).sum() / chosen.sum().clamp(min=1)


def _alignment(x: Tensor, chosen: Tensor, t: float) -> Tensor:
    squares = [(x[:, v] - x[:, w]).square().sum(dim=1) for v, w in view_pairs(x.shape[1])]
    return _mean(t * torch.stack(squares).mean(dim=0), chosen)


def _uniformity(x: Tensor, t: float) -> Tensor:
    return log_mean_potential(x.transpose(0, 1), t).mean()
