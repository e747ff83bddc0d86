from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import Latent, LatentSchema, threediebench_schema
from equissl.geometry import euler_to_rotmat, rigid, transform_points

B, V = 4, 3


@pytest.fixture
def batch() -> ViewBatch:
    rng = np.random.default_rng(0)
    latents = torch.from_numpy(rng.uniform(-1.5, 1.5, (B, V, 7)))
    return ViewBatch(
        images=torch.zeros(B, V, 3, 8, 8, dtype=torch.uint8),
        rotations=euler_to_rotmat(latents[..., :3]),
        latents=latents,
        labels=torch.arange(B),
        schema=threediebench_schema(),
        views=torch.zeros(B, V, dtype=torch.int64),
    )


def scipy_relative(batch: ViewBatch, i: int, j: int) -> Rotation:
    first, second = (Rotation.from_euler("xyz", batch.latents[:, k, :3].numpy()) for k in (i, j))
    return first.inv() * second


def test_relative_rotation_takes_one_view_to_the_other(batch: ViewBatch) -> None:
    for i, j in ((0, 1), (2, 0)):
        action = batch.relative_rotations(i, j)
        assert torch.allclose(batch.rotations[:, i] @ action, batch.rotations[:, j], atol=1e-12)
        assert np.abs(action.numpy() - scipy_relative(batch, i, j).as_matrix()).max() < 1e-12


def test_relative_quaternion_in_both_signs(batch: ViewBatch) -> None:
    legacy = batch.relative_quats(0, 1, sign="legacy").numpy()
    expected = scipy_relative(batch, 0, 1).as_quat()  # SciPy's sign since 1.11 is that of the Hamilton product
    assert np.abs(legacy - expected).max() < 1e-12
    canonical = batch.relative_quats(0, 1).numpy()
    assert (canonical[:, 3] >= 0).all()
    assert np.abs(np.abs((canonical * expected).sum(1)) - 1).max() < 1e-12


def test_quaternions_without_euler_latents_come_from_the_matrices(batch: ViewBatch) -> None:
    schema = LatentSchema((Latent("age", "unit", 0, 1),))
    bare = ViewBatch(batch.images, batch.rotations, batch.latents[..., :1], batch.labels, schema)
    assert torch.allclose(bare.relative_quats(0, 2), batch.relative_quats(0, 2), atol=1e-12)


def moving_batch(euler: Any, translations: Any) -> ViewBatch:
    """One object in two poses."""
    euler = torch.tensor(euler, dtype=torch.float64).view(1, 2, 3)
    images, labels = torch.zeros(1, 2, 3, 8, 8), torch.zeros(1, dtype=torch.int64)
    schema = LatentSchema((Latent("age", "unit", 0, 1),))
    moved = torch.tensor(translations, dtype=torch.float64).view(1, 2, 3)
    return ViewBatch(images, euler_to_rotmat(euler), torch.zeros(1, 2, 1), labels, schema, translations=moved)


def test_relative_rigid_of_named_transforms() -> None:
    quarter = [0.0, 0.0, math.pi / 2]  # about z: x becomes y
    slide = moving_batch([quarter, quarter], [[0, 0, 0], [1, 0, 0]])  # turned alike, moved along the object's x axis
    turn = moving_batch([[0, 0, 0], quarter], [[1, 0, 0], [1, 0, 0]])  # turned about the world's origin
    expected = {  # batch, frame: translation of M12
        ("slide", "object"): [0, -1, 0],
        ("slide", "base"): [1, 0, 0],
        ("turn", "object"): [0, 0, 0],
        ("turn", "base"): [-1, 1, 0],
    }
    for (name, frame), u in expected.items():
        batch = {"slide": slide, "turn": turn}[name]
        m12 = batch.relative_rigids(frame=frame)
        torch.testing.assert_close(m12[0, :3, 3], torch.tensor(u).double(), atol=1e-12, rtol=0)
        torch.testing.assert_close(m12[:, :3, :3], batch.relative_rotations())
        assert m12[0, 3].tolist() == [0, 0, 0, 1]


def test_relative_rigid_of_published_numbers() -> None:
    batch = moving_batch([[0.1, 0.2, 0.3], [-0.4, 0.5, 1.2]], [[0.1, -0.2, 0.3], [-0.3, 0.4, 0.25]])
    expected = {
        "object": [-0.19080619, 0.67900122, -0.15827299],
        "base": [-0.63778016, 0.32115150, -0.20718398],
    }
    for frame, u in expected.items():
        assert batch.relative_rigids(frame=frame)[0, :3, 3].tolist() == pytest.approx(u, abs=1e-8)


def test_relative_rigid_takes_one_pose_to_the_other(batch: ViewBatch) -> None:
    t = torch.rand(B, V, 3, dtype=torch.float64) - 0.5
    moving = replace(batch, translations=t)
    assert torch.equal(moving.relative_rigids(), moving.relative_rigids(frame="object"))
    places = {"object": t, "base": (batch.rotations @ t.unsqueeze(-1)).squeeze(-1)}
    for frame, place in places.items():
        poses = rigid(batch.rotations, place)
        assert torch.allclose(poses[:, 2] @ moving.relative_rigids(2, 1, frame=frame), poses[:, 1], atol=1e-12)
    # the base frame is where 3DIEBench-T puts the object: first moved along its own axes, then turned
    points = torch.rand(B, 5, 3, dtype=torch.float64)
    world = torch.einsum("bij,bnj->bni", batch.rotations[:, 1], points + t[:, 1, None])
    seen = transform_points(moving.relative_rigids(0, 1, frame="base"), points)
    torch.testing.assert_close(transform_points(rigid(batch.rotations[:, 0], places["base"][:, 0]), seen), world)


def test_relative_rigid_needs_translations_and_a_known_frame(batch: ViewBatch) -> None:
    with pytest.raises(ValueError, match=r"batch with translations.* got one without: its latents are \['rotation_x'"):
        batch.relative_rigids()
    with pytest.raises(ValueError, match=r"frame to be one of \['object', 'base'\], got 'world'"):
        replace(batch, translations=torch.zeros(B, V, 3)).relative_rigids(frame="world")  # type: ignore[arg-type]


def test_to_moves_every_tensor_and_keeps_none(batch: ViewBatch) -> None:
    moved = batch.to("meta")
    assert {t.device.type for t in (moved.images, moved.rotations, moved.latents, moved.labels, moved.views)} == {
        "meta"
    }
    assert moved.translations is None and moved.schema is batch.schema and (len(moved), moved.num_views) == (B, V)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", torch.zeros(B, 3, 8, 8), r"\(B, V, 3, H, W\), got \(4, 3, 8, 8\)"),
        ("rotations", torch.zeros(B, V, 4), r"rotations of shape \(4, 3, 3, 3\), got \(4, 3, 4\)"),
        ("latents", torch.zeros(B, V, 6), r"latents of shape \(4, 3, 7\), got \(4, 3, 6\)"),
        ("translations", torch.zeros(B, V, 2), r"translations of shape \(4, 3, 3\), got \(4, 3, 2\)"),
        ("labels", torch.zeros(B, 1), r"labels of shape \(4,\), got \(4, 1\)"),
    ],
)
def test_wrong_shapes_name_both(batch: ViewBatch, field: str, value: torch.Tensor, message: str) -> None:
    values = {n: getattr(batch, n) for n in ("images", "rotations", "latents", "labels", "schema")} | {field: value}
    with pytest.raises(ValueError, match=message):
        ViewBatch(**values)
