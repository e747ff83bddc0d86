"""The rendering benchmark at toy size, and what it says where Blender is missing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from equissl.bench import render
from equissl.bench.cycles_reference import psnr, render_with_cycles
from equissl.bench.render import bench_render
from equissl.renderers import RendererError
from equissl.renderers.blender import find_blender_python


@pytest.fixture
def no_blender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "find_blender_python", lambda python: None)


@pytest.fixture
def only_raycast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "RENDERERS", ("blender", "raycast"))


def test_rates_are_measured_and_the_missing_blender_is_explained(no_blender, only_raycast, lines: list[str]) -> None:
    pytest.importorskip("open3d")
    result = bench_render("procedural", images=30, size=32, workers=2)
    assert "not measured" in lines[0] and "pip install bpy==5.0.1" in lines[0]
    assert "images/s at 32x32" in lines[1] and "30 images of 2 meshes" in lines[1]
    assert result["raycast/32/images"] == 30
    rate = result["raycast/32/images_per_s"]
    assert rate > 1
    assert result["raycast/32/hours_3diebench"] == pytest.approx(2_623_600 / rate / 3600)
    assert "2,623,600 views would take" in lines[1]


def test_batches_are_measured_at_every_size(no_blender, lines: list[str]) -> None:
    pytest.importorskip("warp")
    result = bench_render("procedural", images=28, sizes=[16, 24], renderers=["warp"])
    assert len(lines) == 2
    for size in (16, 24):
        assert result[f"warp/{size}/images"] == 28 and result[f"warp/{size}/objects"] == 2
        assert result[f"warp/{size}/images_per_s"] > 0 and result[f"warp/{size}/resident_images_per_s"] > 0


def test_a_renderer_that_is_not_installed_is_named(
    no_blender, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    def missing(name: str, **options: object) -> None:
        raise RendererError(f"{name} needs a library; install it: pip install library")

    monkeypatch.setattr(render, "get_renderer", missing)
    assert bench_render("procedural", blender=False) == {}
    assert {line.partition(":")[0] for line in lines} == {"pytorch3d", "raycast", "warp"}
    assert all("not measured" in line and "pip install library" in line for line in lines)
    with pytest.raises(RendererError, match="warp needs a library"):
        bench_render("procedural", renderers=["warp"])


@pytest.mark.parametrize("asked", [{"blender": True}, {"renderers": ["blender"]}])
def test_asking_for_blender_without_it_is_an_error(no_blender, asked: dict) -> None:
    with pytest.raises(RendererError, match=r"pip install bpy==5\.0\.1"):
        bench_render("procedural", **asked)


@pytest.mark.skipif(find_blender_python() is None, reason="needs Blender's Python module")
def test_blender_is_timed_and_compared(lines: list[str]) -> None:
    pytest.importorskip("open3d")
    result = bench_render(
        "procedural",
        images=25,
        size=32,
        workers=1,
        renderers=["raycast", "blender"],
        blender_images=1,
        samples=4,
        fidelity=True,
    )
    assert result["blender/32/images_per_s"] == pytest.approx(1 / result["blender/32/s_per_image"])
    assert "raycast is" in lines[1]
    assert result["raycast/32/times_faster"] > 1 and result["raycast/32/psnr_median"] > 20


def test_size_and_sizes_exclude_each_other(no_blender) -> None:
    with pytest.raises(ValueError, match="size or sizes"):
        bench_render("procedural", size=32, sizes=[16], renderers=["raycast"])


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
