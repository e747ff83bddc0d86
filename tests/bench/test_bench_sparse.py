"""The benchmark of sparse backends runs and tells what it measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.bench.sparse import KITTI, _differences, bench_sparse, synthetic_clouds
from equissl.encoders.voxel import create_voxel_backbone
from equissl.sparse import BackendError, SparseTensor, layers, voxelize
from equissl.sparse.index_map import Geometry
from equissl.sparse.torch_backend import TorchBackend


def test_torch_backend_is_measured(lines: list[str]) -> None:
    threads = torch.get_num_threads()
    result = bench_sparse("torch", sweeps=1, points=300, repeats=1, device="cpu", threads=1, amp="bfloat16")
    assert result["sweeps"] == 1
    assert 0 < result["voxels"] <= 300
    seconds = sum(result[f"torch/{part}_s"] for part in ("voxelize", "forward", "backward"))
    assert result["torch/sweeps_per_second"] == pytest.approx(1 / seconds)
    assert len(lines) == 2
    assert torch.get_num_threads() == threads


def test_clouds_are_the_same_every_time_and_mostly_in_range() -> None:
    one, other = synthetic_clouds(2, 1000, torch.device("cpu")), synthetic_clouds(2, 1000, torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], one[1])
    assert (voxelize(one, KITTI).point_to_voxel >= 0).float().mean() > 0.7


@torch.no_grad()
def test_differences_between_backends_are_of_the_same_network(monkeypatch) -> None:
    class Tripled(TorchBackend):
        name = "spconv"

        def strided(self, x: SparseTensor, weight: Tensor, geometry: Geometry) -> SparseTensor:
            return super().strided(x, 3 * weight, geometry)

    clouds, model = synthetic_clouds(1, 300, torch.device("cpu")), create_voxel_backbone()
    for backend, expected in ((TorchBackend(), 0.0), (Tripled(), 80.0)):  # four strided layers: 3**4 - 1
        monkeypatch.setattr(
            layers, "choose_backend", lambda name, _, b=backend: TorchBackend() if name == "torch" else b
        )
        found = _differences(model, clouds, ["torch", "spconv"])
        assert found == {"spconv": pytest.approx(expected, rel=0.5)}


def test_wrong_requests() -> None:
    with pytest.raises(ValueError, match="unknown backends minkowski"):
        bench_sparse("torch,minkowski", device="cpu")
    with pytest.raises(BackendError, match="spconv-triton"):
        bench_sparse("spconv-triton", device="cpu")
    with pytest.raises(ValueError, match="at least one sweep"):
        bench_sparse(sweeps=0)
    with pytest.raises(ValueError, match="bfloat16 or float16"):
        bench_sparse(amp="int8")
    with pytest.raises(ValueError, match="VoxelBackBone8x"):
        bench_sparse(backbone="PointNet")
