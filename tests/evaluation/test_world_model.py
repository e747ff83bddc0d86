"""Protocols of sequences: identities that hold for any weights, and a model whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import saccade_schema, threediebench_schema
from equissl.encoders.config import EncoderConfig
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig, RotationProbeConfig, SequenceConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.sequences import aggregates, draw_sequences, path_inputs, predictions, view_batch
from equissl.evaluation.views.world_model import (
    aggregate_scores,
    choose_sequence_protocols,
    least_squares,
    look_up_scores,
    path_scores,
    path_targets,
    world_model_scores,
)
from equissl.geometry import euler_to_unitquat
from equissl.methods import SeqJEPA, SimCLR
from equissl.methods.views.actions import Action
from equissl.metrics import rotation_errors_deg


def feature_set(objects: int = 24, views: int = 6, seed: int = 0, dim: int = 32) -> FeatureSet:
    """Random features of turned objects."""
    generator = torch.Generator().manual_seed(seed)
    schema = threediebench_schema()
    latents = torch.rand(objects, views, len(schema), generator=generator, dtype=torch.float64)
    latents[..., :3] = (latents[..., :3] - 0.5) * torch.pi
    z = torch.randn(objects, views, dim, generator=generator)
    labels = torch.arange(objects) % 3
    return FeatureSet(
        {"all": z}, np.arange(100, 100 + objects), labels, euler_to_unitquat(latents[..., :3]), latents, schema
    )


def saccades(objects: int = 24, views: int = 6, seed: int = 0) -> FeatureSet:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.rand(objects, views, 2, generator=generator, dtype=torch.float64)
    quats = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(objects, views, 4)
    z = torch.randn(objects, views, 32, generator=generator)
    return FeatureSet({"all": z}, np.arange(objects), torch.arange(objects) % 3, quats, latents, saccade_schema())


def model(**changes: Any) -> SeqJEPA:
    torch.manual_seed(0)
    options: dict[str, Any] = {"views": 4, "action_dim": 8, "layers": 1, "hidden": 16, **changes}
    method = SeqJEPA(EncoderConfig(width=4), **options)
    if method.action is not None:
        norm = method.action_projector[1]
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return method.eval()


@pytest.fixture
def config() -> EvaluateConfig:
    return EvaluateConfig(
        classification=LinearProbeConfig(steps=40, batch_size=32),
        rotation=RotationProbeConfig(hidden=(16,), steps=10, batch_size=32),
        sequence=SequenceConfig(lengths=(1, 2, 3, 6, 9), sequences=4),
    )


def test_sequences_are_distinct_views_fixed_by_object() -> None:
    views = feature_set()
    order = draw_sequences(views, 6, 5, seed=3).order
    assert order.shape == (24, 5, 6)
    assert torch.equal(order.sort(-1).values, torch.arange(6).expand(24, 5, 6))
    assert len({tuple(row.tolist()) for row in order.flatten(0, 1)}) > 90  # of 120 drawn among 720
    few = FeatureSet(
        {k: v[5:9] for k, v in views.parts.items()}, views.objects[5:9], views.labels[5:9], views.quats[5:9]
    )
    assert torch.equal(draw_sequences(few, 6, 5, seed=3).order, order[5:9])  # whatever the other objects
    assert torch.equal(draw_sequences(few, 6, 2, seed=3).order, order[5:9, :2])
    for length, each in ((7, 1), (0, 1), (2, 0)):
        with pytest.raises(ValueError, match="at least one sequence of 1 to 6 views"):
            draw_sequences(views, length, each, seed=0)


def test_aggregates_are_those_of_the_model_on_each_prefix() -> None:
    views, method = feature_set(), model().double()
    sequences = draw_sequences(views, 4, 3, seed=0)
    for length in (1, 3, 4):
        found = aggregates(method, sequences, length)
        chosen = sequences.order[7, 2, :length]
        batch = view_batch(views, torch.tensor([7]), chosen[None])
        moves = method.embed_actions(method.actions(batch)) if length > 1 else torch.zeros(1, 0, 8)
        expected = method.aggregate(views.parts["all"][7, chosen][None].double(), moves)
        torch.testing.assert_close(found[7, 2], expected[0].float())


def test_states_are_told_where_the_model_learnt_from_states() -> None:
    """Behind the two numbers of a fixation stand zeros, so that four heads share the token."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"action": "position", "action_dim": 0, "told": "states", "layers": 1, "hidden": 16}
    method = SeqJEPA(EncoderConfig(width=4), **options).eval()
    views = saccades()
    sequences = draw_sequences(views, 5, 2, seed=0)
    chosen = sequences.order[4, 1]
    z, told = views.parts["all"][4, chosen], F.pad(views.latents[4, chosen].float(), (0, 2))
    for length in (1, 3):
        aggregate = method.aggregator(torch.cat([z, told], 1)[None, :length])
        torch.testing.assert_close(aggregates(method, sequences, length)[4, 1], aggregate[0])
        expected = method.predictor(torch.cat([aggregate.expand(5 - length, -1), told[length:]], 1))
        torch.testing.assert_close(predictions(method, sequences, length)[4, 1], expected)


def test_way_is_the_product_of_the_actions_and_the_sum_of_the_steps() -> None:
    sequences = draw_sequences(feature_set(), 5, 3, seed=0)
    batch = next(sequences.blocks(5))[1]
    product = batch.relative_rotations(0, 1)
    for step in range(1, 4):
        product = product @ batch.relative_rotations(step, step + 1)
    whole = path_targets(Action("rotmat"), sequences, 4).flatten(0, 1).unflatten(1, (3, 3))
    torch.testing.assert_close(whole, product.double(), atol=1e-6, rtol=0)
    walk = draw_sequences(saccades(), 5, 3, seed=0)
    steps = next(walk.blocks(5))[1]
    total = sum(Action("position")(steps, i, i + 1) for i in range(4))
    torch.testing.assert_close(path_targets(Action("position"), walk, 4).flatten(0, 1).float(), total)


@pytest.mark.parametrize("kind", ["quaternion", "position"])
def test_one_step_is_read_exactly_and_only_from_the_action(kind: str, config: EvaluateConfig) -> None:
    make = feature_set if kind == "quaternion" else saccades
    method = model(action=kind, sign="legacy")
    train, val = (draw_sequences(make(objects, seed=seed), 4, 6, 0) for seed, objects in ((0, 80), (1, 20)))
    found = path_scores(method, train, val, [1, 2], config)
    assert found["path_integration_linear/r2_uniform/full/1"] == pytest.approx(1, abs=1e-6)
    assert found["path_integration_linear/r2_uniform/no_vision/1"] == pytest.approx(1, abs=1e-6)
    assert found["path_integration_linear/r2_uniform/no_actions/1"] < 0.3
    if kind == "position":  # a sum of two: one is told apart, the other went through the transformer
        assert found["path_integration_linear/r2_uniform/no_vision/2"] > 0.9
    else:
        assert found["path_integration_linear/mean_deg/full/1"] < 0.1 < found["path_integration/mean_deg/constant/1"]
        blind, seeing = (found[f"path_integration/mean_deg/{name}/2"] for name in ("no_vision", "full"))
        assert found["path_integration/gain_deg/2"] == pytest.approx(blind - seeing)
        assert found["path_integration/gain_deg_se/2"] > 0


def test_zeroed_inputs_carry_nothing() -> None:
    method = model()
    sequences = draw_sequences(feature_set(), 4, 2, seed=0)
    other = draw_sequences(feature_set(seed=5), 4, 2, seed=0)
    other = type(other)(feature_set(seed=5), sequences.order)
    same_views = FeatureSet(sequences.views.parts, other.views.objects, other.views.labels, other.views.quats,
                            other.views.latents, other.views.schema)  # fmt: skip
    blind = path_inputs(method, sequences, 3, vision=False)
    mixed = type(other)(same_views, sequences.order)
    assert not torch.equal(blind, path_inputs(method, mixed, 3, vision=False))  # other actions
    assert torch.equal(path_inputs(method, mixed, 3, actions=False), path_inputs(method, sequences, 3, actions=False))
    assert torch.equal(path_inputs(method, mixed, 3, vision=False), path_inputs(method, other, 3, vision=False))


class Oracle(SeqJEPA):
    """Representations are poses, and the prediction is the pose the action leads to."""

    def __init__(self) -> None:
        super().__init__(EncoderConfig(width=4), views=3, action_dim=8, layers=1, sign="legacy")

    def embed_actions(self, actions: Tensor | None) -> Tensor | None:
        return actions

    def aggregate(self, seen: Tensor, moves: Tensor | None = None) -> Tensor:
        return seen[:, -1]

    def predict(self, aggregate: Tensor, moves: Tensor | None = None) -> Tensor:
        from equissl.geometry import unitquat_product

        assert moves is not None
        return unitquat_product(aggregate, moves[:, -1].to(aggregate.dtype))


def test_look_up_of_a_perfect_predictor(config: EvaluateConfig) -> None:
    views = feature_set()
    poses = FeatureSet({"all": views.quats}, views.objects, views.labels, views.quats, views.latents, views.schema)
    found = look_up_scores(Oracle().double(), draw_sequences(poses, 6, 1, 0), [1, 4], config)
    assert found["sequence_retrieval/mrr/1"] == found["sequence_retrieval/h1/4"] == 1
    assert found["sequence_retrieval/h1/ignored_action/4"] == 0  # the other of two wanted views is preferred
    assert found["sequence_retrieval/mrr/ignored_action/4"] <= 0.5
    assert found["sequence_retrieval/h1/source/1"] == 0
    assert found["sequence_retrieval/h1/chance"] == pytest.approx(1 / 6)


def test_predictions_are_told_the_action_from_the_last_observed_view() -> None:
    views, method = feature_set(), model().double()
    sequences = draw_sequences(views, 5, 1, seed=0)
    found = predictions(method, sequences, 2)
    chosen = sequences.order[3, 0, [0, 1, 4]]
    batch = view_batch(views, torch.tensor([3]), chosen[None])
    moves = method.embed_actions(method.actions(batch))
    seen = views.parts["all"][3, chosen[:2]][None].double()
    torch.testing.assert_close(found[3, 0, 2], method.predict(method.aggregate(seen, moves), moves)[0].float())


def test_classes_are_read_from_aggregates(config: EvaluateConfig) -> None:
    train, val = feature_set(60), feature_set(30, seed=1)
    for views in (train, val):  # every third view shows the class
        views.parts["all"][:, ::3, :3] += 12 * torch.nn.functional.one_hot(views.labels, 3)[:, None]
    config.classification.steps, config.standardize = 150, True
    sets = [draw_sequences(v, 6, 4, 0) for v in (train, val)]
    found = aggregate_scores(model(action=None), sets[0], sets[1], [1, 6], 3, config)
    assert found["aggregate/top1/6"] > found["aggregate/top1/1"] + 0.15
    assert found["aggregate/top1/1"] > 0.4 and found["aggregate/top5/1"] == 1
    assert found["aggregate/top1_gain/1"] == found["aggregate/top1_gain_se/1"] == 0
    assert found["aggregate/top1_gain/6"] == pytest.approx(found["aggregate/top1/6"] - found["aggregate/top1/1"])
    assert 0 < found["aggregate/top1_gain_se/6"] < 0.15


def test_all_protocols_where_there_is_room(config: EvaluateConfig) -> None:
    lines: list[str] = []
    found = world_model_scores(model(), feature_set(), feature_set(12, seed=1), 3, config, log=lines.append)
    assert {k.rsplit("/")[-1] for k in found if k.startswith("aggregate/top1/")} == {"1", "2", "3", "6"}
    ways = {k.rsplit("/")[-1] for k in found if k.startswith("path_integration/r2_uniform/full")}
    assert ways == {"1", "2", "3"} and len(lines) == 3
    variants = {k.split("/")[2] for k in found if k.startswith("path_integration/r2_uniform/")}
    assert variants == {"full", "no_vision", "no_actions", "no_vision_same_head", "no_actions_same_head"}
    assert all(np.isfinite(value) for value in found.values())
    blind = world_model_scores(model(action=None), feature_set(), feature_set(12, seed=1), 3, config)
    assert {k.split("/")[2] for k in blind if k.startswith("path_integration/r2_uniform/")} == {"full"}


def test_protocols_belong_to_methods_that_aggregate(config: EvaluateConfig) -> None:
    lines: list[str] = []
    plain = SimCLR(EncoderConfig(width=4), projector=(8,))
    assert choose_sequence_protocols(plain, config, lines.append) == ()
    assert "SimCLR does not aggregate views" in lines[0]
    config.protocols = ["aggregate"]
    with pytest.raises(ValueError, match="protocols aggregate are not possible here: SimCLR"):
        choose_sequence_protocols(plain, config)
    assert choose_sequence_protocols(model(), config) == ("aggregate",)


def test_least_squares_finds_a_linear_map_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, 5, generator=generator) for n in (20, 7))
    x[..., 4], y[..., 4] = x[..., 0], y[..., 0]  # a column twice
    weight = torch.randn(5, 2, generator=generator)
    expected = (y.double() @ weight.double() + 3).flatten(0, 1)
    torch.testing.assert_close(least_squares(x, x.double() @ weight.double() + 3, y), expected)


def test_orientation_of_ways() -> None:
    sequences = draw_sequences(feature_set(), 3, 2, seed=0)
    target = path_targets(Action("quaternion", "legacy"), sequences, 2).flatten(0, 1)
    batch: ViewBatch = next(sequences.blocks(3))[1]
    assert rotation_errors_deg(target, batch.relative_quats(0, 2)).max() < 0.1
