"""Encoders by name."""

from __future__ import annotations

import sys

import pytest
import torch
import torchvision

from equissl.encoders import ResNet, create_encoder


def test_reference_names() -> None:
    encoder = create_encoder("resnet18", width=8, stem="small")
    assert isinstance(encoder, ResNet) and encoder.feature_dim == 64


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("torchvision/resnet18", 512),
        ("torchvision/mobilenet_v3_small", 576),
        ("torchvision/squeezenet1_1", 512),
        ("timm/test_resnet", 96),
        ("timm/test_efficientnet", 256),
    ],
)
def test_library_backbones(name: str, dim: int) -> None:
    encoder = create_encoder(name).eval()
    images = torch.randn(2, 3, 64, 64)
    assert encoder.feature_dim == dim
    vectors, feature_map = encoder(images), encoder.feature_map(images)
    assert vectors.shape == (2, dim)
    assert feature_map.shape[:2] == (2, dim)
    torch.testing.assert_close(encoder.pool(feature_map), vectors)
    assert encoder.map_shape(64) == (dim, feature_map.shape[2])


def test_torchvision_resnet_computes_what_torchvision_does() -> None:
    ours = create_encoder("torchvision/resnet18").eval()
    theirs = torchvision.models.resnet18(weights=None)
    theirs.fc = torch.nn.Identity()
    theirs.load_state_dict(ours.model.state_dict(), strict=True)  # torchvision's own names
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs.eval()(images))


def test_densenet_ends_with_its_relu() -> None:
    encoder = create_encoder("torchvision/densenet121").eval()
    theirs = encoder.model
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(encoder(images), theirs(images))


def test_timm_options_and_token_models() -> None:
    encoder = create_encoder("timm/test_vit", img_size=64).eval()
    assert encoder(torch.randn(2, 3, 64, 64)).shape == (2, encoder.feature_dim)
    with pytest.raises(ValueError, match="expected a map"):
        encoder.map_shape(64)


def test_stages_of_transformers_are_the_patches_tokens_behind_each_block() -> None:
    encoder = create_encoder("timm/test_vit", img_size=64).eval()
    seen: list[torch.Tensor] = []
    for block in encoder.model.blocks:
        block.register_forward_hook(lambda *found: seen.append(found[-1]))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    vectors, maps = encoder.encode_stages(images)
    torch.testing.assert_close(vectors, encoder.model(images))
    seen = [*seen[: len(maps) - 1], encoder.model.norm(seen[len(maps) - 1])]
    for found, tokens in zip(maps, seen, strict=True):  # 16 patches, row by row, after the class token
        assert torch.equal(found.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert [x.shape[1:] for x in maps] == [(64, 4, 4)] * 6
    assert encoder.probe_size == 64 and encoder.stage_channels() == [64] * 6


def test_stages_of_a_model_with_channels_last() -> None:
    sizes = {"img_size": 32, "embed_dim": 8, "depths": (1, 2), "num_heads": (1, 2), "window_size": 4}
    encoder = create_encoder("timm/swin_tiny_patch4_window7_224", **sizes).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    vectors, maps = encoder.encode_stages(images)
    torch.testing.assert_close(vectors, encoder(images))
    torch.testing.assert_close(maps[-1].mean(dim=(2, 3)), vectors)  # its pooling is the mean
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 8, 8), (16, 4, 4)]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet81", "resnet18"),
        ("torchvision/resnet81", "torchvision/resnet18"),
        ("timm/convnext_tinny", "timm/convnext_tiny"),
        ("torchvison/NAME", "torchvision/NAME"),
    ],
)
def test_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown encoder '{name}' \(did you mean '{nearest}'\?\)"):
        create_encoder(name)


@pytest.mark.parametrize("name", ["torchvison/resnet18", "torchvision", "timm/", "pytorch/resnet18"])
def test_names_of_no_library_say_what_is_expected(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown encoder '{name}'.*expected one of .*torchvision/NAME, timm/NAME"):
        create_encoder(name)


def test_arguments_that_do_not_belong_are_refused() -> None:
    with pytest.raises(ValueError, match="'torchvision/resnet18' has no width, got width=32"):
        create_encoder("torchvision/resnet18", width=32)
    with pytest.raises(ValueError, match="'torchvision/densenet121' has no stem 'small'"):
        create_encoder("torchvision/densenet121", stem="small")
    with pytest.raises(ValueError, match="'timm/test_resnet' has no stem, got stem='small'"):
        create_encoder("timm/test_resnet", stem="small")
    with pytest.raises(ValueError, match="'resnet18' has no option 'depth'"):
        create_encoder("resnet18", depth=3)
    with pytest.raises(ValueError, match="'vit_b_16' has no convolutional feature map"):
        create_encoder("torchvision/vit_b_16")


def test_missing_timm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        create_encoder("timm/resnet18")
