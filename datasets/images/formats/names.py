"""Names of classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def class_names(known: Sequence[str], labels: Tensor) -> tuple[str, ...]:
    """The known names where there is one for each label, else ``class_0``, ``class_1``, …

    Args:
        known: names in order.
        labels: (N,) classes.
    """
    count = int(labels.max()) + 1
    return tuple(known) if len(known) >= count else tuple(f"class_{i}" for i in range(count))
