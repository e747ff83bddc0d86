"""Losses of lightly on the same embeddings and with the same options as ours, to compare with."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

INSTALL_LIGHTLY = "lightly is not installed: no ratios (pip install lightly)"

Rival = Callable[[Sequence[Tensor]], Tensor]


def has_lightly() -> bool:
    return importlib.util.find_spec("lightly") is not None


def lightly_rival(name: str, batch: int, views: int, dim: int, queue: int) -> Rival | None:
    """Return lightly's version of an objective; None where it has none for that many views.

    Args:
        name: of the objective.
        batch: B.
        views: V; all but SwAV and W-MSE are defined for 2 there.
        dim: D.
        queue: length of MoCo's memory.

    Returns:
        V tensors (B, D) to the loss.

    Raises:
        ImportError: where lightly is missing.
    """
    from lightly import loss
    from lightly.loss.hypersphere_loss import HypersphereLoss

    any_views: dict[str, Callable[[], Rival]] = {
        "swav": lambda: _swav(loss.SwaVLoss()),
        "w_mse": lambda: _w_mse(loss.WMSELoss(embedding_dim=dim, w_size=batch, num_samples=views)),
    }
    two_views: dict[str, Callable[[], Rival]] = {
        "align_uniform": lambda: _pair(HypersphereLoss(t=2.0, lam=1.0, alpha=2.0)),
        "barlow_twins": lambda: _pair(loss.BarlowTwinsLoss(lambda_param=0.0051)),
        "byol": lambda: _cosine(loss.NegativeCosineSimilarity(), 4, 4),
        "dcl": lambda: _pair(loss.DCLLoss(temperature=0.1)),
        "dclw": lambda: _pair(loss.DCLWLoss(temperature=0.1, sigma=0.5)),
        "moco": lambda: _pair(loss.NTXentLoss(temperature=0.2, memory_bank_size=(queue, dim))),
        "nt_xent": lambda: _pair(loss.NTXentLoss(temperature=0.1)),
        "simsiam": lambda: _cosine(loss.NegativeCosineSimilarity(), 1, 0),
        "vicreg": lambda: _pair(loss.VICRegLoss()),
    }
    if name == "w_mse" and batch < 2 * dim:
        return None  # it insists on chunks of twice the dimension
    found = any_views.get(name) or (two_views.get(name) if views == 2 else None)
    return found() if found else None


def _pair(criterion: Callable[[Tensor, Tensor], Tensor]) -> Rival:
    return lambda views: criterion(views[0], views[1])


def _cosine(criterion: Callable[[Tensor, Tensor], Tensor], scale: float, shift: float) -> Rival:
    """Compute both orders against stopped targets, which are the embeddings themselves, as for ours."""

    def rival(views: Sequence[Tensor]) -> Tensor:
        first, second = views
        value = criterion(first, second.detach()) + criterion(second, first.detach())
        return shift + scale * value / 2

    return rival


def _swav(criterion: Callable[[list[Tensor], list[Tensor]], Tensor]) -> Rival:
    return lambda views: criterion(list(views[:2]), list(views[2:])).squeeze()


def _w_mse(criterion: Callable[[Tensor], Tensor]) -> Rival:
    return lambda views: criterion(torch.cat(tuple(views)))
