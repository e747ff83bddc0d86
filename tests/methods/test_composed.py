"""The composed method: published parameter counts, losses that equal their formulas, impossible parts named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.losses import covariance_penalty, invariance, nt_xent, supcon, variance_hinge
from equissl.methods import SIE, AugSelf, CapsIE, Composed, EquiCaps, VICReg
from equissl.objectives import ObjectiveConfig

ENCODER = EncoderConfig(width=4)
VICREG = ObjectiveConfig("vicreg", {"sim": 10.0, "std": 10.0})
PREDICTED = ObjectiveConfig("vicreg_prediction")
NT_XENT = ObjectiveConfig("nt_xent", {"temperature": 0.1})


def count(method: torch.nn.Module) -> int:
    return sum(p.numel() for p in method.parameters())


def test_parameter_counts_of_the_published_models() -> None:
    colour = {"action": "quaternion+hue"}
    with torch.device("meta"):
        assert count(Composed()) == count(Composed(invariant=VICREG, equivariant=PREDICTED)) == 46_856_896  # EquiMod
        assert count(Composed(invariant=NT_XENT, equivariant=NT_XENT, **colour)) == 55_245_504
        assert count(Composed(invariant=None)) == 37_407_424  # only equivariant (SEN)
        assert count(Composed(invariant=None, equivariant=NT_XENT, **colour)) == 45_796_032
        assert count(Composed(split=True, equi_dim=256)) == count(SIE(equi_dim=256)) == 20_105_920
        assert count(SIE(**colour)) == 22_203_072
        assert (count(AugSelf()), count(AugSelf(**colour))) == (22_733_508, 22_735_558)


def embeddings(method: Composed, batch: ViewBatch) -> tuple[list[Tensor], list[Tensor], Tensor]:
    views = method.view_features(batch)
    inv = [method.projector_inv(view[:, : method.inv_dim]) for view in views] if method.invariant else []
    equi = [method.projector_equi(view[:, -method.equi_dim :]) for view in views]
    return inv, equi, method.predictor(equi[0], method.action(batch).to(equi[0].dtype))


def vicreg(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Distance of a and b, regularisers on x and y, with the weights 10, 10, 1."""
    std = (variance_hinge(x) + variance_hinge(y)) / 2
    return 10 * invariance(a, b) + 10 * std + covariance_penalty(x) + covariance_penalty(y)


def pair_loss(x: torch.Tensor, y: torch.Tensor, temperature: float) -> torch.Tensor:
    return nt_xent(torch.stack((x, y), dim=1), temperature)


def test_vicreg_equimod(batch: ViewBatch) -> None:
    method = Composed(ENCODER, (12, 10), VICREG, PREDICTED, equi=0.45).double()
    (x_i, y_i), (x_e, y_e), p = embeddings(method, batch)
    expected = vicreg(x_i, y_i, x_i, y_i) + 0.45 * vicreg(x_e, y_e, p, y_e)
    torch.testing.assert_close(method.step(batch).loss, expected)


def test_simclr_equimod_and_its_split_form(batch: ViewBatch) -> None:
    for split in (False, True):
        method = Composed(ENCODER, (24, 20), NT_XENT, NT_XENT, equi=0.3, split=split).double()
        (x_i, y_i), (_, y_e), p = embeddings(method, batch)
        expected = pair_loss(x_i, y_i, 0.1) + 0.3 * pair_loss(p, y_e, 0.1)
        torch.testing.assert_close(method.step(batch).loss, expected)


def test_only_equivariant(batch: ViewBatch) -> None:
    objective = ObjectiveConfig("vicreg_prediction", {"variance_on_predictor": True})
    method = Composed(ENCODER, (12, 10), None, objective).double()
    _, (x_e, y_e), p = embeddings(method, batch)
    expected = vicreg(x_e, y_e, p, y_e) + 10 * variance_hinge(p) / 2
    torch.testing.assert_close(method.step(batch).loss, expected)
    assert set(method.features(batch.images[:, 0])) == {"all"}


def test_sen_is_the_contrastive_form(batch: ViewBatch) -> None:
    method = Composed(ENCODER, (12, 10), None, NT_XENT).double()
    _, (_, y_e), p = embeddings(method, batch)
    torch.testing.assert_close(method.step(batch).loss, pair_loss(p, y_e, 0.1))


def test_conditional_byol_compares_with_the_teacher(batch: ViewBatch) -> None:
    method = Composed(ENCODER, (12, 10), None, ObjectiveConfig("cosine_prediction"), target="teacher").double()
    with torch.no_grad():  # the teacher starts as a copy; make them differ
        for parameter in method.encoder.parameters():
            parameter.mul_(1.3)
    _, _, p = embeddings(method, batch)
    view = method.teacher["encoder"](method.normalise(batch.images[:, 1]))
    target = method.teacher["projector_equi"](view)
    expected = 2 - 2 * torch.cosine_similarity(p, target).mean()
    torch.testing.assert_close(method.step(batch).loss, expected)
    before = [p.clone() for p in method.teacher.parameters()]
    method.after_step(0, 10)
    students = [*method.encoder.parameters(), *method.projector_equi.parameters()]
    for old, new, student in zip(before, method.teacher.parameters(), students, strict=True):
        torch.testing.assert_close(new, 0.996 * old + 0.004 * student)


def test_more_than_two_views_predict_from_each_to_the_next(build_batch: Any) -> None:
    batch = build_batch(views=3)
    method = Composed(ENCODER, (12, 10), None, NT_XENT, views=3).double()
    equi = [method.projector_equi(view) for view in method.view_features(batch)]
    moves = [pair_loss(method.predictor(equi[v], method.action(batch, v, v + 1)), equi[v + 1], 0.1) for v in (0, 1)]
    torch.testing.assert_close(method.step(batch).loss, torch.stack(moves).mean())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"invariant": PREDICTED}, "can only be `equivariant`"),
        ({"equivariant": ObjectiveConfig("supcon")}, "needs labels: it can only be `invariant`"),
        ({"equivariant": ObjectiveConfig("byol")}, "needs teacher: it can only be `invariant`"),
        ({"split": True, "invariant": None}, "needs an invariant objective"),
        ({"equi_dim": 4}, "belongs to a split representation"),
        ({"split": True, "equi_dim": 32}, "between 1 and 31, got 32"),
        ({"views": 1}, "got 1"),
        ({"target": "oracle"}, "'online' or 'teacher', got 'oracle'"),
        ({"predictor": "oracle"}, "unknown predictor 'oracle'"),
        ({"action": "quaternion+colour"}, "'quaternion\\+colour' \\('colour'\\)"),
    ],
)
def test_impossible_parts_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Composed(ENCODER, (12, 10), **arguments)


def test_aug_self_regresses_the_action(batch: ViewBatch) -> None:
    method = AugSelf(ENCODER, (12, 10), NT_XENT, weight=0.7, hidden=8).double()
    views = method.view_features(batch)
    predicted = method.regressor(torch.cat(views, dim=1))
    expected = pair_loss(*(method.projector(v) for v in views), 0.1)
    expected = expected + 0.7 * (predicted - batch.relative_quats()).square().mean()
    torch.testing.assert_close(method.step(batch).loss, expected)
    with pytest.raises(ValueError, match="an objective without predictions or teacher, got 'byol'"):
        AugSelf(ENCODER, (12, 10), ObjectiveConfig("byol"))


def test_sie_takes_another_invariant_objective(batch: ViewBatch) -> None:
    plain = SIE(ENCODER, (24, 20)).double()
    method = SIE(ENCODER, (24, 20), objective=ObjectiveConfig("supcon")).double()
    method.load_state_dict(plain.state_dict(), strict=False)
    (x, _), (y, _) = (method.embed(view) for view in method.view_features(batch))
    expected = 10 * (supcon(torch.stack([x, y], dim=1), batch.labels) - invariance(x, y))
    torch.testing.assert_close(method.step(batch).loss - plain.step(batch).loss, expected)
    with pytest.raises(ValueError, match="an objective without predictions or teacher, got 'byol'"):
        SIE(ENCODER, (24, 20), objective=ObjectiveConfig("byol"))


@pytest.mark.parametrize("kind", [EquiCaps, CapsIE])
def test_capsule_methods_take_another_invariant_objective(kind: Any, batch: ViewBatch) -> None:
    arguments = {"encoder": ENCODER, "image_size": 64, "capsules": 4, "sim": 2.0}
    plain = kind(**arguments).double()
    method = kind(**arguments, objective=ObjectiveConfig("supcon")).double()
    with torch.no_grad():  # routing starts uniform, where all activations are equal
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    method.load_state_dict(plain.state_dict(), strict=False)
    (a, _), (a2, _) = map(method.embed, method.maps(batch))
    first, second = plain.step(batch), method.step(batch)
    expected = supcon(torch.stack([a, a2], dim=1), batch.labels)
    torch.testing.assert_close(second.terms["invariance"], expected.detach())
    torch.testing.assert_close(second.loss - first.loss, 2 * (expected - first.terms["invariance"]))


@pytest.mark.parametrize("split", [False, True])
def test_predictions_for_retrieval_are_those_of_the_equivariance_term(split: bool, batch: ViewBatch) -> None:
    method = Composed(ENCODER, (24, 20), VICREG, PREDICTED, split=split).double().eval()
    first, second = (method.equi_embedding(method.features(batch.images[:, view])) for view in (0, 1))
    error = invariance(method.predict_embedding(first, batch), second)
    torch.testing.assert_close(error, method.predictor_losses(batch)["equivariance"])


@pytest.mark.parametrize("objective", [NT_XENT, ObjectiveConfig("cosine_prediction")])
def test_action_gap_of_an_objective_of_directions_is_that_of_directions(
    objective: ObjectiveConfig, batch: ViewBatch
) -> None:
    method = Composed(ENCODER, (24, 20), None, objective).double()
    _, (_, second), predicted = embeddings(method, batch)
    gap = method.predictor_losses(batch)
    torch.testing.assert_close(gap["equivariance"], 2 - 2 * torch.cosine_similarity(predicted, second).mean())
    with torch.no_grad():
        method.predictor.net[-1].weight.mul_(100)  # lengths do not count
    torch.testing.assert_close(method.predictor_losses(batch), gap)
    assert gap["equivariance_ignored_action"] != gap["equivariance"]


def test_vicreg_may_leave_dimensions_free(batch: ViewBatch) -> None:
    method = VICReg(ENCODER, (12, 10), inv_dim=6).double()
    x, y = (method.projector(view) for view in method.view_features(batch))
    torch.testing.assert_close(method.step(batch).loss, vicreg(x, y, x[:, :6], y[:, :6]))
    with pytest.raises(ValueError, match="between 1 and 10, got 11"):
        VICReg(ENCODER, (12, 10), inv_dim=11)
