"""The terms that the quality presets add, on scenes whose light follows from geometry."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.renderers import RendererError, ViewParameters, get_renderer
from equissl.renderers.options import PRESETS
from equissl.util.srgb import srgb_decode

pytest.importorskip("open3d", reason="the ray caster needs open3d-cpu")

OPEN_FLOOR = 1.5 + 0.05 * math.pi
SUN_RADIANCE = 1.5 / (math.pi * math.sin(math.pi / 4) ** 2)
FAR = np.array([60.0, 0.0, 0.0])
# A blue spot light adds nothing to red and green.
SPOT_ASIDE = {"light_theta": 0.78, "light_phi": math.pi / 2, "light_hue": 2 / 3}


def render(mesh: Mesh, *views: ViewParameters, size: int = 64, **options) -> np.ndarray:
    return get_renderer("raycast", **options).render(mesh, views, size)


def linear(mesh: Mesh, view: ViewParameters, **options) -> np.ndarray:
    return srgb_decode(render(mesh, view, view_transform="standard", **options)[0] / 255.0)


@pytest.mark.parametrize("quality", ["fast", "soft", "reference"])
def test_open_floor_keeps_its_closed_form_radiance(quality: str, sphere) -> None:
    image = linear(sphere(0.05, 8), ViewParameters(translation=FAR), size=16, quality=quality)
    np.testing.assert_allclose(image[0, 0], np.array([0.6, 0.24, 0.24]) * OPEN_FLOOR / math.pi, rtol=0.012)


def test_the_spot_on_the_bare_floor_is_the_same_with_every_quality(sphere) -> None:
    views = [ViewParameters(translation=FAR, light_theta=t, light_phi=p) for t, p in ((0.1, 1.0), (0.5, 4.0))]
    dot = sphere(0.05, 8)
    expected = render(dot, *views, size=128, spot_samples=128).astype(int)
    for quality in ("fast", "soft", "reference"):
        off = np.abs(render(dot, *views, size=128, quality=quality).astype(int) - expected)
        assert off.max() <= 3, quality


@pytest.mark.parametrize("degrees", [0, 30, 60])
def test_gathering_over_an_unoccluded_plate_gives_the_closed_form(quad, degrees: int) -> None:
    """A small plate: sun and sky by the cap's integral, floor light ρ_f (1 - n_z)/2."""
    tilt = math.radians(degrees)
    plate = quad([-0.03, 0, 0], [0, -0.03 * math.cos(tilt), 0.03 * math.sin(tilt)])
    closed, gathered = (
        linear(plate, ViewParameters(**SPOT_ASIDE), size=256, quality="reference", specular=False, gather=k)[
            126:130, 126:130, :2
        ]
        for k in (0, 64)
    )
    np.testing.assert_allclose(gathered.mean((0, 1)), closed.mean((0, 1)), rtol=0.02)


def test_a_black_wall_over_half_of_the_sky_halves_the_light(quad) -> None:
    """A wide vertical black plate along the middle of a horizontal one takes one half of sun and sky away."""
    plate = quad([-0.3, 0, 0], [0, -0.3, 0])
    wall = np.array([[-40, -0.001, 0], [40, -0.001, 0], [40, -0.001, 40], [-40, -0.001, 40]])
    black = Material(diffuse=np.zeros(3, np.float32))
    blocked = replace(
        plate,
        vertices=np.concatenate([plate.vertices, wall]).astype(np.float32),
        faces=np.concatenate([plate.faces, [[4, 5, 6], [4, 6, 7]]]).astype(np.int32),
        face_material=np.array([0, 0, 1, 1], np.int32),
        corner_uv=None,
        materials=(*plate.materials, black),
    )
    options = {"quality": "reference", "specular": False, "gather": 64, "floor_nodes": 4, "floor_rays": 1, "size": 96}
    row = 50  # just before the wall
    open_sky, half = (linear(mesh, ViewParameters(**SPOT_ASIDE), **options)[row, 48, :2] for mesh in (plate, blocked))
    np.testing.assert_allclose(half / open_sky, 0.5, atol=0.03)


def test_the_object_shades_the_floor_as_its_solid_angle_says(quad) -> None:
    """A black disk-like plate over the floor: the sky it hides is integrated over its solid angle."""
    half, height = 0.3, 1.0  # above the floor
    black = Material(diffuse=np.zeros(3, np.float32))
    plate = quad([-half, 0, 0], [0, -half, 0], black)
    light = get_light(plate, nodes=41, rays=256)
    # cosine-weighted solid angle of the square from the point below its middle, by a fine sum
    x, y = np.meshgrid((np.arange(400) + 0.5) / 400 * 2 * half - half, (np.arange(400) + 0.5) / 400 * 2 * half - half)
    form = (height**2 / (x**2 + y**2 + height**2) ** 2).mean() * (2 * half) ** 2
    expected = OPEN_FLOOR - form * (0.05 + SUN_RADIANCE)
    assert light.irradiance[0, 0, 20, 20] == pytest.approx(expected, rel=0.01)
    np.testing.assert_allclose(light.irradiance[:, 0, 0, 0], OPEN_FLOOR, rtol=0.005)


def get_light(mesh: Mesh, nodes: int, rays: int):
    from equissl.renderers.camera import pixel_grid
    from equissl.renderers.floor import light_floor
    from equissl.renderers.scene import view_arrays
    from equissl.renderers.traced_mesh import TracedMesh
    from equissl.renderers.views import Views

    views = Views(view_arrays([ViewParameters(**SPOT_ASIDE)]), pixel_grid(32, 1))
    return light_floor(TracedMesh(mesh), views, nodes, rays, 1.5, 0.5)[0]


def test_transparent_plates_let_the_floor_through(quad) -> None:
    """Alpha α in front of the floor: α·plate + (1 - α)·floor, in linear light."""
    options = {"relight": True, "transparency": True, "antialias": 1}
    view = ViewParameters(floor_hue=1 / 3, **SPOT_ASIDE)

    def middle(alpha: float) -> np.ndarray:
        return linear(
            quad([-0.4, 0, 0], [0, -0.3, 0.3], Material(np.full(3, 0.8, np.float32), alpha=alpha)), view, **options
        )[32, 32, :2]

    floor, plate = np.array([0.24, 0.6]) * OPEN_FLOOR / math.pi, middle(1.0)
    for alpha in (0.0, 0.25, 0.6):
        np.testing.assert_allclose(middle(alpha), alpha * plate + (1 - alpha) * floor, rtol=0.02)
    ignored = linear(quad([-0.4, 0, 0], [0, -0.3, 0.3], Material(np.full(3, 0.8, np.float32), alpha=0.25)), view)[
        32, 32, :2
    ]
    np.testing.assert_allclose(ignored, plate, rtol=0.01)


def test_nine_layers_are_followed_to_the_eighth(make_mesh) -> None:
    from equissl.renderers.traced_mesh import TracedMesh

    heights = np.arange(9) * 0.02
    vertices = np.array([[x, y, z] for z in heights for x, y in ((-1, -1), (1, -1), (0, 1))])
    stack = make_mesh(vertices, np.arange(27).reshape(9, 3), Material(alpha=0.5))
    down = np.array([[0, 0, 1, 0, 0, -1]], np.float32)
    layers = list(TracedMesh(stack, transparency=True).layers(down))
    assert [float(share[0]) for _, share in layers] == [0.5**n for n in range(1, 9)]
    np.testing.assert_allclose([hits.distance[0] for hits, _ in layers], 1 - heights[::-1][:8], atol=1e-4)
    passed = TracedMesh(stack, transparency=True).transmittance(down[:, :3].T, down[:, 3:].T)
    assert passed[0] == pytest.approx(0.5**8)


def test_shadows_of_transparent_plates_are_lighter(quad) -> None:
    def shadow(alpha: float) -> float:
        plate = quad([-0.3, 0, 0], [0, -0.3, 0], Material(alpha=alpha))
        below = linear(plate, ViewParameters(light_hue=0.0), spot_samples=1, transparency=True, size=96)
        bare = linear(plate, ViewParameters(translation=FAR, light_hue=0.0), size=96)
        return float((bare[..., 0] - below[..., 0])[78, 48])  # on the floor in the plate's shadow

    assert shadow(1.0) > 0.05
    assert shadow(0.5) == pytest.approx(0.5 * shadow(1.0), rel=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": "draft", "size": 32},
        {"quality": "fast", "size": 33},
        {"quality": "soft", "size": 32},
        {"quality": "soft", "size": 96},
        {"quality": "reference", "size": 24, "floor_nodes": 16, "floor_rays": 8},
    ],
)
def test_an_image_depends_on_its_own_view_only(lopsided: Mesh, options: dict) -> None:
    glass = replace(lopsided, materials=(Material(np.full(3, 0.5, np.float32), specular=0.7, alpha=0.6),))
    rng = np.random.default_rng(5)
    views = [
        ViewParameters(r, rng.uniform(-0.1, 0.1, 3), *rng.random(2), *(6 * rng.random(1)), *rng.random(1))
        for r in Rotation.random(5, random_state=3).as_matrix()
    ]
    together = render(glass, *views, **options)
    np.testing.assert_array_equal(render(glass, *views[::-1], **options)[::-1], together)
    for view, image in zip(views[:3], together, strict=False):
        np.testing.assert_array_equal(render(glass, view, **options)[0], image)


def test_qualities_come_nearer_to_the_reference(lopsided: Mesh) -> None:
    rough = replace(lopsided, materials=(Material(np.full(3, 0.5, np.float32), specular=0.5, roughness=0.6),))
    views = [ViewParameters(r, light_theta=0.3) for r in Rotation.random(4, random_state=1).as_matrix()]
    images = {q: render(rough, *views, size=96, quality=q).astype(float) for q in PRESETS}
    error = [((images[q] - images["reference"]) ** 2).mean() for q in ("draft", "fast", "soft")]
    assert error[0] > error[1] > error[2]


def test_given_options_come_on_top_of_the_preset() -> None:
    options = get_renderer("raycast", quality="soft", gather=2, antialias=1).options
    assert (options["quality"], options["gather"], options["antialias"]) == ("soft", 2, 1)
    for name, value in PRESETS["soft"].items():
        assert name in ("gather", "antialias") or options[name] == value
    assert get_renderer("raycast", **options).options == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "best"}, r"quality in .*'soft'.*, got 'best'"),
        ({"gather": -1}, r"gather in 0\.\.4096, got -1"),
        ({"gather": 4}, "gather needs floor_nodes of at least 2, got 0"),
        ({"floor_nodes": 8}, r"floor_rays in 1\.\.4096, got 0"),
        ({"filter_levels": 9}, r"filter_levels in 0\.\.6, got 9"),
        ({"hit_light": 2.0}, r"hit_light in 0\.\.1, got 2\.0"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(RendererError, match=message):
        get_renderer("raycast", **options)
