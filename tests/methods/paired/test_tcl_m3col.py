from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from paired_batches import CLOUD, ENCODER, TEXT, random_batch

from equissl.losses import clip
from equissl.losses.m3col import soft_clip
from equissl.losses.tcl import cma, imc, lmi
from equissl.methods.paired.m3col import M3CoL
from equissl.methods.paired.tcl import TCL


def small_tcl(**options) -> TCL:
    torch.manual_seed(0)
    return TCL(**{"encoder": ENCODER, "text": TEXT, "projector": (8,), "queue": 16, "ramp": 4, **options})


def small_m3col(**options) -> M3CoL:
    torch.manual_seed(0)
    settings = {"encoder": ENCODER, "text": TEXT, "projector": (16, 8), "num_classes": 3, "fusion": 8}
    return M3CoL(**{**settings, **options})


def test_tcl_is_the_mean_of_six_terms() -> None:
    method, batch = small_tcl(alpha=0.0).eval(), random_batch(views=2)
    images, (tokens, lengths) = method.inputs("image", batch)[0], method.inputs("text", batch)
    image = method.projectors["image"](method.encoder(images[:, 0]))
    text = method.projectors["text"](method.text(tokens[:, 0], lengths[:, 0]))  # type: ignore[misc]
    keys, parts, mask = method.teach(images[:, 1], tokens[:, 0], lengths[:, 0])
    queues = [method.queues[name]() for name in ("image", "text")]
    terms = [
        cma(image, text, *keys, *queues, 0.07, 0.0),
        imc(image, text, *keys, *queues, 0.07),
        (lmi(image, parts[0], None, 0.07) + lmi(text, parts[1], mask, 0.07)) / 2,
    ]
    torch.testing.assert_close(method.step(batch).loss, torch.stack(terms).mean(), rtol=1e-5, atol=1e-6)
    assert parts[0].shape == (6, 1, 8) and parts[1].shape == (6, 11, 8)  # without the token that starts a text


def test_tcl_queues_hold_the_teacher_s_keys_and_its_share_rises() -> None:
    method, batch = small_tcl(), random_batch(views=2)
    assert method.share() == 0
    images, (tokens, lengths) = method.inputs("image", batch)[0], method.inputs("text", batch)
    method.teacher.eval()
    method.step(batch)
    keys = method.teach(images[:, 1], tokens[:, 0], lengths[:, 0])[0]
    for name, key in zip(("image", "text"), keys, strict=True):
        torch.testing.assert_close(method.queues[name]()[:6], F.normalize(key, dim=1), rtol=1e-4, atol=1e-5)
    for step in range(2):
        method.after_step(step, 10)
    assert method.share() == pytest.approx(0.2)
    for step in range(2, 8):
        method.after_step(step, 10)
    assert method.share() == pytest.approx(0.4)


def test_tcl_temperature_stays_within_its_bounds() -> None:
    scale = small_tcl().temperature
    for value, bound in ((-20.0, 0.5), (20.0, 0.001)):
        torch.nn.init.constant_(scale.log_scale, value)
        assert scale().item() == pytest.approx(bound, rel=1e-5)


def test_m3col_without_mixtures_is_clip_and_classification() -> None:
    method, batch = small_m3col(mixed=0.0).eval(), random_batch()
    z = {name: of[:, 0] for name, of in method.project(method.represent(batch)).items()}
    logits = [method.classifiers[name](of) for name, of in z.items()] + [method.fuse(z)]
    errors = torch.stack([F.cross_entropy(of, batch.labels) for of in logits]).sum()
    contrast = 2 * clip(torch.stack(list(z.values()), 1), 0.1)  # either modality as the mixed one
    torch.testing.assert_close(method.step(batch).loss, errors + 0.1 * contrast, rtol=1e-5, atol=1e-6)


def test_m3col_three_modalities_are_a_cycle_and_soft_clip_follows() -> None:
    method, batch = small_m3col(mixed=0.0, cloud=CLOUD, mixing=0.5).eval(), random_batch()
    z = {name: of[:, 0] for name, of in method.project(method.represent(batch)).items()}
    pairs = [("image", "cloud"), ("cloud", "text"), ("text", "image")]
    cycle = torch.stack([clip(torch.stack([z[x], z[y]], 1), 0.1) for x, y in pairs]).sum()
    torch.testing.assert_close(method.step(batch).terms["contrast"], cycle.detach(), rtol=1e-5, atol=1e-6)
    method.after_step(4, 10)  # the fifth of ten steps is done
    soft = sum(soft_clip(z[x], z[y], 0.125) + soft_clip(z[y], z[x], 0.125) for x, y in pairs) / 2
    torch.testing.assert_close(method.step(batch).terms["contrast"], soft.detach(), rtol=1e-5, atol=1e-6)


def test_m3col_mixes_images_as_inputs_and_leaves_the_batch_alone() -> None:
    method, batch = small_m3col().eval(), random_batch()
    found, partners, shares = method.represent(batch), torch.arange(6).roll(1), torch.full((6,), 0.7)
    images = method.inputs("image", batch)[0][:, 0]
    before = images.clone()
    mixed = method.mix("image", batch, found, partners, shares)
    expected = method.projectors["image"](method.encoder(0.7 * images + 0.3 * images[partners]))
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(images, before)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"1 or 2 texts, .* got 3"):
        small_tcl(texts=3)
    with pytest.raises(ValueError, match="at least 2 num_classes"):
        small_m3col(num_classes=1)
    with pytest.raises(ValueError, match=r"labels in 0\.\.1 .*, got 0\.\.2"):
        small_m3col(num_classes=2).step(random_batch())
