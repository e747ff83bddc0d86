"""seq-JEPA against the published forward pass, counts and identities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.methods import ConvJEPA, SeqJEPA
from equissl.methods.views.actions import Action
from equissl.methods.views.seq_jepa import cosine_distance
from equissl.training.phases import check_phases
from equissl.weights.layouts import find_layout, rename

TINY: dict[str, Any] = {
    "encoder": EncoderConfig(width=4), "action_dim": 8, "layers": 2, "hidden": 16, "dropout": 0.0,
}  # fmt: skip


def tiny(seed: int = 0, **changes: Any) -> SeqJEPA:
    torch.manual_seed(seed)
    method = SeqJEPA(**{**TINY, **changes})
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return method


def published(golden: Path, fill_by_rule: Any) -> dict[str, Tensor]:
    """The published tensors in their own order, filled as the golden outputs were made."""

    class Bag(torch.nn.Module):
        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            return tensors

    tensors: dict[str, Tensor] = {}
    for line in (golden / "official_keys_seqjepa.tsv").read_text().splitlines()[1:]:
        key, shape, kind = line.split("\t")
        sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
        tensors[key] = torch.zeros(sizes, dtype=torch.float64 if kind.startswith("float") else torch.int64)
    fill_by_rule(Bag())
    return tensors


def test_forward_pass_is_the_published_one(golden: Path, fill_by_rule: Any) -> None:
    tensors = published(golden, fill_by_rule)
    layout = find_layout("seqjepa", tensors)
    method = SeqJEPA(EncoderConfig(layout.init_args["encoder"]["name"])).double().eval()
    method.load_state_dict(rename(tensors, layout, method.state_dict(), set()))
    m, j = torch.arange(3 * 64 * 64, dtype=torch.float64), torch.arange(8, dtype=torch.float64)
    images = torch.cos((0.013 + 0.016 * j[:, None]) * m).view(2, 4, 3, 64, 64)
    expected = {key: torch.from_numpy(value) for key, value in np.load(golden / "seqjepa_forward.npz").items()}
    actions = torch.sin(1 + torch.arange(24, dtype=torch.float64)).view(2, 3, 4)
    actions = actions / actions.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(actions, expected["actions"], rtol=1e-12, atol=0)
    with torch.no_grad():
        z = method.encoder(images[:, :3].flatten(0, 1)).view(2, 3, -1)
        moves = method.embed_actions(actions)
        aggregate = method.aggregate(z, moves)
        loss = cosine_distance(method.predict(aggregate, moves), method.teacher["encoder"](images[:, 3]))
    for found, name in ((z[:, 0], "z1"), (z[:, 1], "z2"), (aggregate, "z_agg"), (loss, "loss")):
        torch.testing.assert_close(found, expected[name], rtol=1e-9, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")


def test_parameter_counts_of_the_published_models() -> None:
    def count(**changes: Any) -> int:
        return sum(p.numel() for p in SeqJEPA(**changes).parameters() if p.requires_grad)

    with torch.device("meta"):
        model = SeqJEPA()
        assert count() == 27_262_784
        assert sum(p.numel() for p in model.parameters()) == 38_439_296
        assert sum(p.numel() for p in model.aggregator.parameters()) == 14_771_840 + 640
        assert sum(p.numel() for p in model.predictor.parameters()) == 1_313_280
        assert count(action="quaternion+hue") == 27_263_040
        assert count(action=None) == 21_686_336
        small = EncoderConfig("torchvision/resnet18", stem="small")
        assert count(encoder=small, action="crop+jitter+blur") == 27_255_744
        assert count(encoder=small, action="position") == 27_254_848


@pytest.fixture
def sequence(build_batch: Any) -> ViewBatch:
    return build_batch(objects=6, views=4)


def test_step_is_the_definition_spelled_out(sequence: ViewBatch) -> None:
    method = tiny().double()
    out = method.step(sequence)
    reference = tiny().double()  # running statistics as they were
    images = reference.normalise(sequence.images)
    z = reference.encoder(images[:, :3].reshape(18, 3, 64, 64)).view(6, 3, 32)
    actions = torch.stack([sequence.relative_quats(i, i + 1) for i in range(3)], dim=1)
    e = reference.action_projector(actions.reshape(18, 4)).view(6, 3, 8)
    tokens = [torch.cat([z[:, i], e[:, i] if i < 2 else torch.zeros(6, 8)], dim=1) for i in range(3)]
    start = reference.aggregator.token.expand(6, 1, 40)
    whole = reference.aggregator.encoder(torch.cat([start, torch.stack(tokens, dim=1)], dim=1))
    predicted = reference.predictor(torch.cat([whole[:, 0], e[:, 2]], dim=1))
    target = reference.teacher["encoder"](images[:, 3])
    expected = 1 - torch.nn.functional.cosine_similarity(predicted, target).mean()
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.features, torch.cat([z, target[:, None]], dim=1).detach())
    out.loss.backward()
    expected.backward()
    for (name, ours), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        if ours.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad, msg=lambda text, n=name: f"{n}: {text}")
        else:
            assert ours.grad is None
    for (name, ours), theirs in zip(method.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, n=name: f"{n}: {text}")  # the gap left no trace


def test_contrast_of_crops_by_learned_views(sequence: ViewBatch) -> None:
    """Two of three observed views each, contrasted by aggregates; the augmenters alone learn in a second phase."""
    plain, method = tiny(action="turn").double(), tiny(action="turn", contrast=0.3, augmenter=(8,)).double()
    plain.load_state_dict({k: v for k, v in method.state_dict().items() if not k.startswith("learned_views")})
    torch.manual_seed(3)
    out, single = method.step(sequence), plain.step(sequence)
    torch.manual_seed(3)
    starts = torch.randint(2, (2,)).tolist()
    plain.eval()  # batch norms in training would have other statistics for each look at the batch
    method.eval()
    moves = plain.embed_actions(plain.actions(sequence))
    z = plain.encoder(plain.normalise(sequence.images[:, :3].flatten(0, 1))).unflatten(0, (6, 3))
    torch.manual_seed(3)
    found = method.cropped_aggregates(z, moves)
    for start, aggregate in zip(starts, found, strict=True):
        torch.testing.assert_close(aggregate, plain.aggregate(z[:, start : start + 2], moves[:, start : start + 1]))
    contrast = out.terms["learned_views"] + 0.1 * out.terms["gap"]
    torch.testing.assert_close(out.loss.detach(), single.loss.detach() + 0.3 * contrast)
    method.train()
    before = {name: buffer.clone() for name, buffer in method.named_buffers()}
    method.augment(sequence).loss.backward()
    learning = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert learning == {"learned_views"} == set(method.phases[1].parts)
    assert all(torch.equal(before[name], buffer) for name, buffer in method.named_buffers())
    check_phases(method, 1)
    assert plain.phases == SeqJEPA.phases


def test_aggregate_sees_neither_the_last_action_nor_the_order_of_tokens(sequence: ViewBatch) -> None:
    method = tiny().double().eval()
    z = torch.randn(6, 3, 32, dtype=torch.float64)
    moves = method.embed_actions(method.actions(sequence))
    other = moves.clone()
    other[:, 2] += 1
    aggregate = method.aggregate(z, moves)
    assert torch.equal(method.aggregate(z, other), aggregate)
    assert torch.equal(method.aggregate(z, moves[:, :2]), aggregate)
    swapped = method.aggregate(z[:, [1, 0, 2]], moves[:, [1, 0, 2]])
    torch.testing.assert_close(swapped, aggregate)  # whole tokens, view and action together
    assert not torch.allclose(method.aggregate(z[:, [0, 2, 1]], moves), aggregate)  # the last view's has no action
    assert not torch.equal(method.predict(aggregate, moves), method.predict(aggregate, other))


@pytest.mark.parametrize("condition", ["both", "aggregator", "predictor"])
def test_conditioning(condition: str, sequence: ViewBatch) -> None:
    method = tiny(condition=condition).double()
    out = method.step(sequence)
    out.loss.backward()
    for name, parameter in method.named_parameters():
        assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name
    assert out.action_gap["equivariance"] == out.loss
    assert out.action_gap["equivariance_ignored_action"] != out.loss
    assert method.aggregator.dim == 32 + 8 * (condition != "predictor")
    assert method.predictor[0].in_features == method.aggregator.dim + 8 * (condition != "aggregator")
    z, moves = torch.randn(6, 3, 32, dtype=torch.float64), method.embed_actions(method.actions(sequence))
    told = not torch.equal(method.eval().aggregate(z, moves), method.aggregate(z, moves.roll(1, 0)))
    assert told == (condition != "predictor")


@pytest.mark.parametrize("action", ["quaternion", None])
def test_a_flow_equivariant_cell_aggregates(action: str | None, sequence: ViewBatch) -> None:
    method = tiny(aggregator="recurrent", action=action).double()
    out = method.step(sequence)
    out.loss.backward()
    for name, parameter in method.named_parameters():
        assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name
    z, moves = torch.randn(6, 3, 32, dtype=torch.float64), method.embed_actions(method.actions(sequence))
    aggregate = method.aggregate(z, moves)
    assert aggregate.shape == (6, method.aggregator.dim)
    assert not torch.allclose(method.aggregate(z.flip(1), moves), aggregate)  # it minds the order
    for views in (1, 8):  # of any length
        moves = None if action is None else torch.zeros(6, views, 8, dtype=torch.float64)
        assert method.aggregate(torch.randn(6, views, 32, dtype=torch.float64), moves).isfinite().all()


def test_no_action_at_all(sequence: ViewBatch) -> None:
    method = tiny(action=None).double()
    out = method.step(sequence)
    assert out.action_gap is None and method.predictor_losses(sequence) is None
    assert method.actions(sequence) is None and not hasattr(method, "action_projector")


def test_online_target_lets_no_gradient_through(sequence: ViewBatch) -> None:
    method = tiny(target="online").double()
    out = method.step(sequence)
    assert method.teacher is None
    out.loss.backward()
    other = tiny().double()  # a teacher that has not moved yet is the encoder itself
    other.teacher.networks["encoder"].load_state_dict(other.encoder.state_dict())
    theirs = other.step(sequence)
    theirs.loss.backward()
    torch.testing.assert_close(out.loss, theirs.loss)
    for ours, reference in zip(method.parameters(), (p for p in other.parameters() if p.requires_grad), strict=True):
        torch.testing.assert_close(ours.grad, reference.grad)


def test_teacher_follows_the_cosine(sequence: ViewBatch) -> None:
    method = tiny()
    old = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1)
    method.after_step(500, 1000)
    for before, now, student in zip(old, method.teacher.parameters(), method.encoder.parameters(), strict=True):
        torch.testing.assert_close(now, 0.998 * before + 0.002 * student)


def test_wrong_choices_are_named() -> None:
    for changes, message in (
        ({"views": 1}, "at least 2 views"),
        ({"condition": "none"}, "got 'none'"),
        ({"target": "ema"}, "got 'ema'"),
        ({"condition": "aggregator", "views": 2}, "with views=2 there is none"),
        ({"action_dim": 7}, "heads that divide 39"),
        ({"aggregator": "lstm"}, "unknown aggregator 'lstm'"),
        ({"aggregator": "recurrent", "action_dim": 7}, "multiple of the 8 orientations, got 39"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(**changes)
    with pytest.raises(ValueError, match="expected 2 embedded actions for 3 views, got none"):
        tiny().aggregate(torch.zeros(2, 3, 32))


def test_prediction_in_eval_mode_under_autocast(sequence: ViewBatch) -> None:
    method = tiny().eval()
    with torch.no_grad():
        exact = method.predictor_losses(sequence)["equivariance"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = method.predictor_losses(sequence)["equivariance"]
    assert rough.dtype == torch.float32 and abs(rough - exact) < 0.03


def test_conv_jepa_counts_and_definition(build_batch: Any) -> None:
    with torch.device("meta"):
        method = ConvJEPA(EncoderConfig("torchvision/resnet18", stem="small"))
        assert sum(p.numel() for p in method.parameters() if p.requires_grad) == 12_879_296
    options: dict[str, Any] = {"views": 4, "action": "quaternion", "action_dim": 8, "projector": (12, 10), "hidden": 16}
    torch.manual_seed(0)
    method = ConvJEPA(EncoderConfig(width=4), **options).double().eval()
    batch = build_batch(objects=6, views=4)
    with torch.no_grad():
        images = method.normalise(batch.images)
        target = method.teacher["projector"](method.teacher["encoder"](images[:, 3]))
        losses = []
        for view in range(3):
            g = method.projector(method.encoder(images[:, view]))
            # fresh statistics of batch norm: mean 0, variance 1
            e = batch.relative_quats(view, 3) @ method.action_projector[0].weight.T / (1 + 1e-5) ** 0.5
            predicted = method.predictor(torch.cat([e, g], dim=1))
            losses.append(1 - torch.nn.functional.cosine_similarity(predicted, target).mean())
        torch.testing.assert_close(method.step(batch).loss, sum(losses))
        method.reduction = "mean"
        torch.testing.assert_close(method.step(batch).loss, sum(losses) / 3)
        pair = replace(batch, **{n: getattr(batch, n)[:, [1, 3]] for n in ("images", "rotations", "latents")},
                       translations=None)  # fmt: skip
        z = method.equi_embedding(method.features(batch.images[:, 1]))
        found = 1 - torch.nn.functional.cosine_similarity(method.predict_embedding(z, pair), target).mean()
        torch.testing.assert_close(found, losses[1])
    with pytest.raises(ValueError, match="got 'median'"):
        ConvJEPA(EncoderConfig(width=4), reduction="median")  # type: ignore[arg-type]


def test_actions_are_differences_of_named_latents(build_batch: Any) -> None:
    batch = build_batch(views=3)
    whole = Action("quaternion+scene")(batch, 1, 2)
    assert whole.shape == (6, 8) and Action("quaternion+scene").latents[1] == "light_theta"
    torch.testing.assert_close(whole[:, 4:], batch.latents[:, 2, 3:] - batch.latents[:, 1, 3:])
    torch.testing.assert_close(whole[:, :4], batch.relative_quats(1, 2))
    assert Action("crop+jitter+blur").dim == 9 and Action("position").identity == (0.0, 0.0)
    assert Action("quaternion+hue").start("hue") == 4
    with pytest.raises(KeyError, match="crop_top"):
        Action("crop")(batch)
