"""Cross-entropy of picking keys by cosine similarity, with targets that are shared among several keys."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from equissl.losses.blocks import in_blocks


def soft_contrast(
    queries: Tensor, keys: Tensor, targets: Callable[[slice], Tensor], temperature: float | Tensor
) -> Tensor:
    """Compute the cross-entropy (A,) of each query's softmax over the keys with its targets.

    Args:
        queries: (A, D) unit vectors.
        keys: (N, D) unit vectors.
        targets: gives those (n, N) of a slice of n queries; large tables are built block by block, and again in the
            backward pass, so it must draw nothing.
        temperature: divides the cosines.
    """
    scaled = keys / temperature

    def block(rows: slice) -> Tensor:
        return -(targets(rows) * (queries[rows] @ scaled.T).log_softmax(dim=1)).sum(dim=1)

    return in_blocks(block, len(queries), 3 * len(keys))
