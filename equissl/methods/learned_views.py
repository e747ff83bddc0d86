"""Views of embeddings that small networks learn to make: the augmenters of MCLRec (Qin et al., SIGIR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equissl.losses import nt_xent, unit_norm
from equissl.losses.similarity_gap import similarity_gap
from equissl.methods.base import gather_together

VIEWS = 2


class Augmenter(nn.Sequential):
    """MLP from an embedding to a view of it, of unit length as in the release.

    Args:
        dim: of both.
        hidden: widths of the layers between, each with GELU.

    Raises:
        ValueError: for widths below 1.
    """

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        if hidden and min(hidden) < 1:
            raise ValueError(f"expected widths of at least 1, got {list(hidden)}")
        layers: list[nn.Module] = []
        before = dim
        for width in hidden:
            layers += [nn.Linear(before, width), nn.GELU()]
            before = width
        super().__init__(*layers, nn.Linear(before, dim))

    def forward(self, x: Tensor) -> Tensor:
        return unit_norm(super().forward(x))


class LearnedViews(nn.Module):
    """Two augmenters, and the contrast of what they make of two views h1, h2: z1 = w1(h1), z2 = w2(h2).

    con(z1, z2) + con(h1, z2) + con(h2, z1) + γ·R, with con NT-Xent of inner products at temperature 1, and the
    regulariser R of the same three pairs, see `similarity_gap`.

    Args:
        dim: of the embeddings.
        hidden: widths within an augmenter.
        gap: γ; 0 leaves the regulariser out.
        gap_by_row: True for the released form of the regulariser, False for the paper's.
        cosine: compare directions instead of inner products, whose size nothing bounds.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (32, 16),
        gap: float = 0.1,
        gap_by_row: bool = True,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        self.augmenters = nn.ModuleList(Augmenter(dim, hidden) for _ in range(VIEWS))
        self.gap, self.gap_by_row, self.cosine = gap, gap_by_row, cosine

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of the global batch, and its terms.

        Args:
            views: h1 and h2, each (B, D).
        """
        made = [augmenter(view) for augmenter, view in zip(self.augmenters, views, strict=True)]
        h1, h2, z1, z2 = self.gathered(*views, *made)
        pairs = ((z1, z2), (h1, z2), (h2, z1))
        loss = torch.stack([inner_nt_xent(x, y) for x, y in pairs]).sum()
        terms = {"learned_views": loss}
        if self.gap:
            terms["gap"] = torch.stack([similarity_gap(x, y, self.gap_by_row) for x, y in pairs]).sum()
            loss = loss + self.gap * terms["gap"]
        return loss, terms

    def gathered(self, *embeddings: Tensor) -> tuple[Tensor, ...]:
        """Gather embeddings (B, D) of the global batch, whose inner products are their similarities."""
        found = gather_together(*embeddings)
        return tuple(map(unit_norm, found)) if self.cosine else found


def inner_nt_xent(x: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute NT-Xent of two views by inner products.

    Args:
        x, y: (B, D) of the global batch.
        temperature: divides the inner products.
    """
    return nt_xent(torch.stack([x, y], 1), temperature, normalise=False)
