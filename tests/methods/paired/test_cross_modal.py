from __future__ import annotations

import pytest
import torch
from paired_batches import CLOUD, ENCODER, EQUIVARIANT, SMALL, TEXT, random_batch

from equissl.losses import clip
from equissl.methods.paired.cross_modal import CrossModal, augmented_pairs, clean_pairs
from equissl.objectives import ObjectiveConfig

KINDS = {
    "image and text": {"text": TEXT},
    "image and cloud": {"cloud": CLOUD},
    "turning cloud": {"cloud": EQUIVARIANT},
    "all three": {"cloud": CLOUD, "text": TEXT},
}


@pytest.mark.parametrize("encoders", KINDS.values(), ids=list(KINDS))
def test_clip_of_all_pairs_of_modalities(encoders: dict) -> None:
    torch.manual_seed(0)
    method, batch = CrossModal(**SMALL, **encoders).eval(), random_batch()
    output = method.step(batch)
    z = [found[:, 0] for found in method.project(method.represent(batch)).values()]
    pairs = [clip(torch.stack([z[i], z[j]], 1), 0.07) for i in range(len(z)) for j in range(i)]
    torch.testing.assert_close(output.loss, torch.stack(pairs).mean(), rtol=1e-4, atol=1e-5)
    assert output.features.shape == (6, 1, method.feature_dim)
    output.loss.backward()
    for name, encoder in method.encoders().items():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters()), name


def test_augmented_pairs_count_once_for_each_augmentation() -> None:
    torch.manual_seed(0)
    method = CrossModal(**SMALL, text=TEXT, views=3, texts=3, smoothing=0.1).eval()
    batch = random_batch(views=3, texts=3)
    z = method.project(method.represent(batch))
    clean = clip(torch.stack([z["image"][:, 0], z["text"][:, 0]], 1), 0.07)
    local = [clip(torch.stack([z["image"][:, i], z["text"][:, j]], 1), 0.07, 0.1) for i in (1, 2) for j in (1, 2)]
    expected = (clean + 2 * torch.stack(local).mean()) / 3
    torch.testing.assert_close(method.step(batch).loss, expected, rtol=1e-4, atol=1e-5)


def test_one_item_is_paired_with_further_ones_of_others() -> None:
    z = {"image": torch.randn(4, 3, 2), "cloud": torch.randn(4, 1, 2), "text": torch.randn(4, 1, 2)}
    found = augmented_pairs(z)
    assert len(clean_pairs(z)) == 3 and len(found) == 4  # two further images with the cloud, and with the text
    assert torch.equal(found[1], torch.stack([z["image"][:, 2], z["cloud"][:, 0]], 1))


@pytest.mark.parametrize("name", ["simsiam", "byol", "barlow_twins", "swav", "vicreg"])
def test_further_objectives(name: str) -> None:
    options = {"swav": {"prototypes": 8}, "byol": {"hidden": 16}}.get(name, {})
    torch.manual_seed(0)
    extra = ObjectiveConfig(name, options)
    method = CrossModal(**SMALL, text=TEXT, cloud=CLOUD, extra=extra, views=2, texts=2)
    batch = random_batch(views=2, texts=2)
    output = method.step(batch)
    assert output.loss.isfinite() and len(output.terms) > 3
    output.loss.backward()
    method.after_step(0, 10)
    torch.manual_seed(0)
    plain = CrossModal(**SMALL, text=TEXT, cloud=CLOUD, extra=extra, weight=0.0, views=2, texts=2)
    torch.testing.assert_close(plain.step(batch).loss, plain.contrast(plain.project(plain.represent(batch)))[0])
    assert method.label == {"simsiam": "SiamLIP", "byol": "BYOLIP", "barlow_twins": "BarLIP", "swav": "SwALIP"}.get(
        name, "CLIP and vicreg"
    )


def test_the_teacher_follows_every_branch() -> None:
    extra = ObjectiveConfig("byol", {"hidden": 16, "momentum": (0.5, 0.5)})
    method = CrossModal(**SMALL, text=TEXT, extra=extra)
    assert method.teacher is not None
    before = {name: p.clone() for name, p in method.teacher.named_parameters()}
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 1.0 * parameter.requires_grad
    method.after_step(0, 10)
    for name, parameter in method.teacher.named_parameters():
        torch.testing.assert_close(parameter, before[name] + 0.5, rtol=1e-4, atol=1e-5)


def test_errors() -> None:
    with pytest.raises(ValueError, match="beside that of images, got neither"):
        CrossModal(ENCODER)
    with pytest.raises(ValueError, match="at least 1, got 0, 1 and 1"):
        CrossModal(**SMALL, text=TEXT, views=0)
    with pytest.raises(ValueError, match="objective of two embeddings of an object, got 'supcon'"):
        CrossModal(**SMALL, text=TEXT, extra=ObjectiveConfig("supcon"))
    with pytest.raises(ValueError, match="takes 2 of modality image per object, got 1"):
        CrossModal(**SMALL, text=TEXT, views=2).step(random_batch())
