"""TCL's three terms against closed forms and their definitions written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from equissl.losses import clip, cma, imc, lmi, moco, pool_parts, similarity


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES, TEXTS, IMAGE_KEYS, TEXT_KEYS = random(4, 6, 5)
IMAGE_QUEUE, TEXT_QUEUE = random(2, 7, 5, seed=1)
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=torch.bool)


def test_cma_without_teacher_is_clip() -> None:
    found = cma(IMAGES, TEXTS, IMAGES, TEXTS, temperature=0.2, alpha=0.0)
    torch.testing.assert_close(found, clip(torch.stack([IMAGES, TEXTS], dim=1), 0.2))


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("blocked", [False, True])
def test_cma_is_the_definition(alpha: float, blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 50 if blocked else 2**26)

    def one_way(queries: Tensor, teacher: Tensor, keys: Tensor) -> Tensor:
        logits, theirs = (normalize(x) @ normalize(keys).T / 0.3 for x in (queries, teacher))
        targets = (1 - alpha) * torch.eye(*logits.shape).double() + alpha * theirs.softmax(dim=1)
        return cross_entropy(logits, targets)

    expected = one_way(IMAGES, IMAGE_KEYS, torch.cat([TEXT_KEYS, TEXT_QUEUE]))
    expected = (expected + one_way(TEXTS, TEXT_KEYS, torch.cat([IMAGE_KEYS, IMAGE_QUEUE]))) / 2
    found = cma(IMAGES, TEXTS, IMAGE_KEYS, TEXT_KEYS, IMAGE_QUEUE, TEXT_QUEUE, 0.3, alpha)
    torch.testing.assert_close(found, expected)


def test_imc_is_moco_with_the_other_keys_as_negatives() -> None:
    def within(queries: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
        return torch.stack(
            [
                moco(queries[i : i + 1], keys[i : i + 1], torch.cat([keys[:i], keys[i + 1 :], queue]), 0.3)
                for i in range(6)
            ]
        ).mean()

    expected = (within(IMAGES, IMAGE_KEYS, IMAGE_QUEUE) + within(TEXTS, TEXT_KEYS, TEXT_QUEUE)) / 2
    found = imc(IMAGES, TEXTS, IMAGE_KEYS, TEXT_KEYS, IMAGE_QUEUE, TEXT_QUEUE, 0.3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("number", [1, 16])
def test_lmi_of_orthonormal_samples(temperature: float, number: int) -> None:
    """All parts of a sample equal: log(1 + (N - 1) I exp(-1 / temperature))."""
    wholes = torch.eye(5, dtype=torch.float64)
    parts = wholes[:, None].expand(-1, number, -1)
    expected = math.log1p(4 * number * math.exp(-1 / temperature))
    assert lmi(wholes, parts, temperature=temperature).item() == pytest.approx(expected, rel=1e-10)
    collapsed = lmi(wholes[:1].expand(5, -1), parts[:1].expand(5, -1, -1), temperature=temperature)
    assert collapsed.item() == pytest.approx(math.log1p(4 * number), rel=1e-10)


def written_out(wholes: Tensor, parts: Tensor, mask: Tensor, temperature: float) -> float:
    losses = []
    for n, whole in enumerate(normalize(wholes)):
        scores = (parts @ whole / temperature).exp()
        negatives = float(scores[torch.arange(len(wholes)) != n][mask[torch.arange(len(wholes)) != n]].sum())
        own = scores[n][mask[n]].tolist()
        if own:
            losses.append(sum(-math.log(score / (score + negatives)) for score in own) / len(own))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("mask", [MASK, torch.ones(4, 3, dtype=torch.bool), MASK & (torch.arange(4) != 1)[:, None]])
def test_lmi_is_the_definition(mask: Tensor, blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 50 if blocked else 2**26)
    wholes, parts = random(4, 5), normalize(random(4, 3, 5, seed=2), dim=2)
    assert lmi(wholes, parts, mask, 0.3).item() == pytest.approx(written_out(wholes, parts, mask, 0.3), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_padding_may_hold_anything_in_any_precision(dtype: torch.dtype) -> None:
    wholes, parts = random(4, 5), normalize(random(4, 3, 5, seed=2), dim=2)
    expected = lmi(wholes, parts, MASK, 0.3)
    filled = parts.masked_fill(~MASK[..., None], float("nan")).to(dtype)
    wholes = wholes.to(dtype).requires_grad_()
    loss = lmi(wholes, filled, MASK, 0.3)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=2e-3) and wholes.grad is not None
    assert wholes.grad.isfinite().all() and wholes.grad.abs().max() > 0


def test_a_batch_with_the_parts_of_one_sample_has_no_negatives() -> None:
    """The gradient of the log-sum-exp of nothing is NaN."""
    mask = torch.zeros(4, 3, dtype=torch.bool)
    for rows in (slice(0, 0), slice(2, 3)):
        mask[rows] = True
        wholes = random(4, 5).requires_grad_()
        loss = lmi(wholes, normalize(random(4, 3, 5), dim=2), mask, 0.3)
        loss.backward()
        assert loss == 0 and wholes.grad is not None and wholes.grad.abs().max() == 0


def test_lmi_keeps_no_table_of_parts_by_parts() -> None:
    count, number = 16, 32
    wholes, parts = random(count, 8).requires_grad_(), random(count, number, 8)
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        lmi(wholes, parts)
    assert sum(kept.values()) / 8 < 8 * count**2 * number < (count * number) ** 2


def test_only_online_embeddings_have_a_gradient() -> None:
    inputs = [x.clone().requires_grad_() for x in (IMAGES, TEXTS, IMAGE_KEYS, TEXT_KEYS, IMAGE_QUEUE, TEXT_QUEUE)]
    for loss in (cma, imc):
        gradients = torch.autograd.grad(loss(*inputs), inputs, allow_unused=True)
        assert all(x is not None and x.abs().max() > 0 for x in gradients[:2])
        assert all(x is None for x in gradients[2:])
    wholes, parts = random(4, 5).requires_grad_(), random(4, 3, 5).requires_grad_()
    lmi(wholes, parts).backward()
    assert wholes.grad is not None and parts.grad is None


def test_gradients_are_the_limit_of_differences() -> None:
    keys = IMAGE_KEYS, TEXT_KEYS, IMAGE_QUEUE, TEXT_QUEUE
    pair, scale = (IMAGES.clone().requires_grad_(), TEXTS.clone().requires_grad_()), torch.tensor(0.4).double()
    assert torch.autograd.gradcheck(lambda x, y: cma(x, y, *keys, 0.4), pair)
    assert torch.autograd.gradcheck(lambda x, y: imc(x, y, *keys, 0.4), pair)
    parts = normalize(random(4, 3, 5, seed=2), dim=2)
    assert torch.autograd.gradcheck(lambda g: lmi(g, parts, MASK, 0.4), random(4, 5).requires_grad_())
    # a learnable temperature: hard targets alone, since the teacher's are fixed for the gradient
    scale.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: cma(IMAGES, TEXTS, *keys, t, 0.0), scale)
    assert torch.autograd.gradcheck(lambda t: lmi(IMAGES[:4], parts, MASK, t), scale)


def test_pooled_parts_are_means_of_unit_vectors() -> None:
    patches = random(2, 6 * 4, 3)
    unit = normalize(patches, dim=2).view(2, 6, 4, 3)
    found = pool_parts(patches, (6, 4), 2)
    assert found.shape == (2, 4, 3) and found.norm(dim=2).max() < 1
    torch.testing.assert_close(found[:, 1], unit[:, :3, 2:].mean(dim=(1, 2)))
    torch.testing.assert_close(pool_parts(random(2, 16, 3), (4, 4), 4), normalize(random(2, 16, 3), dim=2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cma(IMAGES, TEXTS, IMAGE_KEYS, TEXT_KEYS, alpha=1.5), r"alpha in \[0, 1\], got 1.5"),
        (lambda: cma(IMAGES, TEXTS[1:], IMAGE_KEYS, TEXT_KEYS), r"images and texts .*got \(6, 5\) and \(5, 5\)"),
        (lambda: imc(IMAGES, TEXTS, IMAGE_KEYS[1:], TEXT_KEYS), r"images and image keys .*got \(6, 5\) and \(5, 5\)"),
        (lambda: imc(IMAGES, TEXTS, IMAGE_KEYS, TEXT_KEYS, random(7, 4)), r"queue \(M, 5\), got \(7, 4\)"),
        (lambda: cma(IMAGES[:1], TEXTS[:1], IMAGE_KEYS[:1], TEXT_KEYS[:1]), "at least 2 keys, got 1"),
        (lambda: cma(IMAGES, TEXTS, IMAGE_KEYS, TEXT_KEYS, temperature=0.0), "positive temperature, got 0.0"),
        (lambda: lmi(random(4, 5), random(4, 5)), r"parts \(N, I, D\), got \(4, 5\) and \(4, 5\)"),
        (lambda: lmi(random(1, 5), random(1, 3, 5)), "at least 2 samples, got 1"),
        (lambda: lmi(random(4, 5), random(4, 3, 5), MASK[:, :2]), r"mask \(4, 3\) of booleans, got torch.bool \(4, 2"),
        (lambda: lmi(random(4, 5), random(4, 3, 5), MASK.long()), "of booleans, got torch.int64"),
        (lambda: pool_parts(random(2, 12, 3), (4, 4), 2), r"patches \(N, 16, D\) and a side in 1\.\.4, got \(2, 12"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
