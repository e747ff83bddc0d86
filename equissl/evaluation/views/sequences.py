"""View sequences drawn from cached features, and their aggregates by a world model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.sampling import choose_views
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import TRANSLATION
from equissl.evaluation.views.features import FeatureSet
from equissl.geometry import unitquat_to_rotmat
from equissl.util.progress import staged

if TYPE_CHECKING:
    from equissl.methods import SeqJEPA

ROWS = 1024  # sequences that pass through the aggregator at a time


@dataclass(frozen=True)
class Sequences:
    """View sequences: K of L distinct views of each of N objects.

    Attributes:
        views: what is known of all views.
        order: (N, K, L) view indices.
    """

    views: FeatureSet
    order: Tensor

    @property
    def length(self) -> int:
        return self.order.shape[2]

    def blocks(self, length: int) -> Iterator[tuple[Tensor, ViewBatch]]:
        """Yield features (n, length, D) of the first views of each sequence and a batch of them without images."""
        objects, each = self.order.shape[:2]
        item = torch.arange(objects).repeat_interleave(each)
        order = self.order[:, :, :length].flatten(0, 1)
        parts = list(zip(item.split(ROWS), order.split(ROWS), strict=True))
        for rows, chosen in staged(parts, "view sequences", "blocks"):
            yield self.views.parts["all"][rows[:, None], chosen].float(), view_batch(self.views, rows, chosen)

    def known(self, parts: dict[str, Tensor], latents: Tensor | None = None) -> FeatureSet:
        """Return the same objects with sequences (N, K, D) in place of views.

        Args:
            parts: (N, K, D) features of the sequences.
            latents: (N, K, A) targets of probes.
        """
        quats = torch.zeros(*self.order.shape[:2], 4, dtype=torch.float64)
        return replace(self.views, parts=parts, quats=quats, latents=latents, schema=None)


def draw_sequences(views: FeatureSet, length: int, each: int, seed: int) -> Sequences:
    """Draw view sequences fixed by (seed, object): independent of the method, the run and other objects.

    Args:
        views: features to draw from.
        length: views in a sequence.
        each: sequences of an object.
        seed: of the draws.

    Raises:
        ValueError: for more views than there are, or no sequence.
    """
    if not 1 <= length <= views.num_views or each < 1:
        expected = f"at least one sequence of 1 to {views.num_views} views"
        raise ValueError(f"expected {expected}, got {each} of {length}")
    objects = np.repeat(np.asarray(views.objects), each)
    draws = np.tile(np.arange(each), len(views.objects))
    order = choose_views(seed, draws, objects, length, views.num_views)
    return Sequences(views, torch.from_numpy(order).view(-1, each, length))


def view_batch(views: FeatureSet, item: Tensor, chosen: Tensor) -> ViewBatch:
    """Return the batch of views without their images, from which a method reads its actions.

    Args:
        views: features with latents.
        item: (B,) positions of the objects.
        chosen: (B, V) views of each.
    """
    if views.latents is None or views.schema is None:
        raise ValueError("expected the latents of the views, this feature set has none")
    rows = item[:, None]
    moves = views.holds(*TRANSLATION)
    return ViewBatch(
        images=torch.empty(*chosen.shape, 3, 0, 0, dtype=torch.uint8),
        rotations=unitquat_to_rotmat(views.quats[rows, chosen]).float(),
        latents=views.latents[rows, chosen].float(),
        labels=views.labels[item],
        schema=views.schema,
        translations=views.columns(*TRANSLATION)[rows, chosen].float() if moves else None,
        objects=torch.as_tensor(views.objects)[item],
        views=chosen,
    )


@torch.inference_mode()
def aggregates(method: SeqJEPA, sequences: Sequences, length: int, device: torch.device | str = "cpu") -> Tensor:
    """Compute the aggregate (N, K, ``aggregate_dim``) of the first ``length`` views of each sequence, on the CPU.

    Args:
        method: the method; it is moved to ``device`` and put in eval mode.
        sequences: the view sequences.
        length: number of views observed.
        device: to compute on.
    """
    like = next(method.eval().to(device).parameters())
    found = []
    for seen, batch in sequences.blocks(length):
        seen = seen.to(like)
        moves = method.embed_actions(method.actions(batch.to(device)))
        found.append(method.aggregate(seen, moves).float().cpu())
    return torch.cat(found).unflatten(0, sequences.order.shape[:2])


@torch.inference_mode()
def path_inputs(
    method: SeqJEPA,
    sequences: Sequences,
    length: int,
    vision: bool = True,
    actions: bool = True,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Compute (N, K, …): the aggregate of ``length`` views beside the embedded action to the next one.

    Args:
        vision: False puts zeros in place of the views' representations.
        actions: False puts zeros in place of all embedded actions.
    """
    like = next(method.eval().to(device).parameters())
    found = []
    for seen, batch in sequences.blocks(length + 1):
        seen = seen[:, :length].to(like) * vision
        moves = method.embed_actions(method.actions(batch.to(device)))
        if moves is None:
            found.append(method.aggregate(seen).float().cpu())
            continue
        moves = moves * actions
        found.append(torch.cat([method.aggregate(seen, moves), moves[:, -1]], 1).float().cpu())
    return torch.cat(found).unflatten(0, sequences.order.shape[:2])


@torch.inference_mode()
def predictions(
    method: SeqJEPA, sequences: Sequences, length: int, device: torch.device | str = "cpu", misled: bool = False
) -> Tensor:
    """Predict every later view of each sequence, (N, K, L − length, D), from its first ``length`` views.

    Args:
        misled: tell the action to the wanted view after the next one instead, in turn.
    """
    like = next(method.eval().to(device).parameters())
    found = []
    for seen, batch in sequences.blocks(sequences.length):
        batch, seen = batch.to(device), seen[:, :length].to(like)
        between = method.embed_actions(method.actions(batch))
        aggregate = method.aggregate(seen, between)
        wanted = list(range(length, sequences.length))
        told = wanted[1:] + wanted[:1] if misled else wanted
        rows = [
            method.predict(aggregate, method.embed_actions(method.action_to(batch, length - 1, view))) for view in told
        ]
        found.append(torch.stack(rows, 1).float().cpu())
    return torch.cat(found).unflatten(0, sequences.order.shape[:2])
