"""Look-up of predictions: methods whose predictor is known, against a brute-force loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.dataset import make_batch
from equissl.datasets.views.store.store import ViewStore
from equissl.encoders.config import EncoderConfig
from equissl.evaluation.views.config import RetrievalConfig
from equissl.evaluation.views.features import FeatureSet, in_memory, view_quats
from equissl.evaluation.views.retrieval import (
    action_batch,
    choose_queries,
    embed_features,
    retrieval_scores,
    why_no_retrieval,
)
from equissl.geometry import unitquat_to_rotmat
from equissl.methods import SIE, EquiCaps, VICReg


class PoseMethod(nn.Module):
    """Its embedding is the pose matrix, and the object's number so that no two objects look alike."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.unused = kind, nn.Parameter(torch.zeros(1))

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor | None:
        if self.kind == "none":
            return None
        return torch.ones_like(parts["all"]) if self.kind == "collapsed" else parts["all"]

    embedding = equi_embedding

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        if self.kind != "exact":
            return embedding
        turned = embedding[:, :9].view(-1, 3, 3) @ batch.relative_rotations()
        return torch.cat([turned.flatten(1), embedding[:, 9:]], 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    return ViewStore(write_synthetic_store(tmp_path_factory.mktemp("store") / "s.h5", objects=16, views=5, size=8))


def views_of(store: ViewStore, split: str) -> FeatureSet:
    objects = store.select(split)
    quats, latents = view_quats(store, objects), torch.from_numpy(store.latents[objects])
    number = torch.eye(store.num_objects)[objects][:, None].expand(-1, store.num_views, -1)
    parts = {"all": torch.cat([unitquat_to_rotmat(quats).flatten(2).float(), 3 * number], -1)}
    return FeatureSet(parts, objects, torch.from_numpy(store.labels[objects]), quats, latents, store.schema)


def scores(store: ViewStore, kind: str, **kw) -> dict:
    method = PoseMethod(kind)
    sets = []
    for split in ("train", "val"):
        views = views_of(store, split)
        sets.append(replace(views, parts={**views.parts, **embed_features(method, views.parts, "cpu", in_memory)}))
    return retrieval_scores(method, *sets, RetrievalConfig(**kw))


def test_an_exact_predictor_finds_every_view(store: ViewStore) -> None:
    found = scores(store, "exact", train=True, among_all=True)
    for group in ("retrieval", "retrieval_strict", "retrieval_train", "retrieval_train_strict"):
        assert found[f"{group}/mrr"] == found[f"{group}/h1"] == 1
        assert found[f"{group}/pre"] == pytest.approx(0, abs=1e-6)
        assert found[f"{group}/mrr/ignored_action"] < 0.7
    assert found["retrieval/pre_all"] == pytest.approx(0, abs=1e-6)
    assert (found["retrieval/pre_candidates"], found["retrieval/pre_all_candidates"]) == (4 * 5, 16 * 5)


def test_a_predictor_that_ignores_the_action_is_only_right_about_the_identity(store: ViewStore) -> None:
    found = scores(store, "ignores")
    assert found["retrieval/mrr"] == found["retrieval/mrr/ignored_action"] == found["retrieval/mrr/source"]
    assert found["retrieval/h1"] == pytest.approx(1 / 5)
    assert found["retrieval_strict/h1"] == 0  # the starting view stays among the candidates and is nearest
    # ranks 1 … 5 each once for every object, the first by the identity query
    assert found["retrieval/mrr"] == pytest.approx(np.mean([1 / k for k in (1, 2, 3, 4, 5)]))
    assert found["retrieval_strict/mrr"] == pytest.approx(np.mean([1 / k for k in (2, 3, 4, 5)]))
    val = views_of(store, "val").quats
    expected = 1 - (val * val[:, :1]).sum(-1) ** 2  # the nearest of all views is the starting one
    assert found["retrieval/pre"] == pytest.approx(float(expected.mean()), abs=1e-9)
    assert found["retrieval_strict/pre"] == pytest.approx(float(expected[:, 1:].mean()), abs=1e-9)


def test_a_collapsed_embedding_scores_chance(store: ViewStore) -> None:
    found = scores(store, "collapsed")
    for group in ("retrieval", "retrieval_strict"):
        assert found[f"{group}/mrr"] == pytest.approx(found[f"{group}/mrr/chance"])
        assert [found[f"{group}/h{k}"] for k in (1, 2, 5, 10)] == pytest.approx([0.2, 0.4, 1, 1])


def test_queries_are_a_fixed_subset_in_order() -> None:
    few = choose_queries(10, 5, 20, seed=3)
    assert len(set(zip(few.item.tolist(), few.view.tolist(), strict=True))) == 20
    assert (5 * few.item + few.view).diff().min() > 0
    assert torch.equal(choose_queries(10, 5, 20, seed=3).item, few.item)
    assert len(choose_queries(10, 5, None, 0).item) == len(choose_queries(10, 5, 999, 0).item) == 50
    with pytest.raises(ValueError, match="at least one PRE query, got queries=0"):
        choose_queries(10, 5, 0, 0)


def test_actions_are_those_of_a_batch_with_images(store: ViewStore) -> None:
    views, item = views_of(store, "val"), torch.tensor([2, 0, 1])
    first, second = torch.tensor([0, 1, 4]), torch.tensor([3, 3, 0])
    ours = action_batch(views, item, first, second)
    real = make_batch(store, views.objects[item], torch.stack([first, second], 1).numpy())
    for sign in ("legacy", "canonical"):
        torch.testing.assert_close(ours.relative_quats(sign=sign), real.relative_quats(sign=sign))
    torch.testing.assert_close(ours.relative_rotations(), real.relative_rotations(), atol=1e-6, rtol=0)
    assert torch.equal(ours.latents, real.latents) and torch.equal(ours.labels, real.labels)
    assert torch.equal(ours.objects, real.objects) and torch.equal(ours.views, real.views)


ENCODER = EncoderConfig("resnet18", width=4, stem="small")


@pytest.mark.parametrize(
    "build", [lambda: SIE(ENCODER, projector=(16, 16)), lambda: EquiCaps(ENCODER, image_size=16, capsules=4)]
)
def test_a_methods_hook_is_what_its_loss_compares(store: ViewStore, build) -> None:
    """The mean squared difference of hook predictions and embeddings is the method's own equivariance term."""
    torch.manual_seed(0)
    method = build().eval()
    batch = make_batch(store, np.array([0, 3, 5]), np.array([[0, 1], [4, 2], [1, 3]]))
    batch = replace(
        batch, images=torch.nn.functional.interpolate(batch.images.float().flatten(0, 1), 16).unflatten(0, (3, 2))
    )
    with torch.no_grad():
        first, second = (method.equi_embedding(method.features(batch.images[:, view])) for view in (0, 1))
        empty = replace(batch, images=torch.empty(3, 2, 3, 0, 0))
        error = (method.predict_embedding(first, empty) - second).square().mean()
        expected = method.predictor_losses(batch)["equivariance"]
    torch.testing.assert_close(error, expected)
    assert method.predict_embedding(first[:1], replace(empty._map(lambda x: x[:1]))).shape == first[:1].shape


def test_methods_without_a_predictor_and_stores_of_single_views_say_so() -> None:
    parts = {"all": torch.zeros(2, 3, 32), "equi": torch.zeros(2, 3, 16)}
    vicreg = VICReg(ENCODER, projector=(8, 8))
    assert why_no_retrieval(vicreg, 3, parts) == "VICReg has no predictor"
    assert why_no_retrieval(SIE(ENCODER, projector=(16, 16)), 3, parts) is None
    assert "holds one of each object" in why_no_retrieval(SIE(ENCODER, projector=(16, 16)), 1, parts)
    with pytest.raises(TypeError, match="VICReg has no predictor"):
        vicreg.predict_embedding(parts["all"][0], None)
    assert embed_features(vicreg, parts, "cpu", in_memory)["embedding"].shape == (2, 3, 8)


def test_a_table_of_embeddings_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    parts = {"all": torch.full((2, 3, 4), torch.nan)}
    with pytest.raises(ValueError, match="finite embeddings"):
        embed_features(PoseMethod("ignores"), parts, "cpu", in_memory)
