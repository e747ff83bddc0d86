from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equissl.datasets.batch import ViewBatch
from equissl.datasets.schema import Latent, LatentSchema, threediebench_schema
from equissl.geometry import euler_to_rotmat

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


def test_hue_differences_are_plain(batch: ViewBatch) -> None:
    expected = batch.latents[:, 1][:, [3, 6]] - batch.latents[:, 0][:, [3, 6]]
    assert torch.equal(batch.hue_differences(), expected)


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
        ("labels", torch.zeros(B, 1), r"labels of shape \(4,\), got \(4, 1\)"),
    ],
)
def test_wrong_shapes_name_both(batch: ViewBatch, field: str, value: torch.Tensor, message: str) -> None:
    values = {n: getattr(batch, n) for n in ("images", "rotations", "latents", "labels", "schema")} | {field: value}
    with pytest.raises(ValueError, match=message):
        ViewBatch(**values)
