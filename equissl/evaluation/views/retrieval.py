"""Retrieval of real embeddings by predicted ones: MRR, H@k and PRE of a method's predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import TRANSLATION
from equissl.evaluation.views.config import RetrievalConfig
from equissl.evaluation.views.features import Allocate, FeatureSet
from equissl.evaluation.views.scores import Scores, per_object_means, standard_error
from equissl.geometry import unitquat_to_rotmat
from equissl.metrics import retrieval as metrics
from equissl.metrics.pose_retrieval import chance_pre, prediction_retrieval_errors
from equissl.util.progress import staged

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod

SOURCE = 0  # the view that predictions start from, as published
ROWS = 2048  # queries predicted at a time
EMBEDDING = "embedding"

Predict = Callable[["Queries"], Tensor]


@dataclass(frozen=True)
class Queries:
    """Views to predict: positions of the objects and of the wanted views, (Q,) each."""

    item: Tensor
    view: Tensor

    def split(self, rows: int) -> Iterator[Queries]:
        for item, view in zip(self.item.split(rows), self.view.split(rows), strict=True):
            yield Queries(item, view)


@torch.inference_mode()
def why_no_retrieval(method: ViewMethod, store_views: int, parts: dict[str, Tensor]) -> str | None:
    """Return the reason why predictions cannot be looked up, or None where they can.

    Args:
        method: the frozen method.
        store_views: number of views of an object.
        parts: cached features.
    """
    if store_views < 2:
        return "it predicts one view from another, and the store holds one of each object"
    if method.eval().equi_embedding(_first_row(method, parts)) is None:
        return f"{type(method).__name__} has no predictor"
    return None


def _first_row(method: ViewMethod, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    device = next(method.parameters()).device
    return {name: values[:1, 0].to(device, torch.float32) for name, values in parts.items() if name != EMBEDDING}


@torch.inference_mode()
def embed_features(
    method: ViewMethod, parts: dict[str, Tensor], device: torch.device | str, allocate: Allocate
) -> dict[str, Tensor]:
    """Compute embeddings (N, V, E) of all views, float32, from their cached features: see ``Method.embedding``.

    Args:
        method: the method; it is moved to ``device`` and put in eval mode.
        parts: (N, V, D) cached features.
        device: to compute on.
        allocate: creates the tensors that are filled.

    Raises:
        ValueError: for a method without one, or embeddings that are not finite.
    """
    method.eval().to(device)
    first = method.embedding(_first_row(method, parts))
    if first is None:
        raise ValueError(f"expected a method with an embedding, {type(method).__name__} has none")
    objects, views = next(iter(parts.values())).shape[:2]
    table = allocate({EMBEDDING: (objects, views, first.shape[1])}, torch.float32)[EMBEDDING]
    step = max(1, ROWS // views)
    for start in range(0, objects, step):
        block = {
            name: values[start : start + step].flatten(0, 1).to(device, torch.float32)
            for name, values in parts.items()
            if name != EMBEDDING
        }
        rows = method.embedding(block)
        assert rows is not None
        if not torch.isfinite(rows).all():
            raise ValueError(
                f"expected finite embeddings, objects {start} to {start + step} hold NaN or infinite values"
            )
        table[start : start + step] = rows.view(-1, views, rows.shape[1]).to("cpu", torch.float32)
    return {EMBEDDING: table}


def action_batch(views: FeatureSet, item: Tensor, first: Tensor, second: Tensor) -> ViewBatch:
    """Return the batch of pairs of views without their images, from which a method reads its actions.

    Args:
        views: features with latents.
        item: (B,) positions of the objects.
        first: (B,) first view of each pair.
        second: (B,) second view of each pair.
    """
    if views.latents is None or views.schema is None:
        raise ValueError("expected the latents of the views, this feature set has none")
    chosen = torch.stack([first, second], 1)
    rows = item[:, None]
    moves = views.holds(*TRANSLATION)
    return ViewBatch(
        images=torch.empty(len(item), 2, 3, 0, 0, dtype=torch.uint8),
        rotations=unitquat_to_rotmat(views.quats[rows, chosen]).float(),
        latents=views.latents[rows, chosen].float(),
        labels=views.labels[item],
        schema=views.schema,
        translations=views.columns(*TRANSLATION)[rows, chosen].float() if moves else None,
        objects=torch.as_tensor(views.objects)[item],
        views=chosen,
    )


class Predictors:
    """The method's predictor and two controls: one given another view's action, one that returns its input.

    Args:
        method: in eval mode on ``device``.
        views: the queried views; their part ``embedding`` is the table of embeddings.
        device: where predictions are made.
    """

    def __init__(self, method: ViewMethod, views: FeatureSet, device: torch.device | str) -> None:
        self.method, self.views, self.device = method, views, device
        self.table = views.parts[EMBEDDING]
        self.by_name: dict[str, Predict] = {
            "": self.predicted, "ignored_action": self.misled, "source": self.unmoved
        }  # fmt: skip

    def predicted(self, queries: Queries) -> Tensor:
        """Predict the embeddings (Q, E) of the wanted views."""
        return self._predict(queries.item, queries.view)

    def misled(self, queries: Queries) -> Tensor:
        """Predict with the action to the object's next view. As good as :meth:`predicted`: actions are ignored."""
        return self._predict(queries.item, (queries.view + 1) % self.views.num_views)

    def unmoved(self, queries: Queries) -> Tensor:
        """Return the embeddings that predictions start from."""
        return self.table[queries.item, SOURCE].to(self.device)

    def _predict(self, item: Tensor, view: Tensor) -> Tensor:
        batch = action_batch(self.views, item, torch.full_like(view, SOURCE), view).to(self.device)
        return self.method.predict_embedding(self.table[item, SOURCE].to(self.device), batch)


@torch.inference_mode()
def retrieval_scores(
    method: ViewMethod,
    train: FeatureSet,
    val: FeatureSet,
    config: RetrievalConfig,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Scores:
    """Compute MRR, H@k and PRE of the predictor, of one with a wrong action, of none at all, and of chance.

    Args:
        method: one with a predictor.
        train, val: with the part ``embedding`` (:func:`embed_features`); the training views are only needed for
            ``config.train`` and ``config.among_all``.
        config: what to look up among what.
        device: of predictions and comparisons.
        seed: of the choice of PRE queries.
    """
    method.eval().to(device)
    results: Scores = {}
    for views, group in ((val, "retrieval"), *(((train, "retrieval_train"),) if config.train else ())):
        results |= _rank_scores(method, views, group, config, device)
        results |= _pre_scores(method, views, (views,), group, "pre", config, device, seed)
    if config.among_all:
        results |= _pre_scores(method, val, (train, val), "retrieval", "pre_all", config, device, seed)
    return results


def _rank_scores(
    method: ViewMethod, views: FeatureSet, group: str, config: RetrievalConfig, device: torch.device | str
) -> Scores:
    results: Scores = {}
    target, owners = torch.arange(views.num_views), np.arange(len(views.objects))
    for name, predict in Predictors(method, views, device).by_name.items():
        above, tied = _ranks(predict, views, config, device)
        suffix = f"/{name}" if name else ""
        for variant, chosen in _variants(group, target != SOURCE):
            g, e = above[:, chosen], tied[:, chosen]
            ranks = metrics.reciprocal_ranks(g, e)
            results[f"{variant}/mrr{suffix}"] = float(ranks.mean())
            results |= {f"{variant}/h{k}{suffix}": metrics.hit_rate(g, e, k) for k in metrics.HITS}
            if not name:
                each = ranks.mean(1).numpy()
                results[f"{variant}/mrr_se"] = standard_error(per_object_means(each, owners))
    for variant, _ in _variants(group, target != SOURCE):
        results[f"{variant}/mrr/chance"] = metrics.chance_mrr(views.num_views)
        results |= {f"{variant}/h{k}/chance": min(1.0, k / views.num_views) for k in metrics.HITS}
    return results


def _variants(group: str, moved: Tensor) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    """Compute the published measure on every query, and the strict one without those for the starting view."""
    return (group, torch.ones_like(moved)), (f"{group}_strict", moved)


def _ranks(
    predict: Predict, views: FeatureSet, config: RetrievalConfig, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    table, v = views.parts[EMBEDDING], views.num_views
    step, counts = max(1, ROWS // v), []
    for start in staged(range(0, len(table), step), "looking up", "blocks"):
        candidates = table[start : start + step].to(device)
        item = torch.arange(start, start + len(candidates)).repeat_interleave(v)
        predicted = predict(Queries(item, torch.arange(v).repeat(len(candidates))))
        blocks = predicted.view(len(candidates), v, -1)
        counts.append(metrics.view_ranks(blocks, candidates, torch.arange(v), config.normalize))
    above, tied = zip(*counts, strict=True)
    return torch.cat(above), torch.cat(tied)


def _pre_scores(
    method: ViewMethod,
    views: FeatureSet,
    among: tuple[FeatureSet, ...],
    group: str,
    key: str,
    config: RetrievalConfig,
    device: torch.device | str,
    seed: int,
) -> Scores:
    table, quats = _candidates(among)
    results: Scores = {}
    everything = choose_queries(len(views.objects), views.num_views, config.queries, seed)
    for name, predict in Predictors(method, views, device).by_name.items():
        parts = staged(list(everything.split(ROWS)), "looking up poses", "blocks")
        blocks = ((predict(q), views.quats[q.item, q.view]) for q in parts)
        errors = prediction_retrieval_errors(blocks, table, quats, config.normalize)
        suffix = f"/{name}" if name else ""
        for variant, chosen in _variants(group, everything.view != SOURCE):
            if not chosen.any():
                continue
            results[f"{variant}/{key}{suffix}"] = float(errors[chosen].mean())
            if not name:
                each = per_object_means(errors[chosen].numpy(), everything.item[chosen].numpy())
                results[f"{variant}/{key}_se"] = standard_error(each)
    for variant, chosen in _variants(group, everything.view != SOURCE):
        if chosen.any():
            wanted = views.quats[everything.item[chosen], everything.view[chosen]]
            results[f"{variant}/{key}/chance"] = chance_pre(wanted, quats)
    return results | {f"{group}/{key}_queries": len(everything.item), f"{group}/{key}_candidates": len(table)}


def _candidates(among: tuple[FeatureSet, ...]) -> tuple[Tensor, Tensor]:
    tables = [views.parts[EMBEDDING].flatten(0, 1) for views in among]
    quats = torch.cat([views.quats.flatten(0, 1) for views in among])
    return (tables[0] if len(tables) == 1 else torch.cat(tables)), quats


def choose_queries(objects: int, views: int, wanted: int | None, seed: int) -> Queries:
    """Choose all views of all objects, or ``wanted`` of them drawn from ``seed``, in order.

    Args:
        objects: number of objects.
        views: number of views of each.
        wanted: number of queries; None for all.
        seed: of the draw.

    Raises:
        ValueError: for fewer than one.
    """
    total = objects * views
    if wanted is not None and wanted < 1:
        raise ValueError(f"expected at least one PRE query, got queries={wanted}")
    if wanted is None or wanted >= total:
        rows = np.arange(total)
    else:
        rows = np.sort(np.random.default_rng(seed).choice(total, wanted, replace=False))
    chosen = torch.from_numpy(rows)
    return Queries(chosen // views, chosen % views)
