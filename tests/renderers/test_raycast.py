"""Whole images of simple bodies, whose pixels follow from the scene's geometry and light."""

from __future__ import annotations

import gc
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.renderers import RendererError, ViewParameters, get_renderer, scene
from equissl.renderers.raycast import RaycastRenderer
from equissl.util.srgb import srgb_decode

pytest.importorskip("open3d", reason="the ray caster needs open3d-cpu")

CAMERA = np.array([0, 2.5 * math.sqrt(0.5), 2.5 * math.sqrt(0.5)])
FOCAL = 0.5 / math.tan(0.691111 / 2)  # in image widths
OPEN_FLOOR = 1.5 + 0.05 * math.pi
FAR = np.array([60.0, 0.0, 0.0])  # out of sight, its shadow too


def to_pixel(point, size: int) -> tuple[float, float]:
    """Row and column of a world point: a pinhole camera written out from the scene's description."""
    x, y, z = np.asarray(point, float) - CAMERA
    depth = -(y + z) * math.sqrt(0.5)
    up = (z - y) * math.sqrt(0.5)
    return (0.5 - FOCAL * up / depth) * size - 0.5, (0.5 - FOCAL * x / depth) * size - 0.5


def render(mesh: Mesh, *views: ViewParameters, size: int = 96, **options) -> np.ndarray:
    return get_renderer("raycast", **options).render(mesh, views, size)


def irradiance(image: np.ndarray, floor: tuple[float, float, float]) -> np.ndarray:
    """Floor irradiance per channel, recovered from an image with the standard view transform."""
    return srgb_decode(image / 255.0) * math.pi / np.array(floor)


def changed(image: np.ndarray, other: np.ndarray, threshold: int = 3) -> np.ndarray:
    return np.abs(image.astype(int) - other).max(-1) > threshold


@pytest.fixture(scope="module")
def speck(sphere) -> Mesh:
    return sphere(0.05)


def test_open_floor_has_the_closed_form_radiance(speck: Mesh) -> None:
    """ρ/π (1.5 + 0.05π), golden 8-bit values from the sRGB formula."""
    image = render(speck, ViewParameters(translation=FAR, floor_hue=0.0, light_phi=0.0), view_transform="standard")[0]
    values = [0.6 * OPEN_FLOOR / math.pi, 0.24 * OPEN_FLOOR / math.pi]
    expected = [round(255 * (1.055 * v ** (1 / 2.4) - 0.055)) for v in values]
    assert image[0, 0].tolist() == [expected[0], expected[1], expected[1]]


def spot_profile(size: int, dy: float, dx: float) -> np.ndarray:
    """Irradiance by a white spot light overhead at height 5 above the floor, at a place (dy, dx) of every pixel."""
    row, column = np.meshgrid(np.arange(size) + dy, np.arange(size) + dx, indexing="ij")
    across = -((column + 0.5) / size - 0.5) / FOCAL
    upwards = -((row + 0.5) / size - 0.5) / FOCAL
    ray = np.stack([across, -math.sqrt(0.5) * (1 + upwards), math.sqrt(0.5) * (upwards - 1)], -1)
    floor = CAMERA + ray * ((-1 - CAMERA[2]) / ray[..., 2:])
    radius2 = (floor[..., :2] ** 2).sum(-1)
    cosine = 5 / np.sqrt(25 + radius2)
    edge = math.cos(math.pi / 16)
    t = np.clip((cosine - edge) / (0.15 * (1 - edge)), 0, 1)
    return 500 / (4 * math.pi) * t * t * (3 - 2 * t) * cosine / (25 + radius2)


@pytest.mark.parametrize(("options", "places"), [({"quality": "draft"}, [0.0]), ({}, [-0.41, 0.41])])
def test_spot_on_the_floor_has_the_closed_form_profile(speck: Mesh, options: dict, places: list[float]) -> None:
    """E = I a(θ) cos θ / d², in its own colour only; the mean over the samples of a pixel."""
    size = 96
    view = ViewParameters(translation=FAR, floor_hue=1 / 3, light_hue=0.0)
    image = render(speck, view, size=size, view_transform="standard", **options)[0]
    got = irradiance(image, (0.24, 0.6, 0.24))
    spot = np.mean([spot_profile(size, dy, dx) for dy in places for dx in places], axis=0)
    assert spot.max() == pytest.approx(1.59, abs=0.01) and (spot == 0).mean() > 0.3
    np.testing.assert_allclose(got[..., 0], OPEN_FLOOR + 0.8 * spot, atol=0.045)  # one 8-bit level of red
    np.testing.assert_allclose(got[..., 1], OPEN_FLOOR, atol=0.02)


@pytest.mark.parametrize(
    "point", [(0, 0, 0), (0.5, 0, 0), (-0.5, 0.2, 0), (0, -0.5, 0), (0.2, 0.3, 0.5), (0.3, 0, -0.6)]
)
def test_objects_appear_where_a_pinhole_camera_puts_them(speck: Mesh, point) -> None:
    size = 128
    # the spot light shines elsewhere, so the object is the only change
    there, away = (ViewParameters(translation=np.array(p, float), light_theta=0.78) for p in (point, FAR))
    with_object, without = render(speck, there, away, size=size, antialias=2)
    mask = changed(with_object, without)
    row, column = to_pixel(point, size)
    shadow = np.abs(np.indices(mask.shape) - np.array([row, column])[:, None, None]).max(0) > 8
    rows, columns = np.nonzero(mask & ~shadow)
    assert (rows.mean(), columns.mean()) == (pytest.approx(row, abs=0.5), pytest.approx(column, abs=0.5))


@pytest.mark.parametrize(("x", "visible"), [(0.88, True), (-0.88, True), (0.96, False), (-0.96, False)])
def test_half_width_at_the_origin_is_nine_tenths(speck: Mesh, x: float, visible: bool) -> None:
    views = [ViewParameters(translation=np.array(t, float), light_theta=0.78) for t in ((x, 0, 0), FAR)]
    with_object, without = render(speck, *views, size=128)
    seen = changed(with_object, without)[60:68]
    assert seen.any() == visible
    if visible:
        assert np.nonzero(seen)[1].mean() > 64 if x < 0 else np.nonzero(seen)[1].mean() < 64


def test_sphere_covers_the_right_area(sphere) -> None:
    size, radius = 200, 0.4
    views = [ViewParameters(translation=t, light_theta=0.7, light_phi=3 * math.pi / 2) for t in (np.zeros(3), FAR)]
    # the middles of pixels: with more samples the rim counts, too
    with_object, without = render(sphere(radius, 96), *views, size=size, quality="draft")
    row, column = np.indices((size, size))
    near = np.hypot(row - 99.5, column - 99.5) < 70  # leaves its shadow out
    expected = math.pi * (FOCAL * size * math.tan(math.asin(radius / 2.5))) ** 2
    assert (changed(with_object, without, 1) & near).sum() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("theta", "phi"), [(0.0, 0.0), (0.25, 2.0), (0.35, 4.4)])
def test_shadow_falls_on_the_line_through_spot_and_object(speck: Mesh, theta: float, phi: float) -> None:
    size = 160
    centre = np.array([0.1, -0.1, 0.1])
    light = 4 * np.array([math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)])
    floor = centre + (centre - light) * ((-1 - centre[2]) / (centre[2] - light[2]))
    views = [ViewParameters(translation=t, light_theta=theta, light_phi=phi) for t in (centre, FAR)]
    with_object, without = render(speck, *views, size=size, antialias=2)
    darker = (without.astype(int) - with_object).max(-1) > 4
    row, column = to_pixel(floor, size)
    window = np.abs(np.indices(darker.shape) - np.array([row, column])[:, None, None]).max(0) < 14
    rows, columns = np.nonzero(darker & window)
    assert rows.size > 20
    assert (rows.mean(), columns.mean()) == (pytest.approx(row, abs=0.7), pytest.approx(column, abs=0.7))
    # inside the shadow only sun and sky are left
    np.testing.assert_allclose(with_object[round(row), round(column)], without[0, 0], atol=1)


@pytest.mark.parametrize("degrees", [0, 20, 40])
def test_tilted_plate_has_the_closed_form_radiance(quad, degrees: int) -> None:
    """Sun 1.5 cos τ, sky (1 + n_z)/2, and floor light ρ (1 - n_z)/2."""
    tilt = math.radians(degrees)
    plate = quad([-0.3, 0, 0], [0, -0.3 * math.cos(tilt), 0.3 * math.sin(tilt)])
    view = ViewParameters(floor_hue=0.0, light_hue=2 / 3)
    pixel = render(plate, view, view_transform="standard")[0, 48, 48]
    n_z = math.cos(tilt)
    for channel, floor in ((0, 0.6), (1, 0.24)):  # a blue spot light adds nothing to red and green
        light = 1.5 * n_z + 0.05 * math.pi * (1 + n_z) / 2 + floor * OPEN_FLOOR * (1 - n_z) / 2
        assert srgb_decode(pixel[channel] / 255) == pytest.approx(0.5 / math.pi * light, rel=0.012)


def test_plate_is_lit_by_the_spot(quad) -> None:
    plate = quad([-0.3, 0, 0], [0, -0.3, 0])
    pixel = render(plate, ViewParameters(light_hue=0.0), view_transform="standard")[0, 48, 48]
    lit = 0.5 / math.pi * (OPEN_FLOOR + 0.8 * 500 / (4 * math.pi) / 16)
    assert srgb_decode(pixel[0] / 255) == pytest.approx(lit, rel=0.012)
    assert srgb_decode(pixel[1] / 255) == pytest.approx(0.5 / math.pi * OPEN_FLOOR, rel=0.012)


def test_rotating_the_view_is_rotating_the_mesh(lopsided: Mesh) -> None:
    rotation = Rotation.from_euler("xyz", [0.7, -0.4, 1.2]).as_matrix()
    turned = replace(lopsided, vertices=(lopsided.vertices @ rotation.T).astype(np.float32))
    one = render(lopsided, ViewParameters(rotation=rotation, light_theta=0.2), antialias=2)[0].astype(int)
    other = render(turned, ViewParameters(light_theta=0.2), antialias=2)[0]
    assert (np.abs(one - other) > 2).mean() < 2e-3
    assert (changed(one, render(lopsided, ViewParameters(light_theta=0.2), antialias=2)[0])).mean() > 0.02


def test_texture_stands_upright_and_is_not_mirrored(quad) -> None:
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :32], texture[:32, 32:], texture[32:, :32] = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    # as the camera sees it: right is -x, up is (0, -1, 1)
    plate = quad([-0.4, 0, 0], [0, -0.28, 0.28], Material(texture=texture))
    image = render(plate, ViewParameters(light_theta=0.5, light_phi=1.5 * math.pi), size=64)[0].astype(int)
    assert image[24, 24].argmax() == 0 and image[24, 24, 0] > 2 * image[24, 24, 1:].max()
    assert image[24, 40].argmax() == 1 and image[40, 24].argmax() == 2
    assert image[40, 40].max() < 30


@pytest.mark.parametrize("textured", [False, True])
@pytest.mark.parametrize("quality", ["draft", "soft"])
def test_corner_colours_multiply_the_albedo(quad, textured: bool, quality: str) -> None:
    """In the middle of a level plate it is the mean of the corners' colours times the albedo; the spot is blue."""
    material = (
        Material(texture=np.full((2, 2, 3), 188, np.uint8))
        if textured
        else Material(diffuse=np.full(3, 0.5, np.float32))
    )
    plate = quad([-0.3, 0, 0], [0, -0.3, 0], material)
    colours = np.array([[1, 0.1, 0], [0.9, 0.6, 0], [0.2, 0.5, 0], [0.3, 0, 0]], np.float32)
    plate = replace(plate, corner_colours=colours[plate.faces])
    image = render(plate, ViewParameters(light_hue=2 / 3), view_transform="standard", quality=quality)[0]
    albedo = srgb_decode(188 / 255) if textured else 0.5
    middle = srgb_decode(image[47:49, 47:49] / 255).mean((0, 1))
    for channel, colour in ((0, 0.6), (1, 0.3)):
        assert middle[channel] == pytest.approx(albedo * colour / math.pi * OPEN_FLOOR, rel=0.015)


@pytest.mark.parametrize("with_normals", [False, True])
def test_both_sides_of_a_surface_look_the_same(sphere, with_normals: bool) -> None:
    ball = sphere(0.4, 12)
    if not with_normals:
        ball = replace(ball, corner_normals=None)
    inside_out = replace(
        ball,
        faces=np.ascontiguousarray(ball.faces[:, ::-1]),
        corner_normals=None if ball.corner_normals is None else -ball.corner_normals[:, ::-1],
    )
    view = ViewParameters(light_theta=0.3)
    # the intersection routine sees the corners in another order, so a few pixels may round differently
    difference = np.abs(render(ball, view)[0].astype(int) - render(inside_out, view)[0])
    assert (difference > 1).mean() < 1e-3


def test_smooth_normals_remove_the_facets(sphere) -> None:
    ball = sphere(0.4, 8)
    view = ViewParameters(light_theta=0.78, light_phi=1.5 * math.pi)
    smooth, flat = (render(m, view, size=128)[0].astype(int) for m in (ball, replace(ball, corner_normals=None)))
    steps = [np.abs(np.diff(image[50:78, 64, 0])).max() for image in (smooth, flat)]
    assert steps[0] < 0.6 * steps[1]


@pytest.mark.parametrize("quality", ["plain", "draft"])
def test_narrow_field_of_view_is_the_middle_of_a_larger_image(lopsided: Mesh, quality: str) -> None:
    view = ViewParameters(
        rotation=Rotation.from_euler("xyz", (0.4, 0.2, 0.9)).as_matrix(), floor_hue=0.3, light_theta=0.5, light_phi=2.0
    )
    narrow = 2 * math.atan(math.tan(scene.CAMERA_FIELD_OF_VIEW / 2) / 2)
    middle = render(lopsided, view, size=96, quality=quality)[0, 24:72, 24:72].astype(int)
    image = render(lopsided, view, size=48, quality=quality, field_of_view=narrow)[0].astype(int)
    assert (np.abs(image - middle) > 1).mean() < 1e-3


@pytest.mark.parametrize(("hue", "channel"), [(0.0, 0), (1 / 3, 1), (2 / 3, 2)])
def test_floor_hue_is_true_rgb_and_may_be_swapped(speck: Mesh, hue: float, channel: int) -> None:
    view = ViewParameters(floor_hue=hue, light_hue=hue)
    image = render(speck, view)[0]
    assert image[0, 0].argmax() == channel and image[60, 60].argmax() == channel
    np.testing.assert_array_equal(render(speck, view, swap_red_blue=True)[0], image[..., ::-1])


def _varied(count: int) -> list[ViewParameters]:
    rng = np.random.default_rng(5)
    rotations = Rotation.random(count, random_state=3).as_matrix()
    return [
        ViewParameters(r, rng.uniform(-0.1, 0.1, 3) * (i % 2), *rng.random(2), *(6 * rng.random(1)), *rng.random(1))
        for i, r in enumerate(rotations)
    ]


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (32, {"antialias": 2, "spot_samples": 3}),
        (64, {}),
        (200, {}),
        (48, {"antialias": 3, "view_transform": "standard"}),
    ],
)
def test_an_image_depends_on_its_own_view_only(lopsided: Mesh, size: int, options: dict) -> None:
    views = _varied(11)
    together = render(lopsided, *views, size=size, **options)
    assert together.shape == (11, size, size, 3) and together.dtype == np.uint8
    np.testing.assert_array_equal(render(lopsided, *views[::-1], size=size, **options)[::-1], together)
    renderer = pickle.loads(pickle.dumps(get_renderer("raycast", **options)))
    for view, image in zip(views[:4], together, strict=False):
        np.testing.assert_array_equal(renderer.render(lopsided, [view], size)[0], image)


def test_antialiasing_averages_linear_light(lopsided: Mesh) -> None:
    """Against an image of 9 times the size, sampled where the small one's samples lie."""
    (view, *_) = _varied(1)

    def linear(size: int, antialias: int) -> np.ndarray:
        return srgb_decode(render(lopsided, view, size=size, antialias=antialias, view_transform="standard")[0] / 255.0)

    # 4 of the 9 fine pixels of a pixel's side are 0.44 pixels, near the samples' 0.41
    fine = linear(576, 1)
    samples = [np.roll(fine, (dy, dx), (0, 1))[4::9, 4::9] for dy in (-4, 4) for dx in (-4, 4)]
    expected = sum(samples) / 4
    error = [np.abs(linear(64, antialias) - expected).mean() for antialias in (1, 2)]
    assert error[1] < 0.25 * error[0]


def test_a_wide_spot_blurs_the_shadow_and_keeps_the_light(sphere) -> None:
    ball = sphere(0.3)
    view = ViewParameters(light_theta=0.1, light_phi=4.0)
    hard, soft = (
        irradiance(render(ball, view, size=128, view_transform="standard", spot_samples=n)[0], (0.6, 0.24, 0.24))[
            ..., 0
        ]
        for n in (1, 32)
    )
    between = [((e > OPEN_FLOOR + 0.3) & (e < OPEN_FLOOR + 0.9)).mean() for e in (hard, soft)]
    assert between[1] > 2 * between[0]
    assert soft.mean() == pytest.approx(hard.mean(), rel=0.02)


def test_sun_strength_scales_the_open_floor(speck: Mesh) -> None:
    view = ViewParameters(translation=FAR)
    image = render(speck, view, sun_strength=0.75, view_transform="standard")[0]
    assert irradiance(image, (0.6, 0.24, 0.24))[0, 0, 0] == pytest.approx(0.75 + 0.05 * math.pi, rel=0.01)


def test_an_object_below_the_floor_is_hidden(speck: Mesh) -> None:
    views = [ViewParameters(translation=np.array(t, float)) for t in ((0, 0, -1.2), FAR)]
    hidden, without = render(speck, *views)
    np.testing.assert_array_equal(hidden, without)


@pytest.mark.parametrize("size", [7, 0, -3, 64.0])
def test_bad_sizes_are_refused(speck: Mesh, size) -> None:
    with pytest.raises(RendererError, match=f"at least 8 pixels, got {size}"):
        get_renderer("raycast").render(speck, [ViewParameters()], size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faces": np.zeros((0, 3), np.int32), "face_material": np.zeros(0, np.int32)}, "at least one triangle, got 0"),
        ({"vertices": np.full((5, 3), np.nan, np.float32), "faces": np.array([[0, 1, 2]])}, "finite vertices, got 15"),
        ({"faces": np.array([[0, 1, 99999]], np.int32)}, r"vertex indices in 0\.\.\d+, got 0\.\.99999"),
        ({"face_material": np.array([3], np.int32)}, r"material indices in 0\.\.0, got 3\.\.3"),
    ],
)
def test_broken_meshes_are_named(speck: Mesh, change: dict, message: str) -> None:
    with pytest.raises(RendererError, match=f"mesh 'test': expected {message}"):
        render(replace(speck, **change), ViewParameters())


def test_degenerate_faces_and_missing_normals_do_no_harm(sphere) -> None:
    ball = sphere(0.3, 12)  # its poles hold faces without area
    normals = ball.corner_normals.copy()
    normals[::7] = 0
    normals[3] = np.nan
    image = render(replace(ball, corner_normals=normals), ViewParameters(light_theta=0.3))[0]
    np.testing.assert_allclose(image, render(ball, ViewParameters(light_theta=0.3))[0], atol=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"antialiasing": 2}, "did you mean 'antialias'"),
        ({"antialias": 5}, r"antialias in \[1, 2, 3\], got 5"),
        ({"view_transform": "agx"}, r"view_transform in .*, got 'agx'"),
        ({"spot_samples": 0}, r"spot_samples in 1\.\.256, got 0"),
        ({"sun_strength": float("nan")}, "sun_strength >= 0, got nan"),
        ({"field_of_view": 2.0}, "field_of_view above 0 and below pi/2, got 2.0"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(RendererError, match=message):
        get_renderer("raycast", **options)


def test_unknown_renderer_names_the_nearest() -> None:
    with pytest.raises(RendererError, match=r"unknown renderer 'raycst' \(did you mean 'raycast'\?\)"):
        get_renderer("raycst")


def test_options_say_everything() -> None:
    renderer = get_renderer("raycast", antialias=2)
    assert renderer.options["antialias"] == 2 and renderer.options["spot_samples"] == 1
    assert get_renderer(renderer.name, **renderer.options).options == renderer.options
    assert isinstance(renderer, RaycastRenderer) and renderer.version


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ModuleNotFoundError("No module named 'open3d'"), "pip install open3d-cpu"),
        (ImportError("libusb-1.0.so.0: cannot open shared object file"), "apt-get install -y libusb-1.0-0$"),
        (OSError("libGL.so.1: cannot open shared object file"), "apt-get install -y libusb-1.0-0 libgomp1"),
    ],
)
def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch, error: Exception, advice: str) -> None:
    import builtins

    true_import = builtins.__import__

    def fail(name: str, *rest, **more):
        if name == "open3d":
            raise error
        return true_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(RendererError, match=advice):
        get_renderer("raycast")


def test_ray_structures_live_as_long_as_their_meshes(sphere) -> None:
    renderer = RaycastRenderer()
    meshes = [sphere(0.2), sphere(0.3)]
    for mesh in meshes * 2:
        renderer.render(mesh, [ViewParameters()], 16)
    assert len(renderer._traced) == 2
    del meshes[0], mesh
    gc.collect()
    assert len(renderer._traced) == 1
