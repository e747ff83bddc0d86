"""The renderers on torch devices against the ray caster, closed forms and themselves; on the CPU."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.renderers import RENDERERS, RendererError, ViewParameters, get_renderer
from equissl.renderers.torch_renderer import TorchRenderer

FAR = np.array([60.0, 0.0, 0.0])  # out of sight, its shadow too
OPEN_FLOOR = 1.5 + 0.05 * math.pi


@pytest.fixture(params=["warp", "pytorch3d"])
def backend(request) -> Callable[..., TorchRenderer]:
    """A function that makes the renderer."""
    pytest.importorskip(
        request.param, reason=f"the {request.param} renderer needs {request.param}", exc_type=ImportError
    )
    return lambda **options: get_renderer(request.param, device="cpu", **options)


def some_views(count: int, seed: int = 5) -> list[ViewParameters]:
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(count, random_state=seed).as_matrix()
    return [
        ViewParameters(r, rng.uniform(-0.15, 0.15, 3) * (i % 2), *(rng.random(4) * [1, math.pi / 4, 6.28, 1]))
        for i, r in enumerate(rotations)
    ]


@pytest.fixture(scope="module")
def two_materials(sphere, quad) -> Mesh:
    """A plain smooth sphere before a textured plate."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (6, 4, 3)), np.ones((9, 7, 1))).astype(np.uint8)
    plate, ball = quad([-0.4, 0.1, 0], [0, -0.28, 0.28]), sphere(0.25, 9)
    count = len(plate.vertices)
    corner_normals = np.concatenate([np.zeros((len(plate.faces), 3, 3)), ball.corner_normals]).astype(np.float32)
    uv = np.concatenate([2.3 * plate.corner_uv - 0.4, np.zeros((len(ball.faces), 3, 2))]).astype(np.float32)
    return Mesh(
        np.concatenate([plate.vertices, ball.vertices + np.float32([0.05, 0.2, 0.1])]),
        np.concatenate([plate.faces, ball.faces + count]),
        np.repeat(np.array([1, 0], np.int32), [len(plate.faces), len(ball.faces)]),
        uv,
        corner_normals,
        (Material(diffuse=np.float32([0.7, 0.2, 0.1])), Material(texture=texture)),
        name="two materials",
    )


@pytest.fixture(params=["lopsided", "smooth", "two materials", "coloured", "crossing the camera"])
def mesh(request, lopsided: Mesh, sphere, two_materials: Mesh, make_mesh) -> Mesh:
    behind = [[0, 2.6, 2.2], [0.4, 2.1, 2.6], [-0.5, -0.6, -0.3], [0.3, -0.4, 0.1]]
    large = make_mesh(behind, [[0, 1, 2], [0, 2, 3], [1, 2, 3]])
    return {
        "lopsided": lopsided,
        "smooth": sphere(0.4, 8),
        "two materials": two_materials,
        "coloured": coloured(two_materials),
        "crossing the camera": large,
    }[request.param]


def coloured(mesh: Mesh) -> Mesh:
    colours = np.random.default_rng(1).random((len(mesh.faces), 3, 3)).astype(np.float32)
    return replace(mesh, corner_colours=colours)


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    error = np.square(image.astype(float) - reference).mean()
    return 10 * math.log10(255**2 / error) if error else math.inf


def level(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


class TestAgainstRaycast:
    @pytest.mark.parametrize("antialias", [1, 2])
    def test_images_and_masks_agree(self, backend, mesh: Mesh, antialias: int) -> None:
        pytest.importorskip("open3d")
        views = some_views(3)
        if mesh.name == "test" and len(mesh.vertices) == 4:
            views = [replace(v, rotation=np.eye(3), translation=np.zeros(3)) for v in views]
        reference = get_renderer("raycast", quality="draft", antialias=antialias)
        ours, theirs = (r.render(mesh, views, 48) for r in (backend(antialias=antialias), reference))
        empty = reference.render(mesh, [replace(view, translation=FAR) for view in views], 48)
        assert min(psnr(one, other) for one, other in zip(ours, theirs, strict=True)) >= 40
        mask, expected = (np.abs(images.astype(int) - empty).max(-1) > 2 for images in (ours, theirs))
        assert expected.sum() > 300
        assert (mask & expected).sum() / (mask | expected).sum() >= 0.99

    def test_soft_shadows_agree(self, lopsided: Mesh) -> None:
        pytest.importorskip("warp")
        pytest.importorskip("open3d")
        options = {"spot_samples": 3, "antialias": 3, "view_transform": "standard", "sun_strength": 0.75}
        views = some_views(2)
        reference = get_renderer("raycast", quality="draft", **options).render(lopsided, views, 32)
        ours = get_renderer("warp", device="cpu", **options).render(lopsided, views, 32)
        assert psnr(ours, reference) > 45

    def test_red_and_blue_may_be_swapped(self, backend, two_materials: Mesh) -> None:
        views = some_views(1)
        plain, swapped = (backend(swap_red_blue=s).render(two_materials, views, 24) for s in (False, True))
        np.testing.assert_array_equal(swapped, plain[..., ::-1])
        assert (swapped != plain).any()


class TestClosedForms:
    def test_open_floor(self, backend, lopsided: Mesh) -> None:
        """ρ/π (1.5 + 0.05π) through the sRGB formula."""
        view = ViewParameters(translation=FAR, floor_hue=0.0)
        image = backend(view_transform="standard").render(lopsided, [view], 32)[0]
        values = [albedo * OPEN_FLOOR / math.pi for albedo in (0.6, 0.24)]
        expected = [round(255 * (1.055 * v ** (1 / 2.4) - 0.055)) for v in values]
        assert image[0, 0].tolist() == [expected[0], expected[1], expected[1]]

    def test_plate_under_the_spot(self, backend, quad) -> None:
        """E = 1.5 + 0.05π + 0.8 I/d² on a level plate below the spot light, which is red."""
        pixel = backend(view_transform="standard").render(
            quad([-0.3, 0, 0], [0, -0.3, 0]), [ViewParameters(light_hue=0.0)], 48
        )[0, 24, 24]
        for channel, spot in ((0, 0.8 * 500 / (4 * math.pi) / 16), (1, 0.0)):
            expected = 0.5 / math.pi * (OPEN_FLOOR + spot)
            assert abs(255 * (1.055 * expected ** (1 / 2.4) - 0.055) - pixel[channel]) <= 1

    def test_a_closed_wall_of_many_faces_has_no_hole(self, backend, make_mesh) -> None:
        """Small faces that all fall into few pixels: where rasterisers with bins of limited length lose some."""
        side = 41
        grid = np.stack(np.meshgrid(np.linspace(-0.2, 0.2, side), np.linspace(-0.2, 0.2, side)), -1).reshape(-1, 2)
        corner = np.arange(side * side).reshape(side, side)
        a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
        faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        across, up = np.array([-1, 0, 0]), np.array([0, -1, 1]) * math.sqrt(0.5)
        wall = make_mesh(grid[:, :1] * across + grid[:, 1:] * up, faces)
        view = ViewParameters(light_theta=0.7, light_phi=4.7)
        image, bare = (
            r[0].astype(int)
            for r in (
                backend().render(wall, [view], 64),
                backend().render(wall, [replace(view, translation=FAR)], 64),
            )
        )
        inside = slice(26, 38)  # the wall is 14 pixels wide
        assert (np.abs(image - bare).max(-1)[inside, inside] > 2).all()

    def test_the_first_of_coincident_faces_is_seen(self, backend, quad) -> None:
        """Two plates of different colours in one place, one wound the other way and with vertices of its own."""
        red, blue = (Material(diffuse=np.float32(colour)) for colour in ([0.7, 0.1, 0.1], [0.1, 0.1, 0.7]))
        plate = quad([-0.4, 0, 0], [0, -0.28, 0.28], red)
        double = replace(
            plate,
            vertices=np.concatenate([plate.vertices, plate.vertices]),
            faces=np.concatenate([plate.faces, plate.faces[:, ::-1] + np.int32(4)]),
            face_material=np.array([0, 0, 1, 1], np.int32),
            corner_uv=None,
            materials=(red, blue),
        )
        images, expected = (backend().render(m, some_views(2), 32) for m in (double, plate))
        np.testing.assert_array_equal(images, expected)

    def test_bins_of_the_rasteriser_hold_every_face(self, lopsided: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
        """PyTorch3D drops faces, with a message only, when a bin is full; on the GPU, so the setting is tested here."""
        pytest.importorskip("pytorch3d")
        from equissl.renderers import rasteriser

        limits = []

        def watched(meshes, max_faces_per_bin, **settings):
            limits.append(max_faces_per_bin)
            return original(meshes, max_faces_per_bin=max_faces_per_bin, **settings)

        original = rasteriser.rasterize_meshes
        monkeypatch.setattr(rasteriser, "rasterize_meshes", watched)
        get_renderer("pytorch3d", device="cpu", antialias=1).render(lopsided, some_views(1), 16)
        # camera and spot light; cut faces become two
        assert len(limits) == 2 and min(limits) >= 2 * len(lopsided.faces)


class TestBatches:
    def test_a_batch_of_meshes_is_the_meshes_one_by_one(
        self, backend, lopsided: Mesh, sphere, two_materials: Mesh
    ) -> None:
        renderer = backend(antialias=2)
        meshes = [lopsided, sphere(0.3, 6), two_materials, lopsided, coloured(lopsided)]
        views = [some_views(n, n) for n in (3, 1, 2, 1, 1)]
        together = renderer.render_batch(meshes, views, 24)
        assert together.shape == (8, 24, 24, 3) and together.dtype == torch.uint8
        alone = [backend(antialias=2).render(m, v, 24) for m, v in zip(meshes, views, strict=True)]
        assert level(together.numpy(), np.concatenate(alone)) <= 1

    def test_views_may_be_given_as_arrays(self, backend, lopsided: Mesh, sphere) -> None:
        from equissl.renderers.scene import view_arrays

        meshes, views = [lopsided, sphere(0.3, 6)], some_views(4)
        mixed = backend().render_arrays(meshes, np.array([1, 0, 0, 1]), view_arrays(views), 24)
        sorted_by_mesh = backend().render_batch(meshes, [[views[1], views[2]], [views[0], views[3]]], 24)
        assert level(mixed[[1, 2, 0, 3]].numpy(), sorted_by_mesh.numpy()) <= 1

    def test_working_memory_changes_nothing(self, backend, lopsided: Mesh) -> None:
        views = some_views(5)
        small = backend(pass_megabytes=1)
        assert small._samples_per_pass < 2 * 40 * 40  # one image at a time
        assert level(small.render(lopsided, views, 40), backend(pass_megabytes=64).render(lopsided, views, 40)) <= 1

    def test_the_same_call_gives_the_same_bytes(self, backend, two_materials: Mesh) -> None:
        first, second = (backend(antialias=2).render(two_materials, some_views(3), 24) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        copy = pickle.loads(pickle.dumps(backend(antialias=2)))
        np.testing.assert_array_equal(copy.render(two_materials, some_views(3), 24), first)

    def test_meshes_are_kept_within_a_limit(self, backend, quad) -> None:
        renderer, views = backend(mesh_megabytes=1), some_views(1)
        textures = np.random.default_rng(0).integers(0, 256, (4, 400, 500, 3)).astype(np.uint8)  # 0.8 megabytes each
        meshes = [quad([-0.4, 0, 0], [0, -0.3, 0.3], Material(texture=texture)) for texture in textures]
        images = [renderer.render(mesh, views, 16) for mesh in meshes]
        assert len(renderer._meshes) == 1
        kept = renderer._meshes.get(meshes[-1:])[0]
        np.testing.assert_array_equal(renderer.render(meshes[-1], views, 16), images[-1])
        assert renderer._meshes.get(meshes[-1:])[0] is kept
        np.testing.assert_array_equal(renderer.render(meshes[0], views, 16), images[0])
        renderer.render_batch(meshes, [views] * 4, 16)
        assert len(renderer._meshes) == 4  # a call's own meshes stay


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"antialas": 2}, "has no option 'antialas'.*did you mean 'antialias'"),
            ({"antialias": 7}, "expected antialias in"),
            ({"spot_samples": 0}, "expected spot_samples in 1..256"),
            ({"view_transform": "agx"}, "expected view_transform in"),
            ({"sun_strength": math.nan}, "expected a finite sun_strength"),
            ({"mesh_megabytes": 0}, "expected mesh_megabytes > 0"),
            ({"pass_megabytes": -1}, "expected pass_megabytes > 0"),
        ],
    )
    def test_bad_options(self, backend, options: dict, message: str) -> None:
        with pytest.raises(RendererError, match=message):
            backend(**options)

    def test_bad_devices(self) -> None:
        pytest.importorskip("warp")
        with pytest.raises(RendererError, match="expected device auto, cuda, cuda:<number> or cpu, got 'gpu'"):
            get_renderer("warp", device="gpu")
        if torch.cuda.is_available():
            with pytest.raises(RendererError, match="no device 'cuda:99'"):
                get_renderer("warp", device="cuda:99")
        else:
            with pytest.raises(RendererError, match=r"device 'cuda' was asked for, but PyTorch .* finds no GPU"):
                get_renderer("warp", device="cuda")
            assert get_renderer("warp").options["device"] == "cpu"

    def test_pytorch3d_has_one_spot_sample_and_shadows_need_a_distance(self, make_mesh) -> None:
        pytest.importorskip("pytorch3d")
        with pytest.raises(RendererError, match="expected spot_samples 1, got 4; the 'warp' renderer"):
            get_renderer("pytorch3d", spot_samples=4)
        huge = make_mesh([[-9, 0, 0], [9, 0, 0], [0, 0, 9]], [[0, 1, 2]])
        with pytest.raises(RendererError, match="expected a radius below 4, got 9"):
            get_renderer("pytorch3d", device="cpu").render(huge, some_views(1), 16)

    def test_bad_input(self, backend, lopsided: Mesh, make_mesh) -> None:
        renderer = backend()
        with pytest.raises(RendererError, match="at least 8 pixels, got 4"):
            renderer.render(lopsided, some_views(1), 4)
        with pytest.raises(RendererError, match="expected at least one view"):
            renderer.render(lopsided, [], 16)
        with pytest.raises(RendererError, match="views for each of 2 meshes, got them for 1"):
            renderer.render_batch([lopsided, lopsided], [some_views(1)], 16)
        broken = replace(lopsided, vertices=np.full_like(lopsided.vertices, np.nan))
        with pytest.raises(RendererError, match="mesh 'test': expected finite vertices"):
            renderer.render(broken, some_views(1), 16)
        assert renderer.render(lopsided, some_views(1), 16).shape == (1, 16, 16, 3)

    def test_damaged_texture_coordinates_do_no_harm(self, backend, two_materials: Mesh) -> None:
        uv = two_materials.corner_uv.copy()
        uv[0], uv[1] = np.nan, np.inf
        images = backend().render(replace(two_materials, corner_uv=uv), some_views(2), 24)
        assert images.shape == (2, 24, 24, 3)

    @pytest.mark.parametrize(("name", "package"), [("warp", "warp-lang"), ("pytorch3d", "easypytorch3d")])
    def test_a_missing_library_is_named(self, name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, "pytorch3d.renderer.mesh", None)
        assert name in RENDERERS
        with pytest.raises(RendererError, match=f"the '{name}' renderer cannot load.*pip install.*{package}"):
            get_renderer(name)


def test_a_view_store_is_built_with_it(tmp_path) -> None:
    pytest.importorskip("warp")
    from equissl.datasets.views.build.builder import BuildSpec, build_views

    spec = BuildSpec("procedural", objects=2, views=2, size=16, renderer="warp", val_fraction=0.5)
    assert build_views(spec, tmp_path / "a.h5", workers=0, progress=False).num_images == 4
    build_views(spec, tmp_path / "b.h5", workers=0, progress=False)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
