"""The reference ResNet against published sizes, parameter names and outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equissl.encoders import ResNet, resnet18, resnet34, resnet50


def cosine_images(size: int) -> Tensor:
    m = torch.arange(3 * size * size, dtype=torch.float64)
    return torch.stack([torch.cos((0.013 + 0.016 * b) * m) for b in range(2)]).view(2, 3, size, size)


@pytest.mark.parametrize("size", [128, 96])
def test_outputs_of_the_published_implementation(
    size: int, golden: Path, fill_by_rule: Callable[[nn.Module], None]
) -> None:
    expected = torch.from_numpy(np.load(golden / "resnet18_reference.npz")[f"out_{size}"])
    model = resnet18().double().eval()
    fill_by_rule(model)
    with torch.no_grad():
        torch.testing.assert_close(model(cosine_images(size)), expected, rtol=1e-9, atol=1e-9)


def test_names_shapes_and_order_of_the_published_weights(golden: Path) -> None:
    lines = (golden / "official_keys_resnet18.tsv").read_text().splitlines()[1:]
    published = [tuple(line.split("\t")[:2]) for line in lines]
    ours = [(key, "x".join(map(str, value.shape)) or "scalar") for key, value in resnet18().state_dict().items()]
    assert ours == published


NARROW = """
import torch
from equissl.encoders import resnet18
torch.manual_seed(0)
torch.set_num_threads(1)
model, images = resnet18(width=4, stem="small").eval(), torch.randn(8, 3, 32, 32)
def gradient(model, images):
    model.zero_grad()
    model(images).square().mean().backward()
    return model.layer2[0].downsample[0].weight.grad.double()
found = gradient(model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last))
expected = gradient(model.double(), images.double())
torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
"""


def test_narrow_shortcuts_have_their_gradient_on_processors_without_avx512() -> None:
    """In a process of its own: oneDNN's kernel for a strided 1x1 convolution of 4 channels ends or hangs it there."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", NARROW], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


def test_parameter_counts() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build().parameters()) for build in (resnet18, resnet34, resnet50)]
    assert counts == [11_180_736, 21_288_896, 23_508_032]


@pytest.mark.parametrize(("image_size", "side"), [(256, 8), (224, 7), (128, 4), (64, 2), (32, 1)])
def test_map_size_is_a_32nd_of_the_image(image_size: int, side: int) -> None:
    assert resnet18(width=2).map_shape(image_size) == (16, side)


@pytest.mark.parametrize(("stem", "side"), [("reference", 2), ("nopool", 4), ("small", 8)])
def test_stems(stem: str, side: int) -> None:
    model = resnet18(width=4, stem=stem)  # type: ignore[arg-type]
    assert model.map_shape(64) == (32, side)
    images = torch.randn(3, 3, 64, 64)
    assert model(images).shape == (3, 32)
    torch.testing.assert_close(model(images), model.feature_map(images).mean((2, 3)))


@pytest.mark.parametrize("build", [resnet34, resnet50])
def test_deeper_ones_learn_everywhere(build: type[ResNet]) -> None:
    model = build(width=2)
    assert model.feature_dim == (16 if build is resnet34 else 64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)  # away from the zeroed branches
    model(torch.randn(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_blocks_start_as_their_shortcuts() -> None:
    model = resnet18(width=4).eval()
    block = model.layer2[1]  # type: ignore[index]
    x = torch.rand(2, 8, 6, 6)
    assert torch.equal(block(x), x)


def test_max_pool_pads_where_the_published_one_does() -> None:
    """Padding by a large negative number at the bottom and right, then 3x3/2, is what ceil mode does."""
    for size in (5, 6, 7, 8):
        x = torch.randn(1, 2, size, size)
        expected = nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1), value=-1e4), 3, 2)
        assert torch.equal(nn.functional.max_pool2d(x, 3, 2, ceil_mode=True), expected)


def test_map_shape_leaves_the_model_as_it_was() -> None:
    model = resnet18(width=2)
    model.layer3.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.map_shape(64)
    assert model.training and model.layer1.training and not any(m.training for m in model.layer3.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(100, 100\) pixels give stage 3 an odd map \(25, 25\)"):
        resnet18(width=2, stem="nopool")(torch.zeros(1, 3, 100, 100))
    with pytest.raises(ValueError, match="got 'patch'"):
        resnet18(stem="patch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        resnet18(width=0)


@pytest.mark.slow
def test_compiled_model_gives_the_same() -> None:
    model, images = resnet18(width=4).eval(), torch.randn(2, 3, 64, 64)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))
