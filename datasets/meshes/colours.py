"""Colours of vertices and faces, as numbers of any type."""

from __future__ import annotations

import numpy as np

from equissl.util.srgb import srgb_decode


def linear_colours(values: np.ndarray, kind: np.dtype | None = None, warnings: list[str] | None = None) -> np.ndarray:
    """Decode sRGB numbers of any range to linear colours in [0, 1], float32.

    Integers have the range of their type, but wider ones that stay within a byte are bytes. Real numbers reach to 1; if
    one is above, programs have written bytes, and so has ``kind`` None, where the text says neither.

    Args:
        values: of any shape.
        kind: type that the file states; None for none.
        warnings: Grows by one sentence for real numbers above 1.
    """
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    highest = values.max(initial=0)
    if kind is not None and kind.kind in "iu":
        full = 255.0 if kind.itemsize > 1 and highest <= 255 else float(np.iinfo(kind).max)
    else:
        full = 255.0 if highest > 1 else 1.0
    if kind is not None and kind.kind == "f" and full > 1 and warnings is not None:
        warnings.append(f"colours reach {highest:g} where real numbers end at 1: they are taken for bytes")
    return srgb_decode((values / full).clip(0, 1)).astype(np.float32)
