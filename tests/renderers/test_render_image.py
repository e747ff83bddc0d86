"""View transforms against golden points and the sRGB standard."""

from __future__ import annotations

import numpy as np
import pytest

from equissl.renderers.image import filmic, to_display
from equissl.util.srgb import srgb_decode, srgb_encode

# Measured on Blender 5.0.1.
FILMIC_POINTS = {
    0.001: 0.0162,
    0.01: 0.1011,
    0.05: 0.2731,
    0.1: 0.3883,
    0.18: 0.5002,
    0.3: 0.5996,
    0.5: 0.6950,
    1.0: 0.8072,
    2.0: 0.8923,
    4.0: 0.9494,
    16.0: 0.9997,
}


@pytest.mark.parametrize(("linear", "display"), FILMIC_POINTS.items())
def test_filmic_goes_through_blenders_values(linear: float, display: float) -> None:
    assert filmic(np.array(linear)) == pytest.approx(display, abs=0.13 / 255)  # the fit is good to 0.1 of a level


def test_filmic_rises_from_black_to_white() -> None:
    values = filmic(np.concatenate([[0.0], np.geomspace(1e-5, 60, 3000)]))
    assert values[0] < 1e-3 and values[-1] > 0.9996
    assert np.diff(values).min() > -2e-4  # the fit and the table meet within a twentieth of a level


def test_srgb_of_the_standard() -> None:
    np.testing.assert_allclose(
        srgb_encode(np.array([0, 0.0031308, 0.214041, 1.0, 3.0])), [0, 0.04045, 0.5, 1, 1], atol=1e-5
    )
    x = np.linspace(0, 1, 101)
    np.testing.assert_allclose(srgb_decode(srgb_encode(x)), x, atol=1e-7)


@pytest.mark.parametrize(("name", "curve"), [("filmic", filmic), ("standard", srgb_encode)])
def test_look_up_rounds_like_the_curve(name: str, curve) -> None:
    linear = np.concatenate([[0.0, 1e-30, 500.0], np.geomspace(1e-4, 20, 20000)]).astype(np.float32)
    exact = 255 * curve(linear)
    error = np.abs(to_display(linear, name).astype(float) - exact)
    assert error.max() <= 0.5 + 0.1  # rounding, plus a tenth of a level
    assert to_display(linear, name).dtype == np.uint8
