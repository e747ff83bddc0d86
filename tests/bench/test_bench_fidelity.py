"""The fidelity benchmark with a stand-in for Blender, and its image metric against scikit-image's definition."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equissl.bench import fidelity
from equissl.bench.cycles_reference import CyclesResult
from equissl.bench.fidelity import bench_fidelity, choose_scenes, contact_sheet, scene_key, ssim
from equissl.renderers import RendererError, get_renderer

SIZE = 24


@pytest.fixture
def fake_cycles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Draws with the ray caster, a level brighter, in two seconds an image; holds the number of scenes of each call."""
    pytest.importorskip("open3d", reason="the ray caster needs open3d-cpu")
    calls: list[int] = []

    def render(python: Path, scenes, size: int, samples: int) -> CyclesResult:
        calls.append(len(scenes))
        images = [
            get_renderer("raycast", quality="draft").render(mesh, [view], size)[0] + np.uint8(1)
            for mesh, view in scenes
        ]
        return CyclesResult(np.stack(images), [2.0] * len(scenes))

    monkeypatch.setattr(fidelity, "render_with_cycles", render)
    monkeypatch.setattr(fidelity, "find_blender_python", lambda python: Path("python"))
    return calls


def test_images_are_compared_kept_and_timed(fake_cycles: list[int], tmp_path: Path, lines: list[str]) -> None:
    options = {"meshes": "procedural", "scenes": 6, "size": SIZE, "qualities": ["draft"], "out": str(tmp_path)}
    result = bench_fidelity(**options, timed=2, images=4, workers=1)
    assert fake_cycles == [4, 2, 2, 2]  # four and two to keep, two before and after the timing
    assert result["draft/psnr_median"] == pytest.approx(20 * math.log10(255), abs=1e-6) == result["draft/psnr_min"]
    assert 0.99 < result["draft/ssim_min"] <= result["draft/ssim_median"] < 1
    assert result["cycles_s_per_image"] == 2
    assert result["draft/times_faster"] == pytest.approx(2 * result["draft/images_per_s"])
    rows = list(csv.DictReader((tmp_path / "scenes.csv").open()))
    assert len(rows) == 6 and {row["draft_psnr"] for row in rows} == {"48.13"}
    assert Image.open(tmp_path / "draft.png").size == (4 * 3 * 128, 2 * 128)
    assert any("PSNR median 48.13 dB" in line for line in lines)
    again = bench_fidelity(**options, timed=0)
    assert fake_cycles == [4, 2, 2, 2] and again["draft/psnr_min"] == result["draft/psnr_min"]
    assert "cycles_s_per_image" not in again


class _Source:
    """Twenty objects that are their own number."""

    def __len__(self) -> int:
        return 20

    def load(self, index: int) -> int:
        return index


def test_calls_with_other_scenes_share_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "get_mesh_source", lambda spec, num_objects: _Source())
    one, two = ([mesh for mesh, _ in choose_scenes("made up", 10, first, 0)] for first in (0, 10))
    assert sorted(one + two) == list(range(20)) and one != sorted(one)
    with pytest.raises(RendererError, match="at least 21 objects in 'made up', got 20"):
        choose_scenes("made up", 5, 16, 0)


def test_the_key_changes_with_the_scene() -> None:
    (mesh, view), (other, _) = choose_scenes("procedural", 2, 0, 0)
    key = scene_key(mesh, view, 64, 100)
    assert key == scene_key(mesh, view, 64, 100)
    painted = replace(mesh, materials=tuple(replace(m, alpha=0.5) for m in mesh.materials))
    changes = [
        (other, view, 64, 100),
        (painted, view, 64, 100),
        (mesh, replace(view, light_hue=0.123), 64, 100),
        (mesh, view, 32, 100),
        (mesh, view, 64, 50),
    ]
    assert len({scene_key(*change) for change in changes} | {key}) == 6


def test_without_blender_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "find_blender_python", lambda python: None)
    with pytest.raises(RendererError, match=r"pip install bpy==5\.0\.1"):
        bench_fidelity("procedural")


def test_similarity_is_the_textbook_formula() -> None:
    """One window, written out: an image of 7 x 7 pixels has one."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 7, 7, 1)).astype(np.uint8)
    x, y = a.ravel().astype(float), b.ravel().astype(float)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = np.cov(x, y)
    expected = (2 * x.mean() * y.mean() + c1) * (2 * covariance[0, 1] + c2)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    assert ssim(a, b) == pytest.approx(expected, rel=1e-9)
    assert ssim(a, a) == pytest.approx(1)


def test_similarity_agrees_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-30, 30, a.shape), 0, 255).astype(np.uint8)
    assert ssim(a, b) == pytest.approx(metrics.structural_similarity(a, b, channel_axis=-1), rel=1e-9)


def test_a_sheet_holds_ours_cycles_and_eight_times_the_difference() -> None:
    ours, cycles = np.full((1, 8, 8, 3), 100, np.uint8), np.full((1, 8, 8, 3), 103, np.uint8)
    sheet = np.asarray(contact_sheet(ours, cycles, thumbnail=16))
    assert sheet.shape == (16, 48, 3)
    assert [int(sheet[8, x, 0]) for x in (8, 24, 40)] == [100, 103, 24]
