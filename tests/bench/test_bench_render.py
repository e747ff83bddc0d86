"""The rendering benchmark at toy size, and what it says where Blender is missing."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from equissl.bench.cycles_reference import psnr, render_with_cycles
from equissl.bench.render import bench_render
from equissl.renderers import RendererError

needs_no_blender = pytest.mark.skipif(importlib.util.find_spec("bpy") is not None, reason="bpy is installed here")


@needs_no_blender
def test_rates_are_measured_and_the_missing_blender_is_explained() -> None:
    pytest.importorskip("open3d")
    lines: list[str] = []
    result = bench_render("procedural", images=30, size=32, workers=2, say=lines.append)
    assert result["images"] == 30 and result["size"] == 32
    assert result["images_per_s"] == pytest.approx(2 * result["images_per_s_per_worker"])
    assert result["images_per_s"] > 1
    assert "images/s at 32x32" in lines[0] and "pip install bpy==5.0.1" in lines[1]


@needs_no_blender
def test_asking_for_blender_without_it_is_an_error() -> None:
    with pytest.raises(RendererError, match=r"pip install bpy==5\.0\.1"):
        bench_render("procedural", blender=True, say=lambda _: None)


def test_a_blender_that_fails_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no bpy here >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(RendererError, match=r"(?s)failed with code 3: no bpy here"):
        render_with_cycles(broken, [])


def test_psnr() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(image, image) == math.inf
    assert psnr(image, image + np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))
