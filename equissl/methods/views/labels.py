"""Check of labels, for methods that learn from them."""

from __future__ import annotations

from torch import Tensor


class LabelCheck:
    """Refusal of labels outside the classes, in the first batch alone: looking makes the device wait.

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes, self.done = num_classes, False

    def __call__(self, labels: Tensor) -> None:
        """Raise ValueError for labels (B,) outside 0..num_classes - 1."""
        if self.done:
            return
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"expected labels in 0..{self.num_classes - 1} (num_classes={self.num_classes}), got {low}..{high}"
            )
        self.done = True
