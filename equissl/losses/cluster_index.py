"""Members of clusters, as one sorted list with a start for each cluster, and random draws from them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class ClusterIndex:
    """Rows of each cluster; rows of label -1 belong to none.

    Sums run over the sorted list, so that the same labels give the same bits in every process, on GPUs as well, where
    scattered additions would not.

    Args:
        labels: (N,) cluster of each row, from -1 to K - 1.
        clusters: number of clusters K.

    Attributes:
        order: (N,) rows sorted by cluster, by position within one; rows of no cluster come first.
        starts: (K,) place of each cluster's first member in ``order``.
        counts: (K,) members.
    """

    def __init__(self, labels: Tensor, clusters: int) -> None:
        ranked, self.order = labels.sort(stable=True)
        self.labels = labels
        bounds = torch.searchsorted(ranked, torch.arange(clusters + 1, device=labels.device))
        self.starts, self.counts = bounds[:-1], bounds.diff()

    def means(self, rows: Tensor) -> Tensor:
        """Compute (K, D) mean of each cluster's rows (N, D); zeros for a cluster without members."""
        ends = torch.cat((self.starts[:1] * 0, self.starts, self.starts[-1:] + self.counts[-1:]))
        return embedding_bag(self.order, rows, ends, mode="mean", include_last_offset=True)[1:]

    def draw_mates(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw another random member of each row's cluster.

        Args:
            rows: (B,) rows that belong to clusters.
            generator: source of the choice.

        Returns:
            (B,) rows; the row itself where it is alone in its cluster.
        """
        own = self.labels[rows]
        start, others = self.starts[own], self.counts[own] - 1
        places = torch.empty_like(self.order)
        places[self.order] = torch.arange(len(places), device=places.device)
        drawn = _below(others, rows.shape, generator)
        drawn = drawn + (drawn >= places[rows] - start)  # skips the row itself
        return self.order[start + drawn.minimum(others)]

    def draw_others(self, rows: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw random members of other clusters, every one equally likely, with replacement.

        Args:
            rows: (B,) rows that belong to clusters.
            count: how many n to draw for each.
            generator: source of the choice.

        Returns:
            (B, n) rows.

        Raises:
            ValueError: where a row's cluster holds all there are.
        """
        own = self.labels[rows]
        start, size = self.starts[own, None], self.counts[own, None]
        first = self.starts[0]
        others = len(self.order) - first - size
        if (others < 1).any():
            raise ValueError(f"expected members of at least 2 clusters, got counts {self.counts.tolist()}")
        place = first + _below(others, (len(rows), count), generator)
        return self.order[place + size * (place >= start)]  # steps over the row's own cluster


def _below(bounds: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Random integers from 0 to ``bounds`` - 1; 0 where the bound is 0."""
    device = bounds.device if generator is None else generator.device
    share = torch.rand(shape, generator=generator, device=device, dtype=torch.float64).to(bounds.device)
    return (share * bounds).long()
