"""Blender in its own process: options, determinism and errors; and the ray caster as a witness of its images."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.renderers import RENDERERS, RendererError, ViewParameters, get_renderer
from equissl.renderers.blender import PYTHON_VARIABLE, BlenderRenderer, find_blender_python

needs_blender = pytest.mark.skipif(
    find_blender_python() is None, reason=f"needs Blender's Python module: install bpy, or set {PYTHON_VARIABLE}"
)
VIEWS = [
    ViewParameters(floor_hue=0.1, light_theta=0.3, light_phi=1.0, light_hue=0.6),
    ViewParameters(translation=np.array([0.1, 0.0, -0.2]), floor_hue=0.7, light_hue=0.2),
]


@pytest.fixture(scope="module")
def renderer() -> BlenderRenderer:
    return get_renderer("blender", samples=8)


def test_it_is_registered_and_never_imported() -> None:
    assert "blender" in RENDERERS
    assert "bpy" not in sys.modules


@needs_blender
def test_open_floor_has_the_closed_form_radiance(renderer: BlenderRenderer, sphere) -> None:
    """ρ/π (1.5 + 0.05π) through the sRGB formula; spot light and object are out of sight of the image's corner."""
    options = {**renderer.options, "view_transform": "standard", "samples": 64}
    away = ViewParameters(translation=np.array([60.0, 0, 0]))
    image = get_renderer("blender", **options).render(sphere(0.05, 6), [away], 32)[0]
    values = [albedo * (1.5 + 0.05 * np.pi) / np.pi for albedo in (0.6, 0.24, 0.24)]
    expected = [255 * (1.055 * v ** (1 / 2.4) - 0.055) for v in values]
    np.testing.assert_allclose(image[:3, :3].reshape(-1, 3).mean(0), expected, atol=1.6)


@needs_blender
def test_images_agree_with_the_ray_caster(renderer: BlenderRenderer, lopsided: Mesh) -> None:
    pytest.importorskip("open3d")
    ours = get_renderer("raycast", antialias=2, spot_samples=4).render(lopsided, VIEWS, 48).astype(float)
    error = np.square(ours - renderer.render(lopsided, VIEWS, 48)).mean(axis=(1, 2, 3))
    assert (10 * np.log10(255**2 / error) > 29).all()


@needs_blender
def test_corner_colours_agree_with_the_ray_caster(renderer: BlenderRenderer, quad) -> None:
    pytest.importorskip("open3d")
    texture = np.kron(np.random.default_rng(0).integers(0, 256, (2, 2, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    for material in (Material(), Material(texture=texture)):
        plate = quad([-0.3, 0, 0], [0, -0.2, 0.2], material)
        plate = replace(plate, corner_colours=np.eye(4, 3, dtype=np.float32)[plate.faces])
        ours = get_renderer("raycast", antialias=2, spot_samples=4).render(plate, VIEWS[:1], 48).astype(float)
        error = np.square(ours - renderer.render(plate, VIEWS[:1], 48)).mean()
        assert 10 * np.log10(255**2 / error) > 29


@needs_blender
def test_a_view_is_the_same_in_any_order_call_and_process(renderer: BlenderRenderer, lopsided: Mesh, sphere) -> None:
    together = renderer.render(lopsided, VIEWS, 32)
    renderer.render(sphere(0.3, 6), VIEWS[:1], 32)
    np.testing.assert_array_equal(renderer.render(lopsided, VIEWS[::-1], 32)[::-1], together)
    other = pickle.loads(pickle.dumps(renderer))
    assert other.options == renderer.options and other.version == renderer.version
    np.testing.assert_array_equal(other.render(lopsided, VIEWS[1:], 32), together[1:])
    reseeded = get_renderer("blender", samples=8, seed=1).render(lopsided, VIEWS, 32)
    assert (reseeded != together).any()


@needs_blender
def test_transparency_shows_the_floor_behind(renderer: BlenderRenderer, make_mesh) -> None:
    plate = make_mesh([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0, 0, 0.4]], [[0, 1, 2]])
    clear = replace(plate, materials=(replace(plate.materials[0], alpha=0.0),))
    view = [ViewParameters(floor_hue=0.0, light_theta=1.5)]
    solid, gone = (renderer.render(mesh, view, 32)[0, 16, 16].astype(int) for mesh in (plate, clear))
    corner = renderer.render(clear, view, 32)[0, 0, 0].astype(int)
    assert abs(gone - corner).max() <= 8 and abs(solid - corner).max() > 20


@needs_blender
def test_a_killed_blender_is_reported_and_replaced(lopsided: Mesh) -> None:
    renderer = get_renderer("blender", samples=1)
    os.kill(renderer._process._process.pid, signal.SIGSTOP)
    os.kill(renderer._process._process.pid, signal.SIGKILL)
    with pytest.raises(RendererError, match=r"mesh 'test'.*failed with code -9"):
        renderer.render(lopsided, VIEWS[:1], 32)
    assert renderer.render(lopsided, VIEWS[:1], 32).shape == (1, 32, 32, 3)


@needs_blender
def test_a_python_error_in_the_worker_names_the_mesh_and_the_worker_lives_on(
    renderer: BlenderRenderer, lopsided: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("equissl.renderers.blender._constants", dict)
        with pytest.raises(RendererError, match=r"(?s)mesh 'test': Blender failed: .*KeyError"):
            renderer.render(lopsided, VIEWS[:1], 32)
    assert renderer.render(lopsided, VIEWS[:1], 32).shape == (1, 32, 32, 3)


def test_without_blender_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equissl.renderers.blender.find_blender_python", lambda python: None)
    with pytest.raises(RendererError, match=r"pip install bpy==5\.0\.1.*EQUISSL_BLENDER_PYTHON"):
        get_renderer("blender")


def test_an_interpreter_without_bpy_or_that_is_missing_is_named(tmp_path: Path) -> None:
    if find_blender_python() != Path(sys.executable):
        with pytest.raises(RendererError, match=r"(?s)failed with code 1.*No module named 'bpy'"):
            get_renderer("blender", python=sys.executable)
    with pytest.raises(RendererError, match=r"does not start.*pip install bpy"):
        get_renderer("blender", python=tmp_path / "none")


def test_the_interpreter_is_found_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, "/opt/blender/python")
    assert find_blender_python() == Path("/opt/blender/python")
    assert find_blender_python("/else") == Path("/else")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 4}, "has no option 'sample'.*did you mean 'samples'"),
        ({"samples": 0}, "expected samples in"),
        ({"view_transform": "agx"}, "expected view_transform in"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(RendererError, match=message):
        get_renderer("blender", **options)


@needs_blender
def test_broken_input_is_refused_before_blender_sees_it(renderer: BlenderRenderer, lopsided: Mesh, make_mesh) -> None:
    with pytest.raises(RendererError, match="at least 8 pixels, got 4"):
        renderer.render(lopsided, VIEWS, 4)
    with pytest.raises(RendererError, match="expected at least one view"):
        renderer.render(lopsided, [], 32)
    with pytest.raises(RendererError, match="expected at least one triangle"):
        renderer.render(make_mesh(np.zeros((0, 3)), np.zeros((0, 3))), VIEWS, 32)
