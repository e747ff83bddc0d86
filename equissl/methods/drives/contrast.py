"""Contrast between matched sites of two views of each pair (Xie et al., PointContrast, ECCV 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from equissl.encoders.voxel import SweepFeatures
from equissl.losses import info_nce
from equissl.methods.base import widen
from equissl.methods.drives.base import pooled_mean
from equissl.methods.drives.heads import SiteHead
from equissl.methods.drives.matching import match_pairs

Stage = Literal["bev", "conv_out", "conv4", "conv3", "conv2", "conv1"]
STAGES = ("bev", "conv_out", "conv4", "conv3", "conv2", "conv1")


@dataclass(frozen=True)
class ContrastConfig:
    """Settings of the contrast of matched sites. A point's feature is that of the site that holds it.

    Attributes:
        stage: where features are taken: ``bev`` columns, or the 3D sites of one of the backbone's stages.
        projector: sizes of the layers on top of them.
        pairs: K, drawn from the matched sites of each pair; negatives are the other pairs of the same pair.
        fewest_pairs: pairs of sweeps with fewer have no contrast.
        deduplicate: a site stands in one pair at most; without, every point makes a pair.
        temperature: divides the cosines.
        reduction: over the matches of a pair: ``sum`` or ``mean``. Over pairs it is the mean of those with a contrast.
        symmetric: the mean of both directions instead of the first view's alone.
    """

    stage: Stage = "bev"
    projector: tuple[int, ...] = (256, 128)
    pairs: int = 2048
    fewest_pairs: int = 64
    deduplicate: bool = True
    temperature: float = 0.07
    reduction: Literal["sum", "mean"] = "sum"
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.stage not in STAGES or self.reduction not in ("sum", "mean"):
            raise ValueError(
                f"expected a stage of {', '.join(STAGES)} and reduction 'sum' or 'mean', got {self.stage!r} and "
                f"{self.reduction!r}"
            )
        if not 2 <= self.fewest_pairs <= self.pairs:
            raise ValueError(f"expected 2 <= fewest_pairs <= pairs, got {self.fewest_pairs} and {self.pairs}")


def site_contrast(
    projector: SiteHead,
    config: ContrastConfig,
    views: tuple[SweepFeatures, SweepFeatures],
    sites: tuple[Sequence[Tensor], Sequence[Tensor]],
    seeds: Sequence[int],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute InfoNCE of matched sites, of the global batch.

    Args:
        projector: projector of the features; its batch norm sees the drawn sites of one view at a time.
        config: see there.
        views: the two views.
        sites: for each view and pair the row (P,) of the stage's features of each point, -1 for none; point i of one
            view and point i of the other are the same.
        seeds: seeds of the draw of pairs, one for each pair.

    Returns:
        the loss, and the terms ``contrast``, ``contrast_top1`` (share of pairs that find each other; 1 / K by chance),
        ``pairs`` (matches of a pair with a contrast) and ``skipped`` (share of pairs of sweeps without).
    """
    drawn = match_pairs(*sites, config.pairs, seeds, config.deduplicate)
    contrasted = [pair for pair in drawn if len(pair[0]) >= config.fewest_pairs]
    sizes = [len(a) for a, _ in contrasted]
    x, y = (
        projector(view.stage(config.stage).features[_joined(rows, view)])
        for view, rows in zip(views, zip(*contrasted, strict=True) if contrasted else ((), ()), strict=True)
    )
    total, found = x.sum() + y.sum(), x.new_zeros(())  # without a pair: 0, and every parameter in the graph
    if contrasted:
        losses = [pair_contrast(a, b, config) for a, b in zip(x.split(sizes), y.split(sizes), strict=True)]
        total = torch.stack(losses).sum()
        found = torch.stack([_top1(a, b) for a, b in zip(x.split(sizes), y.split(sizes), strict=True)]).sum()
    loss = pooled_mean(widen(total), len(contrasted))
    counted = widen(found)
    return loss, {
        "contrast": loss.detach(),
        "contrast_top1": pooled_mean(counted, len(contrasted)),
        "pairs": pooled_mean(torch.full_like(counted, sum(sizes)), len(contrasted)),
        "skipped": pooled_mean(torch.full_like(counted, len(drawn) - len(contrasted)), len(drawn)),
    }


def pair_contrast(x: Tensor, y: Tensor, config: ContrastConfig) -> Tensor:
    """Compute InfoNCE of the matches (K, D) of one pair.

    Args:
        x: (K, D) embeddings of one sweep.
        y: (K, D) of the other, row by row the same places.
        config: settings of the contrast.
    """
    loss = info_nce(x, y, config.temperature)
    if config.symmetric:
        loss = (loss + info_nce(y, x, config.temperature)) / 2
    return loss * len(x) if config.reduction == "sum" else loss


def _joined(rows: Sequence[Tensor], view: SweepFeatures) -> Tensor:
    return torch.cat([view.bev.indices.new_zeros(0, dtype=torch.long), *rows])


@torch.no_grad()
def _top1(x: Tensor, y: Tensor) -> Tensor:
    """Share of rows (K, D) nearest, by cosine, to the row of the same number."""
    cosines = torch.nn.functional.normalize(widen(x), dim=1) @ torch.nn.functional.normalize(widen(y), dim=1).T
    return (cosines.argmax(1) == torch.arange(len(x), device=x.device)).to(cosines.dtype).mean()
