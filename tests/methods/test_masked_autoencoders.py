"""MAE and MixedAE: patches and masks, mixing, what the encoder is told and not told, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import create_encoder
from equissl.encoders.config import EncoderConfig
from equissl.encoders.patch_transformer import PatchTransformer, position_waves, top_k_attention
from equissl.losses import token_supcon
from equissl.methods import MAE, MixedAE
from equissl.methods.views.mae import draw_visible
from equissl.methods.views.masked_pixels import hidden_error, patchify, unpatchify
from equissl.methods.views.mixed_ae import draw_order, patch_mix, visible_of

DECODER = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}


def mae(encoder: EncoderConfig, **changes: Any) -> MAE:
    torch.manual_seed(0)
    return MAE(encoder, **{**DECODER, **changes}).double().eval()  # type: ignore[return-value]


def mixed(encoder: EncoderConfig, **changes: Any) -> MixedAE:
    torch.manual_seed(0)
    return MixedAE(encoder, **{**DECODER, "group": 2, **changes}).double().eval()  # type: ignore[return-value]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_patches_are_in_timm_s_order(images: torch.Tensor) -> None:
    patches = patchify(images, 16)
    assert patches.shape == (4, 16, 768)
    assert torch.equal(patches[:, 5], images[:, :, 16:32, 16:32].flatten(1))  # second row, second column
    assert torch.equal(unpatchify(patches, 16, 4, 4), images)
    wide = images[:, :, :32]
    assert torch.equal(unpatchify(patchify(wide, 16), 16, 2, 4), wide)


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2}, {"no_embed_class": True}, {"class_token": False}])
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_all_tokens_in_order_are_the_encoder_s_own_forward_pass(
    small_vit: EncoderConfig, images: torch.Tensor, options: dict, pool: str
) -> None:
    if pool == "token" and options == {"class_token": False}:
        return
    given = {**small_vit.options, **options, "global_pool": pool}
    encoder = create_encoder(small_vit.name, **given).double().eval()
    transformer = PatchTransformer(encoder)
    tokens = transformer.embed(images)
    expected = encoder.model.fc_norm(encoder.model.forward_features(images))
    torch.testing.assert_close(transformer.transform(tokens), expected)
    assert transformer.transform(tokens[:, :3]).shape == (4, transformer.prefix + 3, 32)
    # every key kept is ordinary attention, in any block
    torch.testing.assert_close(transformer.transform(tokens, local=2, keys=99), expected)


def test_top_k_attention_sees_the_nearest_keys_alone(small_vit: EncoderConfig) -> None:
    attention = create_encoder(small_vit.name, **small_vit.options).model.blocks[0].attn.double()
    x = torch.randn(2, 7, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(top_k_attention(attention, x, 7), attention(x))
    qkv = attention.qkv(x).reshape(2, 7, 3, 2, 16).permute(2, 0, 3, 1, 4)
    value = qkv[2].gather(2, (qkv[0] @ qkv[1].mT).argmax(3, keepdim=True).expand(-1, -1, -1, 16))
    torch.testing.assert_close(  # one key: its value, whatever the logit
        top_k_attention(attention, x, 1), attention.proj(value.transpose(1, 2).flatten(2))
    )
    with pytest.raises(ValueError, match="at least 1 key"):
        top_k_attention(attention, x, 0)


def test_positions_tell_rows_from_columns() -> None:
    waves = position_waves(3, 5, 8)
    assert waves.shape == (15, 8)
    expected = [wave(place * f) for place in (1, 2) for wave in (math.sin, math.cos) for f in (1, 0.01)]
    torch.testing.assert_close(waves[7], torch.tensor(expected))  # row 1, column 2
    assert torch.cdist(waves, waves).add(torch.eye(15)).min() > 0.01
    with pytest.raises(ValueError, match="multiple of 4"):
        position_waves(2, 2, 6)


def test_masks_hide_the_same_number_anywhere() -> None:
    torch.manual_seed(0)
    kept = draw_visible(4000, 8, 2)
    assert kept.shape == (4000, 2) and bool((kept[:, 1] > kept[:, 0]).all())
    shares = kept.flatten().bincount(minlength=8) / 4000
    torch.testing.assert_close(shares, torch.full((8,), 0.25), atol=0.03, rtol=0)


def test_error_is_that_of_hidden_patches() -> None:
    target = torch.zeros(2, 3, 4)
    predicted = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1).expand(2, 3, 4)
    visible = torch.tensor([[True, False, False], [True, True, True]])
    torch.testing.assert_close(hidden_error(predicted, target, visible), torch.tensor([(4 + 9) / 2, 0.0]))
    assert hidden_error(predicted.bfloat16(), target.bfloat16(), visible).dtype == torch.float32


def test_encoder_does_not_see_hidden_patches_and_the_target_does_not_leak(
    small_vit: EncoderConfig, images: torch.Tensor
) -> None:
    method = mae(small_vit)
    kept = draw_visible(4, 16, 4, torch.Generator().manual_seed(1))
    predicted, visible, tokens = method.predict(images, kept)
    assert visible.sum(1).tolist() == [4] * 4 and predicted.shape == (4, 16, 768) and tokens.shape == (4, 4, 32)
    patches = patchify(images, 16)
    noise = torch.randn_like(patches)
    changed = unpatchify(torch.where(visible.unsqueeze(2), patches, noise), 16, 4, 4)
    torch.testing.assert_close(method.predict(changed, kept)[0], predicted)
    changed = unpatchify(torch.where(visible.unsqueeze(2), noise, patches), 16, 4, 4)
    assert (method.predict(changed, kept)[0] - predicted).abs().max() > 1e-3


def test_targets_have_mean_0_and_deviation_1(small_vit: EncoderConfig, images: torch.Tensor) -> None:
    target = mae(small_vit).targets(3 * images + 5)
    torch.testing.assert_close(target.mean(2), torch.zeros(4, 16).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(target.std(2), torch.ones(4, 16).double(), atol=1e-5, rtol=0)
    assert torch.equal(mae(small_vit, normalise_patches=False).targets(images), patchify(images, 16))


def test_visible_pixels_stay_in_pictures(small_vit: EncoderConfig, batch: ViewBatch) -> None:
    shown = batch.images[:5, 0]
    for method, count in ((mae(small_vit), 5), (mixed(small_vit), 4)):
        rows = method.decoded(shown, torch.Generator().manual_seed(0))
        again = method.decoded(shown, torch.Generator().manual_seed(0))
        assert list(rows) == ["visible patches", "reconstruction"]
        patches = [patchify(x.double(), 16) for x in (shown[:count] / 255, *rows.values())]
        kept = (patches[0] - patches[1]).abs().amax(2) < 1e-5
        assert 0.1 < kept.double().mean() < 0.6
        torch.testing.assert_close(patches[2][kept], patches[0][kept], atol=1e-5, rtol=0)
        assert torch.equal(rows["reconstruction"], again["reconstruction"])
    assert mixed(small_vit).decoded(shown[:1], torch.Generator()) == {}  # one image cannot be mixed


def test_every_patch_is_in_one_mixture_of_its_group() -> None:
    order = draw_order(50, 12, 4, torch.Generator().manual_seed(0))
    assert order.shape == (50, 4, 12)
    assert torch.equal(order.sort(1).values, torch.arange(4).view(1, 4, 1).expand(50, 4, 12))
    assert visible_of(order, 4).sum(1).eq(1).all()  # over the mixtures, each patch of each image is seen once
    shares = visible_of(order[:, :1], 4).double().mean((0, 1, 3))
    torch.testing.assert_close(shares, torch.full((4,), 0.25).double(), atol=0.06, rtol=0)
    assert torch.equal(draw_order(3, 5, 1), torch.zeros(3, 1, 5, dtype=torch.int64))  # alone: nothing is mixed


def test_mixing_keeps_positions() -> None:
    order = draw_order(3, 6, 2, torch.Generator().manual_seed(0))
    tokens = torch.arange(3 * 2 * 6).view(3, 2, 6, 1)
    found = patch_mix(tokens, order)
    assert torch.equal(found[..., 0] % 6, torch.arange(6).expand(3, 2, 6))
    assert torch.equal(found[..., 0] // 6 % 2, order)
    assert torch.equal(found.sum(1), tokens.sum(1))


def test_contrast_is_supcon_of_the_mixed_tokens(small_vit: EncoderConfig, build_batch: Any, take_step: Any) -> None:
    batch = build_batch(views=1)
    method = mixed(small_vit, contrast=0.3, temperature=0.5, mixtures=2)
    out = take_step(method, batch)
    torch.manual_seed(0)
    sources = draw_order(3, 16, 2)
    images = method.normalise(batch.images[:, 0])
    predicted, tokens = method.predict_sources(images, sources)
    contrast = token_supcon(tokens.flatten(0, 1), sources.flatten(0, 1), 0.5).mean()
    torch.testing.assert_close(out.terms["contrast"], contrast.detach())
    torch.testing.assert_close(out.loss, out.terms["reconstruction"] + 0.3 * contrast)
    # written out: every source from every mixture
    target = method.targets(images).view(3, 2, 16, 768)
    errors = [
        (predicted[n, m, g] - target[n, g]).square().mean(1)[sources[n, m] != g].mean()
        for n in range(3)
        for m in range(2)
        for g in range(2)
    ]
    torch.testing.assert_close(out.terms["reconstruction"], torch.stack(errors).mean().detach())


def test_decoder_of_a_source_sees_its_own_tokens_alone(small_vit: EncoderConfig) -> None:
    """Of one mixture the decoder for image 0 must not change with tokens that came from image 1."""
    method = mixed(small_vit)
    tokens, noise = torch.randn(2, 1, 16, 32, generator=torch.Generator().manual_seed(0)).double()
    visible = torch.arange(16).view(1, 16) % 2 == 0
    prefix = torch.zeros(1, 0, 32).double()
    swapped = torch.where(visible.unsqueeze(2), tokens, noise)
    assert torch.equal(method.decoder(prefix, tokens, visible), method.decoder(prefix, swapped, visible))


def test_segments_add_up_to_nothing(small_vit: EncoderConfig, images: torch.Tensor) -> None:
    """A change common to all segments cancels, so that an image alone needs none."""
    method = mixed(small_vit)
    sources = draw_order(2, 16, 2, torch.Generator().manual_seed(0))
    before, _ = method.predict_sources(images, sources)
    with torch.no_grad():
        method.segments += 3.0
    torch.testing.assert_close(method.predict_sources(images, sources)[0], before)
    with torch.no_grad():
        method.segments[0, 0] += 1.0  # all numbers of a token alike would vanish in its norm
    assert (method.predict_sources(images, sources)[0] - before).abs().max() > 1e-6


def test_labels_tell_the_control_apart(small_vit: EncoderConfig) -> None:
    off = {"homologous": 0, "segments": False, "contrast": 0.0}
    assert mixed(small_vit, **off).label == "naive mixing"
    for name, value in (("homologous", 1), ("segments", True), ("contrast", 0.1)):
        assert mixed(small_vit, **{**off, name: value}).label == "MixedAE"
    assert mixed(small_vit).homologous == 1  # half of two blocks
    assert mae(small_vit).label == "MAE"


def test_part_all_is_the_whole_image_by_the_encoder_itself(small_vit: EncoderConfig, batch: ViewBatch) -> None:
    for method in (mae(small_vit), mixed(small_vit)):
        whole = method.features(batch.images[:, 0])
        assert list(whole) == ["all"]
        torch.testing.assert_close(whole["all"], method.encoder.model(method.normalise(batch.images[:, 0])))


@pytest.mark.parametrize("build", [mae, mixed])
def test_training_finds_the_colour_of_hidden_patches(build: Any, small_vit: EncoderConfig, build_batch: Any) -> None:
    batch = build_batch(views=1, objects=8)
    colours = torch.randint(256, (8, 1, 3, 1, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batch = replace(batch, images=colours.expand_as(batch.images))
    method = build(small_vit, normalise_patches=False, decoder_width=64).float().train()
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    errors = []
    for _ in range(60):
        out = method.step(batch)
        errors.append(out.terms["reconstruction"].item())
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    assert errors[-1] < 0.3 * errors[0]


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (mae, {"mask_ratio": 1.0}, "mask_ratio that hides some of the 16 patches and shows some, got 1.0"),
        (mae, {"mask_ratio": 0.01}, "got 0.01"),
        (mae, {"views": 0}, "at least 1 view, got 0"),
        (mae, {"decoder_heads": 3}, "divide width, got 1, 3, 16"),
        (mae, {"decoder_depth": 0}, "depth and heads of at least 1"),
        (mae, {"decoder_width": 18}, "multiple of 4"),
        (mixed, {"group": 1}, "group of at least 2 images"),
        (mixed, {"mixtures": 3}, "mixtures from 1 to group"),
        (mixed, {"contrast": -1.0}, "contrast of at least 0"),
        (mixed, {"homologous": 3}, "homologous from 0 to the encoder's 2 blocks, got 3"),
    ],
)
def test_impossible_settings_are_named(build: Any, changes: dict, message: str, small_vit: EncoderConfig) -> None:
    with pytest.raises(ValueError, match=message):
        build(small_vit, **changes)


def test_impossible_inputs_are_named(small_vit: EncoderConfig, build_batch: Any) -> None:
    with pytest.raises(ValueError, match=r"expected images of \(64, 64\) pixels .*img_size.*, got \(32, 32\)"):
        mae(small_vit).step(build_batch(size=32, views=1))
    with pytest.raises(ValueError, match="groups of 4 images: expected a multiple of it, got 6"):
        mixed(small_vit, group=4).step(build_batch(views=1))
    for name in ("resnet18", "timm/resnet10t", "timm/eva02_tiny_patch14_224"):
        with pytest.raises(ValueError, match="expected a plain vision transformer of timm"):
            mae(EncoderConfig(name))
