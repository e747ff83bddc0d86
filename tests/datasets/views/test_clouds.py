"""Point clouds in view stores: bytes, reading by object, agreement with the views, and refusals."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_meshes import FakeRenderer
from synthetic_store import write_synthetic_store

from equissl.datasets.meshes import get_mesh_source
from equissl.datasets.meshes.cloud import Cloud
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.build.spec import describe_build
from equissl.datasets.views.card import write_card
from equissl.datasets.views.schema import TRANSLATION
from equissl.datasets.views.store.format import StoreError
from equissl.datasets.views.store.index import write_index
from equissl.datasets.views.store.store import ViewStore, write_store
from equissl.renderers.camera import pixel_grid, project
from equissl.renderers.scene import view_arrays, view_parameters
from equissl.renderers.surface import visible_surface
from equissl.renderers.traced_mesh import TracedMesh
from equissl.renderers.views import Views
from equissl.util.parts_folder import PartsError

SPEC = BuildSpec(
    meshes="procedural",
    objects=6,
    views=2,
    size=16,
    seed=3,
    points=300,
    objects_per_shard=2,
    val_fraction=0,
    translation_range=(0.3, 0.3, 0.3),
)


def build(out: Path, spec: BuildSpec = SPEC, workers: int = 0, **options: bool) -> ViewStore:
    report = build_views(spec, out, workers=workers, progress=False, renderer=FakeRenderer(), **options)
    return ViewStore(report.path)


def random_clouds(count: int, points: int) -> list[Cloud]:
    rng = np.random.default_rng(0)
    return [
        Cloud(
            rng.normal(size=(points, 3)).astype("<f4"),
            rng.normal(size=(points, 3)).astype("<f4"),
            rng.integers(0, 256, (points, 3)).astype(np.uint8),
        )
        for _ in range(count)
    ]


def write_clouded(path: Path, clouds: list[Cloud]) -> Path:
    count = len(clouds)
    return write_store(
        path, np.zeros((count, 1, 8, 8, 3), np.uint8), np.zeros((count, 1, 7)), [0] * count, clouds=clouds
    )


def test_clouds_come_back_exactly_in_any_order_and_process(tmp_path: Path) -> None:
    written = random_clouds(5, 7)
    store = pickle.loads(pickle.dumps(ViewStore(write_clouded(tmp_path / "a.h5", written))))
    assert store.has_clouds and store.num_points == 7
    order = [4, 0, 0, 2]
    got = store.clouds(np.array(order))
    for name in ("points", "normals", "colours"):
        expected = np.stack([getattr(written[i], name) for i in order])
        scale = 255 if name == "colours" else 1
        assert getattr(got, name).dtype == torch.float32
        np.testing.assert_array_equal(getattr(got, name).numpy() * np.float32(scale), expected.astype(np.float32))
    assert store.read_images(np.arange(5)).shape == (5, 3, 8, 8)
    with pytest.raises(IndexError, match=r"object indices in 0..4, got 0..5"):
        store.clouds(np.array([0, 5]))


def test_the_bytes_do_not_depend_on_the_workers_and_a_cloud_on_its_object_alone(tmp_path: Path) -> None:
    here, there = build(tmp_path / "a.h5"), build(tmp_path / "b.h5", workers=2)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    fewer = build(tmp_path / "c.h5", replace(SPEC, objects=3, views=1, objects_per_shard=64))
    same = np.array([here.object_names.index(name) for name in fewer.object_names])
    assert torch.equal(fewer.clouds(np.arange(3)).points, here.clouds(same).points)
    parts = build(tmp_path / "d.h5", join=False)
    for name in ("points", "normals", "colours"):
        every = np.arange(6)[::-1]
        assert torch.equal(getattr(parts.clouds(every), name), getattr(there.clouds(every), name))
    others = build(tmp_path / "e.h5", replace(SPEC, seed=4)).clouds(np.arange(6)).points
    assert not torch.equal(others, here.clouds(np.arange(6)).points)


def test_a_store_without_points_is_what_it_was(tmp_path: Path) -> None:
    plain, clouded = build(tmp_path / "a.h5", replace(SPEC, points=None)), build(tmp_path / "b.h5")
    assert np.array_equal(plain.latents, clouded.latents)
    assert plain.read_bytes(np.arange(12)) == clouded.read_bytes(np.arange(12))
    with h5py.File(tmp_path / "a.h5") as file:
        assert "num_points" not in file.attrs and "points" not in file and not plain.has_clouds
    source = get_mesh_source("procedural", 6, 3)
    assert "points" not in describe_build(replace(SPEC, points=None), source, FakeRenderer())
    assert clouded.attributes["build"]["points"] == 300
    with pytest.raises(StoreError, match=r"expected point clouds in .*a.h5, it has none.*render --points 2048"):
        plain.clouds(np.arange(2))
    with pytest.raises(PartsError, match="points"):
        build(tmp_path / "b.h5", replace(SPEC, points=5))


def test_points_fall_on_the_object_in_every_view(tmp_path: Path) -> None:
    """The cloud turned and moved by the latents, seen by the scene's camera, against the pixels that rays find."""
    pytest.importorskip("open3d", reason="rays need open3d-cpu")
    store, size = build(tmp_path / "a.h5", replace(SPEC, objects=3, points=4000)), 64
    source, grid = get_mesh_source("procedural", 3, 3), pixel_grid(64, 2)
    rotations, points = store.rotations().numpy(), store.clouds(np.arange(3)).points.double().numpy()
    inside, mirrored = [], []
    for index, (number, latents) in enumerate(zip(store.object_indices.tolist(), store.latents, strict=True)):
        arrays, mesh = view_arrays(view_parameters(latents, store.schema.names)), TracedMesh(source.load(number))
        shifts = latents[:, store.schema.columns(*TRANSLATION)]
        for view, (rotation, shift) in enumerate(zip(rotations[index], shifts, strict=True)):
            seen = np.zeros(size * size, bool)
            seen[visible_surface(mesh, Views(arrays[view : view + 1], grid)).pixel] = True
            seen = seen.reshape(size, size)
            for turn, shares in ((rotation, inside), (rotation.T, mirrored)):
                row, column, _ = project((points[index] + shift) @ turn.T, size)
                shares.append(share_near(seen, row, column))
            row, column, _ = project((points[index] + shift) @ rotation.T, size)
            covered = np.zeros((size, size), bool)
            covered[np.round(row).astype(int), np.round(column).astype(int)] = True
            rows, columns = np.nonzero(seen)
            assert share_near(covered, rows, columns) > 0.98
    assert min(inside) == 1 and np.mean(mirrored) < 0.9


def share_near(mask: np.ndarray, row: np.ndarray, column: np.ndarray) -> float:
    """Share of the places within a pixel of the mask."""
    padded = np.pad(mask, 2)
    rows, columns = (np.clip(np.round(x).astype(int), -1, len(mask)) + 2 for x in (row, column))
    near = [padded[rows + i, columns + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return float(np.any(near, axis=0).mean())


@pytest.mark.parametrize("points", [0, -3])
def test_less_than_a_point_is_refused(points: int) -> None:
    with pytest.raises(ValueError, match=f"expected points >= 1, got {points}"):
        BuildSpec(points=points)


def test_damaged_clouds_are_named(tmp_path: Path) -> None:
    clouds = random_clouds(3, 4)
    store = ViewStore(write_clouded(tmp_path / "a.h5", clouds))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["normals"][1, 2, 0] = np.nan
    assert torch.isfinite(store.clouds(np.array([0, 2])).normals).all()
    with pytest.raises(StoreError, match=r"finite normals in the clouds of .*, not so in 1 of 3 objects: object_00001"):
        store.check_clouds(np.arange(3))
    write_clouded(tmp_path / "b.h5", clouds)
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        del file["colours"]
    with pytest.raises(StoreError, match=r"expected colours of clouds as uint8 \(3, 4, 3\) in .*b.h5, found none"):
        _ = ViewStore(tmp_path / "b.h5").num_objects
    write_clouded(tmp_path / "c.h5", clouds)
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file.attrs["num_points"] = 5
    with pytest.raises(
        StoreError, match=r"expected points of clouds as float32 \(3, 5, 3\).*found float32 \(3, 4, 3\)"
    ):
        _ = ViewStore(tmp_path / "c.h5").num_objects


def test_stores_with_other_points_are_not_joined_and_records_must_agree(tmp_path: Path) -> None:
    write_clouded(tmp_path / "a.h5", random_clouds(2, 4))
    write_clouded(tmp_path / "b.h5", random_clouds(2, 5))
    with pytest.raises(StoreError, match=r"one num_points .*got 4 in .*a.h5 and 5 in .*b.h5"):
        write_index(tmp_path / "index.json", [tmp_path / "a.h5", tmp_path / "b.h5"])
    with pytest.raises(ValueError, match=r"expected a cloud of 4 points of object_00001, got 5"):
        write_clouded(tmp_path / "c.h5", [*random_clouds(1, 4), *random_clouds(1, 5)])
    assert not (tmp_path / "c.h5").exists()


def test_the_card_tells_of_clouds(tmp_path: Path) -> None:
    text = write_card(ViewStore(write_clouded(tmp_path / "a.h5", random_clouds(2, 4))), tmp_path / "a.md").read_text()
    assert "Each object has a point cloud of 4 points" in text
    plain = write_card(ViewStore(write_synthetic_store(tmp_path / "b.h5")), tmp_path / "b.md")
    assert "cloud" not in plain.read_text() and "points" not in plain.with_suffix(".json").read_text()
