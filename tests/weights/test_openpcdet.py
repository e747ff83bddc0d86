"""Weights of voxel backbones to and from OpenPCDet."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equissl.encoders.voxel import VoxelBackBone8x, VoxelResBackBone8x
from equissl.weights import WeightsError, load_openpcdet, to_openpcdet
from equissl.weights.openpcdet import LAYOUTS, write_openpcdet

# OpenPCDet's modules in order, and the shapes of the weights (out, kz, ky, kx, in)
PLAIN = {
    "conv_input.0": (16, 3, 3, 3, 4),
    "conv1.0.0": (16, 3, 3, 3, 16),
    "conv2.0.0": (32, 3, 3, 3, 16),
    "conv2.1.0": (32, 3, 3, 3, 32),
    "conv2.2.0": (32, 3, 3, 3, 32),
    "conv3.0.0": (64, 3, 3, 3, 32),
    "conv3.1.0": (64, 3, 3, 3, 64),
    "conv3.2.0": (64, 3, 3, 3, 64),
    "conv4.0.0": (64, 3, 3, 3, 64),
    "conv4.1.0": (64, 3, 3, 3, 64),
    "conv4.2.0": (64, 3, 3, 3, 64),
    "conv_out.0": (128, 3, 1, 1, 64),
}
DOWN = {
    "conv_input.0": (16, 3, 3, 3, 4),
    "conv2.0.0": (32, 3, 3, 3, 16),
    "conv3.0.0": (64, 3, 3, 3, 32),
    "conv4.0.0": (128, 3, 3, 3, 64),
    "conv_out.0": (128, 3, 1, 1, 128),
}
RESIDUAL = {"conv1.0": 16, "conv1.1": 16, "conv2.1": 32, "conv2.2": 32, "conv3.1": 64, "conv3.2": 64}
RESIDUAL |= {"conv4.1": 128, "conv4.2": 128}


def normalised(name: str, width: int) -> dict[str, tuple[int, ...]]:
    vectors = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,))
    return {f"{name}.{part}": shape for part, shape in {**vectors, "num_batches_tracked": ()}.items()}


def plain_names(convolutions: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    names: dict[str, tuple[int, ...]] = {}
    for name, shape in convolutions.items():
        names |= {f"{name}.weight": shape, **normalised(f"{name.removesuffix('.0')}.1", shape[0])}
    return names


def residual_names() -> dict[str, tuple[int, ...]]:
    names = plain_names(DOWN)
    for block, width in RESIDUAL.items():
        for index in (1, 2):
            names[f"{block}.conv{index}.weight"] = (width, 3, 3, 3, width)
            names[f"{block}.conv{index}.bias"] = (width,)
            names |= normalised(f"{block}.bn{index}", width)
    return names


def filled(backbone: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for value in backbone.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=generator) if value.is_floating_point() else 7)
    return backbone


def detector(backbone: nn.Module, layout: str = "krsc") -> dict[str, Tensor]:
    rest = {"global_step": torch.zeros(1), "dense_head.conv_cls.weight": torch.zeros(18, 512, 1, 1)}
    return {**to_openpcdet(backbone, layout=layout), **rest}


@pytest.mark.parametrize(
    ("backbone", "expected"), [(VoxelBackBone8x, plain_names(PLAIN)), (VoxelResBackBone8x, residual_names())]
)
def test_names_and_shapes(backbone, expected) -> None:
    state = to_openpcdet(backbone())
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        f"backbone_3d.{name}": shape for name, shape in expected.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backbone", [VoxelBackBone8x, VoxelResBackBone8x])
def test_there_and_back(backbone, layout, tmp_path) -> None:
    model, other = filled(backbone()), backbone()
    file = write_openpcdet(to_openpcdet(model, layout=layout), tmp_path / "model.pth")
    assert load_openpcdet(other, file) == layout
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]
    content = torch.load(file, weights_only=True)
    assert content["model_state"]["backbone_3d.conv2.0.0.weight"].is_contiguous()


@pytest.mark.parametrize(("layout", "shape"), [("rskc", (3, 1, 1, 128, 64)), ("rsck", (3, 1, 1, 64, 128))])
def test_layouts_of_older_versions(layout, shape) -> None:
    model = filled(VoxelBackBone8x())
    weight = to_openpcdet(model, layout=layout)["backbone_3d.conv_out.0.weight"]
    assert weight.shape == shape
    index = (2, 0, 0, 100, 5) if layout == "rskc" else (2, 0, 0, 5, 100)
    assert weight[index] == model.conv_out[0].weight[100, 2, 0, 0, 5]


def test_other_parts_of_a_detector_are_left_aside() -> None:
    model, other = filled(VoxelBackBone8x()), VoxelBackBone8x()
    load_openpcdet(other, detector(model))
    assert torch.equal(other.conv4[2][0].weight, model.conv4[2][0].weight)
    load_openpcdet(other, to_openpcdet(filled(VoxelBackBone8x(), 1), prefix=""), prefix="")
    assert not torch.equal(other.conv4[2][0].weight, model.conv4[2][0].weight)


def test_what_does_not_fit_is_refused() -> None:
    state, model = detector(VoxelBackBone8x()), VoxelBackBone8x()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match=r"missing \['conv3.1.0.weight'\]"):
        load_openpcdet(model, {k: v for k, v in state.items() if "conv3.1.0" not in k})
    with pytest.raises(WeightsError, match=r"unexpected \['conv5.weight'\]"):
        load_openpcdet(model, {**state, "backbone_3d.conv5.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"one layout .* got none"):
        load_openpcdet(model, detector(VoxelBackBone8x(5)))
    with pytest.raises(WeightsError, match=r"layout rsck: conv_input.0.weight: .* for \(16, 3, 3, 3, 4\)"):
        load_openpcdet(model, state, layout="rsck")
    with pytest.raises(WeightsError, match=r"under 'backbone_3d\.', got 0"):
        load_openpcdet(model, {"conv_input.0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="krsc, rskc, rsck, got 'hwio'"):
        to_openpcdet(model, layout="hwio")
    with pytest.raises(WeightsError, match="missing"):
        load_openpcdet(VoxelResBackBone8x(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "nothing is loaded where something does not fit"


def test_damaged_files(tmp_path) -> None:
    file = write_openpcdet(to_openpcdet(VoxelBackBone8x()), tmp_path / "model.pth")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"model\.pth"):
        load_openpcdet(VoxelBackBone8x(), file)
    with pytest.raises(FileNotFoundError):
        load_openpcdet(VoxelBackBone8x(), tmp_path / "none.pth")
