"""Conversion of linear radiance to 8-bit display values."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from equissl.util.srgb import srgb_encode

# Blender's Filmic curve without look: display value against log2(scene-linear), measured on Blender 5.0.1, in half
# stops.
_FILMIC_LOG2 = np.arange(-10.0, 4.01, 0.5)
# fmt: off
_FILMIC_TABLE = np.array([
    .0159, .0220, .0297, .0394, .0515, .0666, .0853, .1082, .1360, .1694, .2090, .2551, .3076, .3662, .4297, .4967,
    .5642, .6310, .6950, .7542, .8072, .8534, .8923, .9241, .9494, .9688, .9832, .9932, .9997,
])
# fmt: on
_FILMIC_FIT = (0.715403, 0.374498, -0.0279922, -0.00323414, -0.000168486)
_FILMIC_FIT_RANGE = (-8.9, 2.0)  # log2 range in which the fit is within 0.1 of 1/255

VIEW_TRANSFORMS = ("filmic", "standard")


def filmic(linear: np.ndarray) -> np.ndarray:
    """Blender's Filmic view transform per channel, scene-linear to display value in [0, 1] (no further gamma)."""
    level = np.log2(np.maximum(np.asarray(linear, dtype=np.float64), 2.0**-14))
    exponent = sum(c * level**power for power, c in enumerate(_FILMIC_FIT))
    fitted = 1.201861 / (1.0 + np.exp(-exponent))
    # Outside the fit's range: the measured table, then a straight line through (0, 0) below it.
    tabled = np.interp(level, _FILMIC_LOG2, _FILMIC_TABLE)
    tabled = np.where(level < _FILMIC_LOG2[0], _FILMIC_TABLE[0] * 2.0 ** (level - _FILMIC_LOG2[0]), tabled)
    inside = (level >= _FILMIC_FIT_RANGE[0]) & (level <= _FILMIC_FIT_RANGE[1])
    return np.clip(np.where(inside, fitted, tabled), 0.0, 1.0)


# The 8-bit result is looked up by the upper bits of the float: sign, exponent and the first 11 bits of the mantissa.
# One step is at most 0.04 of 1/255, which makes the look-up as good as the curve and several times faster.
_SHIFT = 12
_LOWEST, _HIGHEST = 2.0**-14, 2.0**6


@lru_cache(maxsize=4)
def _display_table(view_transform: str) -> np.ndarray:
    bounds = np.array([_LOWEST, _HIGHEST], np.float32).view(np.int32) >> _SHIFT
    bits = (np.arange(bounds[0], bounds[1] + 1, dtype=np.int32) << _SHIFT) + (1 << (_SHIFT - 1))
    curve = {"filmic": filmic, "standard": srgb_encode}[view_transform]
    return np.rint(255.0 * curve(bits.view(np.float32))).astype(np.uint8)


def to_display(linear: np.ndarray, view_transform: str = "filmic") -> np.ndarray:
    """Convert scene-linear values to 8-bit display values of the same shape.

    Args:
        linear: float32 of any shape.
        view_transform: name of the curve.
    """
    bits = np.clip(linear, _LOWEST, _HIGHEST).view(np.int32) >> _SHIFT
    bits -= np.float32(_LOWEST).view(np.int32) >> _SHIFT
    return _display_table(view_transform).take(bits)
