"""Memory of a whole dataset's features with online clusters (Zhan et al., CVPR 2020; Xie et al., InterCLR, 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from equissl.losses.blocks import in_blocks
from equissl.losses.cluster_index import ClusterIndex
from equissl.losses.kmeans import halve, kmeans, nearest_centroid
from equissl.losses.precision import full_precision, unit_norm

Pool = Literal["hard", "semi-hard", "random", "semi-easy"]


class MemoryBank(nn.Module):
    """A unit feature and a pseudo-label for each sample of a dataset, and the clusters' centroids.

    It fills as samples are visited. After as many visits as there are samples, k-means groups those seen by then; from
    then on a sample takes the nearest centroid's label whenever it is visited. `initialise` starts it from features of
    the whole dataset instead. Nothing depends on a global generator or on the order of additions, so processes that
    hold the same gathered batches keep the same bank.

    Args:
        samples: size N of the dataset.
        dim: width D of the features.
        clusters: number of clusters K; None is one for 128 samples (10,000 for ImageNet in the paper), at least 2.
        momentum: share of the new feature in an update; 1 replaces the old one.
        recompute_every: updates between two computations of the centroids.
        min_members: at each update a cluster below this many is dissolved into the others, and the largest one split.
        seed: seed of the k-means.

    Raises:
        ValueError: for sizes or options out of range, or fewer samples than ``clusters * min_members``.
    """

    features: Tensor
    labels: Tensor
    seen: Tensor
    centroids: Tensor
    visits: Tensor
    updates: Tensor

    def __init__(
        self,
        samples: int,
        dim: int,
        clusters: int | None = None,
        momentum: float = 1.0,
        recompute_every: int = 10,
        min_members: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__()
        clusters = max(2, samples // 128) if clusters is None else clusters
        if samples < 1 or dim < 1 or not 0 < momentum <= 1 or recompute_every < 1:
            raise ValueError(
                "expected positive samples, dim and recompute_every and a momentum in (0, 1], got "
                f"{samples}, {dim}, {recompute_every} and {momentum}"
            )
        if clusters < 2 or min_members < 1 or clusters * min_members > samples:
            raise ValueError(
                f"expected at least 2 clusters of at least 1 member that {samples} samples can fill, got {clusters} "
                f"clusters of {min_members}"
            )
        self.momentum, self.recompute_every, self.min_members, self.seed = momentum, recompute_every, min_members, seed
        self.register_buffer("features", torch.zeros(samples, dim))
        self.register_buffer("labels", torch.full((samples,), -1))
        self.register_buffer("seen", torch.zeros(samples, dtype=torch.bool))
        self.register_buffer("centroids", torch.zeros(clusters, dim))
        self.register_buffer("visits", torch.zeros((), dtype=torch.long))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))  # since there are clusters

    @property
    def clustered(self) -> bool:
        """True once there are clusters."""
        return bool(self.updates > 0)

    def index(self) -> ClusterIndex:
        """Return the members of each cluster, as they are now."""
        return ClusterIndex(self.labels, len(self.centroids))

    def check_samples(self, samples: Tensor) -> None:
        """Raise ValueError for positions (B,) outside of the bank, which would end a CUDA process."""
        if len(samples) and not 0 <= samples.min() <= samples.max() < len(self.features):
            raise ValueError(
                f"expected positions below the bank's {len(self.features)} samples, got {int(samples.min())} to "
                f"{int(samples.max())}"
            )

    @torch.no_grad()
    @full_precision
    def initialise(self, features: Tensor) -> None:
        """Start from features (N, D) of all samples, by k-means.

        Raises:
            ValueError: for another shape, NaN or infinite values.
        """
        if features.shape != self.features.shape or not features.isfinite().all():
            raise ValueError(
                f"expected finite features of shape {tuple(self.features.shape)}, got {tuple(features.shape)} with "
                f"{int((~features.isfinite()).sum())} NaN or infinite values"
            )
        self.features.copy_(unit_norm(features))
        self.seen.fill_(True)
        self._cluster()

    @torch.no_grad()
    @full_precision
    def update(self, samples: Tensor, embeddings: Tensor) -> None:
        """Remember new embeddings, and give their samples new labels once there are clusters.

        Of a sample that occurs twice the last embedding counts. NaN and infinite embeddings are left out.

        Args:
            samples: (B,) positions in the dataset, of the global batch.
            embeddings: (B, D) of the samples, of any length.

        Raises:
            ValueError: for other shapes, positions outside of the dataset, or a dataset of which too few samples come
                up in N visits to fill the clusters.
        """
        self._check(samples, embeddings)
        kept = self._remember(samples, unit_norm(embeddings).to(self.features))
        self.visits += len(samples)
        if not self.clustered:
            if self.visits >= len(self.features):
                self._cluster()
            return
        labels = nearest_centroid(self.features[samples], self.centroids)
        self.labels[samples] = torch.where(kept, labels, self.labels[samples])
        self.updates += 1
        if self.updates % self.recompute_every == 0:
            index = self.index()
            self.centroids.copy_(
                torch.where(index.counts[:, None] > 0, unit_norm(index.means(self.features)), self.centroids)
            )
        self._keep_clusters_filled()

    def _check(self, samples: Tensor, embeddings: Tensor) -> None:
        if samples.ndim != 1 or embeddings.shape != (len(samples), self.features.shape[1]):
            raise ValueError(
                f"expected samples (B,) and embeddings (B, {self.features.shape[1]}), got {tuple(samples.shape)} and "
                f"{tuple(embeddings.shape)}"
            )
        self.check_samples(samples)

    def _remember(self, samples: Tensor, rows: Tensor) -> Tensor:
        """Write features; return (B,) True where a finite one has come for the sample."""
        places = torch.arange(1, len(samples) + 1, device=rows.device) * rows.isfinite().all(dim=1)
        last = ((samples[:, None] == samples) * places).amax(dim=1)  # 0 where there is none
        kept = last > 0
        rows, old, seen = rows[(last - 1).clamp(min=0)], self.features[samples], self.seen[samples]
        share = torch.where(seen, self.momentum, 1.0).to(rows)[:, None]
        # A sample that occurs twice is written twice with one value, so the order does not matter.
        self.features[samples] = torch.where(kept[:, None], unit_norm(old.lerp(rows, share)), old)
        self.seen[samples] = seen | kept
        return kept

    def _cluster(self) -> None:
        known = self.seen.nonzero()[:, 0]
        fewest = len(self.centroids) * self.min_members
        if len(known) < fewest:
            raise ValueError(
                f"{len(self.centroids)} clusters of {self.min_members} need {fewest} samples, got {len(known)} "
                f"different ones in {int(self.visits)} visits: is {len(self.features)} the dataset's size, and "
                "are embeddings finite?"
            )
        generator = torch.Generator(self.features.device).manual_seed(self.seed)
        centroids, labels = kmeans(self.features[known], len(self.centroids), spherical=True, generator=generator)
        self.centroids.copy_(centroids)
        self.labels[known] = labels
        self.updates += 1
        self._keep_clusters_filled()

    def _keep_clusters_filled(self) -> None:
        small = self.index().counts < self.min_members
        if not small.any():
            return
        large = (~small).nonzero()[:, 0]  # not empty: the labelled samples could fill all clusters
        moved = ((self.labels >= 0) & small[self.labels]).nonzero()[:, 0]
        self.labels[moved] = large[nearest_centroid(self.features[moved], self.centroids[large])]
        for cluster in small.nonzero()[:, 0]:
            self._split_largest(cluster)

    def _split_largest(self, free: Tensor) -> None:
        counts = torch.bincount(self.labels[self.labels >= 0], minlength=len(self.centroids))
        largest = counts.argmax()
        members = (self.labels == largest).nonzero()[:, 0]
        part = halve(self.features[members])
        for cluster, rows in ((largest, members[part == 0]), (free, members[part == 1])):
            self.labels[rows] = cluster
            self.centroids[cluster] = unit_norm(self.features[rows].mean(dim=0))

    @torch.no_grad()
    @full_precision
    def draw_negatives(
        self,
        queries: Tensor,
        samples: Tensor,
        count: int,
        kind: Pool = "semi-hard",
        pool: int | None = None,
        generator: torch.Generator | None = None,
        index: ClusterIndex | None = None,
    ) -> Tensor:
        """Draw members of other clusters for each query, from a pool of its own.

        Pools hold only members of other clusters; where there are fewer than the pool asks for, random ones (with
        replacement) stand in.

        Args:
            queries: (B, D) embeddings.
            samples: (B,) positions of the queries' samples, which have labels.
            count: how many n to draw for each.
            kind: ``"hard"``: the n nearest; ``"semi-hard"``: random ones of the ``pool`` nearest; ``"random"``: of all;
                ``"semi-easy"``: of the ``pool`` farthest.
            pool: size of the pool of the two kinds that have one, from n to N.
            generator: source of the choice.
            index: the clusters' members, where they are at hand.

        Returns:
            (B, n) positions in the bank.

        Raises:
            ValueError: for an unknown kind, or a count or pool out of range.
        """
        if kind not in ("hard", "semi-hard", "random", "semi-easy"):
            raise ValueError(f"expected 'hard', 'semi-hard', 'random' or 'semi-easy' negatives, got {kind!r}")
        size = count if kind in ("hard", "random") or pool is None else pool
        if not 1 <= count <= size <= len(self.features):
            raise ValueError(f"expected 1 <= count <= pool <= {len(self.features)}, got {count} and {size}")
        others = (self.index() if index is None else index).draw_others(samples, count, generator)
        if kind == "random":
            return others
        unit, own = unit_norm(queries).to(self.features), self.labels[samples, None]
        device = unit.device if generator is None else generator.device
        ranks = None
        if size > count:
            ranks = torch.rand(len(unit), size, generator=generator, device=device).to(unit.device)
            ranks = ranks.topk(count, dim=1).indices

        def block(rows: slice) -> Tensor:
            nearness = unit[rows] @ self.features.T
            nearness = -nearness if kind == "semi-easy" else nearness
            nearness.masked_fill_((self.labels == own[rows]) | (self.labels < 0), float("-inf"))
            values, places = nearness.topk(size, dim=1)
            if ranks is not None:
                values, places = values.gather(1, ranks[rows]), places.gather(1, ranks[rows])
            return torch.where(values.isneginf(), others[rows], places)

        return in_blocks(block, len(unit), len(self.features) + size)

    def extra_repr(self) -> str:
        return f"samples={len(self.features)}, dim={self.features.shape[1]}, clusters={len(self.centroids)}"
