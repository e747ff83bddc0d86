"""Cross-entropy of the next item among all items of a catalogue."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from equissl.losses.blocks import in_blocks
from equissl.losses.precision import full_precision


@full_precision
def next_item_loss(states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross-entropy of each next item, its score being the inner product of state and item.

    SASRec (Kang and McAuley, arXiv 1808.09781) contrasts the true item with one sampled item; that all items are in
    the denominator is the form of later work, and what is evaluated: a full ranking.

    Args:
        states: (P, D) of the sequences.
        items: (N, D) embeddings of all items.
        targets: (P,) positions of the true items.

    Returns:
        (P,) losses; tables beyond the limit of all losses are built in blocks.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if states.ndim != 2 or items.ndim != 2 or states.shape[1] != items.shape[1] or targets.shape != states.shape[:1]:
        shapes = ", ".join(str(tuple(x.shape)) for x in (states, items, targets))
        raise ValueError(f"expected states (P, D), items (N, D) and targets (P,), got {shapes}")

    def block(rows: slice) -> Tensor:
        return F.cross_entropy(states[rows] @ items.T, targets[rows], reduction="none")

    return in_blocks(block, len(states), len(items))
