"""Rows that SupReMix mixes, chosen by continuous labels (Wu et al., 2023; after the authors' released code)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.losses.label_spaces import SCALARS, LabelSpace
from equissl.losses.mixing import label_matched_weights


@dataclass(frozen=True)
class Mixing:
    """Number and composition of an anchor's mixtures.

    Attributes:
        negatives: hard negatives: the anchor mixed with this many drawn rows; 0 for none.
        positives: most mixtures of two rows around the anchor's label; 0 for none.
        alpha: whole numbers of the Beta distribution of the anchor's share in its hard negatives; the authors have
            (8, 2) and (5, 5) as well.
        window: largest distance from the anchor's label to the labels of the two rows.
        candidates: pairs drawn for each anchor to find its positives, where labels are not plain numbers.
        detach: no gradient through mixtures, as the authors have it; the anchor still gets its own.
        normalize: make mixtures unit vectors, which the authors do not.
    """

    negatives: int = 8
    positives: int = 8
    alpha: tuple[int, int] = (2, 8)
    window: float = float("inf")
    candidates: int = 64
    detach: bool = True
    normalize: bool = False

    def __post_init__(self) -> None:
        if min(self.negatives, self.positives) < 0 or not self.window > 0 or self.candidates < 1:
            raise ValueError(
                f"expected 0 or more mixtures, a positive window and candidates, got {self.negatives} and "
                f"{self.positives}, {self.window} and {self.candidates}"
            )
        if len(self.alpha) != 2 or any(int(a) != a or a < 1 for a in self.alpha):
            raise ValueError(f"expected alpha of two positive whole numbers, got {self.alpha}")


@dataclass(frozen=True)
class Mixtures:
    """Components of each anchor's mixtures; N rows, M mixtures of an anchor.

    Attributes:
        parts: (N, M, 2) positions of the two rows.
        share: (N, M) share of the first row; the second has the rest.
        valid: (N, M) whether the mixture exists.
        distance: (N, M) from the anchor's label to the mixture's.
    """

    parts: Tensor
    share: Tensor
    valid: Tensor
    distance: Tensor


def _others(rows: int, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """(rows, count) positions drawn uniformly from all rows but the own."""
    steps = torch.randint(1, rows, (rows, count), generator=generator).to(device)
    return (torch.arange(rows, device=device)[:, None] + steps) % rows


def _beta(shape: tuple[int, int], alpha: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """Sample the Beta distribution of two whole numbers: the a-th smallest of a + b - 1 uniform numbers."""
    a, b = alpha
    return torch.rand(*shape, a + b - 1, generator=generator, dtype=torch.float64).kthvalue(a, dim=2).values


def mix_negatives(
    labels: Tensor,
    space: LabelSpace,
    mixing: Mixing,
    tolerance: float = 0.0,
    generator: torch.Generator | None = None,
) -> Mixtures:
    """Mix each anchor with rows of another label, so hard negatives.

    Args:
        labels: (N, C) coordinates of the labels.
        space: space of the labels. The mixed label lies on the shortest path, at the partner's share of its length.
        mixing: how many; partners are drawn from all other rows, and those of the same label give no mixture.
        tolerance: labels this close are the same.
        generator: source of partners and shares, on the CPU.
    """
    rows, count = len(labels), mixing.negatives
    partner = _others(rows, count, generator, labels.device)
    share = _beta((rows, count), mixing.alpha, generator).to(labels)
    apart = space.distance(labels[:, None], labels[partner])
    own = torch.arange(rows, device=labels.device)[:, None].expand(-1, count)
    return Mixtures(torch.stack((own, partner), dim=-1), share, apart > tolerance, (1 - share) * apart)


def mix_positives(
    labels: Tensor,
    space: LabelSpace,
    mixing: Mixing,
    tolerance: float = 0.0,
    generator: torch.Generator | None = None,
) -> Mixtures:
    """Mix two rows on either side of the anchor's label, which is their mixed label.

    Of numbers, one label lies below and one above, with the shares ``(y_k - y_i) / (y_k - y_j)`` and the rest. In
    general, the shares of j and k are as the distances from the anchor to k and to j, and the label at that place of
    the shortest path from j to k is the anchor's, to within the tolerance. For rotations this is a geodesic between
    two poses that passes the anchor's; at tolerance 0 only turns about a single axis have any.

    Args:
        labels: (N, C) coordinates of the labels.
        space: space of the labels.
        mixing: how many. Numbers at tolerance 0 are drawn from all rows that fit; otherwise pairs are drawn from all
            rows, and the first ones that fit are kept.
        tolerance: labels this close are the same.
        generator: source of the pairs, on the CPU.
    """
    if space is SCALARS and labels.shape[1] == 1 and tolerance == 0:
        return _numbers_around(labels[:, 0], mixing, generator)
    rows, drawn = len(labels), max(mixing.candidates, mixing.positives)
    first, second = (_others(rows, drawn, generator, labels.device) for _ in range(2))
    anchor = labels[:, None]
    to_first, to_second = (space.distance(anchor, labels[partner]) for partner in (first, second))
    total = to_first + to_second
    share = torch.where(total > 0, to_second / torch.where(total > 0, total, torch.ones_like(total)), 0.5)
    off = space.distance(space.between(labels[first], labels[second], 1 - share), anchor)
    near = (to_first <= mixing.window) & (to_second <= mixing.window)
    # Distances are rounded: without the margin, nothing would fit at tolerance 0.
    valid = near & (to_first > tolerance) & (to_second > tolerance) & (off <= tolerance + 1e-9 * total)
    kept = valid.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : mixing.positives]
    first, second, share, valid, off = (x.gather(1, kept) for x in (first, second, share, valid, off))
    return Mixtures(torch.stack((first, second), dim=-1), share, valid, off)


def _numbers_around(labels: Tensor, mixing: Mixing, generator: torch.Generator | None) -> Mixtures:
    """Drawn from the stretches of the sorted labels below and above each label, with replacement."""
    ranked, order = labels.sort()
    below = torch.searchsorted(ranked, labels - mixing.window), torch.searchsorted(ranked, labels)
    above = (
        torch.searchsorted(ranked, labels, right=True),
        torch.searchsorted(ranked, labels + mixing.window, right=True),
    )
    shape = (len(labels), mixing.positives)
    parts = []
    for start, stop in (below, above):
        place = torch.rand(shape, generator=generator, dtype=torch.float64).to(labels) * (stop - start)[:, None]
        parts.append(order[(start[:, None] + place.long()).clamp(max=len(labels) - 1)])
    valid = ((below[1] > below[0]) & (above[1] > above[0]))[:, None].expand(shape)
    share = label_matched_weights(labels[:, None], labels[parts[0]], labels[parts[1]])
    return Mixtures(torch.stack(parts, dim=-1), torch.where(valid, share, 0.5), valid, torch.zeros_like(share))
