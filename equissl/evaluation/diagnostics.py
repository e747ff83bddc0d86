"""Signs of collapse: of the features, and of a predictor that ignores the action."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equissl.datasets.views.dataset import ViewDataset
from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.probes import moments
from equissl.evaluation.views.scores import Scores
from equissl.metrics import rankme

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod

RANKME_ROWS = 8192


def collapse_scores(features: Tensor, part: str) -> Scores:
    """Compute RankMe and mean per-dimension deviation of features (N, V, D): both fall when the features collapse.

    RankMe needs a singular value decomposition, so at most 8,192 evenly spaced rows enter it.

    Args:
        features: (N, V, D) features of V views of N objects.
        part: of the representation; the last word of the scores' names.
    """
    rows = features.flatten(0, 1)
    few = rows[:: max(1, -(-len(rows) // RANKME_ROWS))].float().cpu()
    return {
        f"collapse/rankme/{part}": rankme(few),
        f"collapse/std/{part}": float(moments(features, correction=1)[1].mean()),
        f"collapse/dim/{part}": features.shape[-1],
        f"collapse/rows/{part}": len(few),
    }


@torch.inference_mode()
def predictor_scores(
    method: ViewMethod, store: ViewStore, *, batches: int, batch_size: int, seed: int, device: torch.device | str
) -> Scores:
    """Compute the predictor's losses on fixed validation pairs, with the real actions and with another sample's.

    A predictor that has learned to use the action does clearly worse with a wrong one; where both losses are equal it
    has learned to ignore it. Empty for a method without a predictor, with fewer than two validation objects, or where
    the store holds fewer views of an object than the method takes.

    Args:
        method: the method; it is moved to ``device`` and put in eval mode.
        store: views to draw the pairs from.
        batches: number of batches, at most.
        batch_size: objects in a batch.
        seed: of the pairs.
        device: to compute on.
    """
    method.eval().to(device)
    if store.num_views < method.views:
        return {}
    dataset = ViewDataset(store, split="val", views=method.views, seed=seed)
    totals: dict[str, float] = {}
    used = 0
    for start in range(0, min(len(dataset), batches * batch_size), batch_size):
        items = [(0, index) for index in range(start, min(start + batch_size, len(dataset)))]
        if len(items) < 2:  # one sample alone has no other's action
            continue
        losses = method.predictor_losses(dataset.__getitems__(items).to(device))
        if losses is None:
            return {}
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(items)
        used += len(items)
    return {f"predictor/{name}": total / used for name, total in totals.items()}
