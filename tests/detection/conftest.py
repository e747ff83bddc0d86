from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.datasets.sweeps.labelled_sweeps import SweepBatch
from equissl.detection import SECOND, CenterPoint, Detector, NeckConfig, VoxelRCNN
from equissl.detection.grid_pool import PoolConfig
from equissl.detection.roi_head import RoILayers
from equissl.detection.roi_targets import SampleConfig
from equissl.encoders.voxel import VoxelEncoderConfig

sys.path.insert(0, str(Path(__file__).parent.parent / "datasets" / "drives"))  # tests import `lidar_layouts` by name

RANGE = (0.0, -6.4, -3.0, 12.8, 6.4, 1.0)
TINY = VoxelEncoderConfig(point_range=RANGE, voxel_size=(0.2, 0.2, 0.16), backend="torch")
NECK = NeckConfig((1, 1), (1, 2), (16, 16), (2, 4), (16, 16))  # so fine that small anchors leave no gaps
POOL = PoolConfig(("conv1", "conv2"), points=2, samples=4, reach=2, radii=(0.6, 1.2), width=8)
SECOND_STAGE = {"pool": POOL, "sample": SampleConfig(count=16), "layers": RoILayers((16,), (16,), (16,))}


@pytest.fixture
def second() -> SECOND:
    torch.manual_seed(0)
    return SECOND(encoder=TINY, neck=NECK)


@pytest.fixture
def center() -> CenterPoint:
    torch.manual_seed(0)
    return CenterPoint(encoder=TINY, neck=NECK)


@pytest.fixture
def voxel_rcnn() -> VoxelRCNN:
    torch.manual_seed(0)
    return VoxelRCNN(encoder=TINY, neck=NECK, **SECOND_STAGE)


@pytest.fixture(params=["second", "center", "voxel_rcnn"])
def detector(request) -> Detector:
    return request.getfixturevalue(request.param)


@pytest.fixture
def rebuild(detector: Detector) -> Callable[..., Detector]:
    """Another such detector, with other options."""
    options: dict[str, Any] = {"encoder": TINY, "neck": NECK}
    options |= SECOND_STAGE if isinstance(detector, VoxelRCNN) else {}
    return lambda **changes: type(detector)(**{**options, **changes})


def scene(seed: int, points: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """Cloud, boxes and labels."""
    generator = torch.Generator().manual_seed(seed)
    cloud = torch.rand(points, 4, generator=generator) * torch.tensor([12.8, 12.8, 3.0, 1.0])
    cloud -= torch.tensor([0, 6.4, 2.5, 0])
    boxes = torch.tensor([[3.2, -3.0, -1.0, 3.9, 1.6, 1.56, 0.4], [8.0, 2.0, -0.4, 0.8, 0.6, 1.7, -2.5],
                          [10.4, -3.6, -0.4, 1.7, 0.6, 1.7, 3.0]])  # fmt: skip
    return cloud, boxes, torch.tensor([0, 1, 2])


@pytest.fixture
def batch() -> SweepBatch:
    """A scene with three objects, and one without any."""
    first, second = scene(0), scene(1)
    return SweepBatch(
        (first[0], second[0]),
        (first[1], torch.zeros(0, 7)),
        (first[2], torch.zeros(0, dtype=torch.int64)),
        torch.tensor([1, 2]),
        ("a/0", "a/1"),
    )
