"""Rendered views of some objects of a store."""

from __future__ import annotations

import numpy as np
from PIL import Image

from equissl.datasets.views.store.store import ViewStore
from equissl.reporting.blocks import Picture, data_uri

TILE = 96  # pixels that a view is shown at, at least


def gallery(store: ViewStore, strips: int = 12, views: int = 4) -> list[Picture]:
    """Draw views of objects spread over the classes, validation objects (the unseen ones) first.

    Args:
        store: that holds the views.
        strips: objects at most.
        views: views per object at most.
    """
    chosen = _spread(np.asarray(store.labels), np.asarray(store.split), strips)
    count = min(views, store.num_views)
    return [_strip(store, int(item), count) for item in chosen]


def _spread(labels: np.ndarray, split: np.ndarray, limit: int) -> list[int]:
    """Choose one object of each class in turn, then a second of each, until ``limit``; unseen objects come first."""
    order = sorted(range(len(labels)), key=lambda i: (split[i] == 0, i))
    turns: dict[int, int] = {}
    ranked = []
    for item in order:
        turn = turns.get(int(labels[item]), 0)
        turns[int(labels[item])] = turn + 1
        ranked.append((turn, int(labels[item]), item))
    return [item for _, _, item in sorted(ranked)[:limit]]


def _strip(store: ViewStore, item: int, views: int) -> Picture:
    flat = item * store.num_views + np.arange(views)
    images = store.read_images(flat).numpy().transpose(0, 2, 3, 1)
    picture = Image.fromarray(np.concatenate(list(images), axis=1))
    height = max(TILE, min(store.image_size, 2 * TILE))
    picture = picture.resize((height * views, height), Image.Resampling.LANCZOS)
    label = store.classes[int(store.labels[item])]
    return Picture(data_uri(picture), f"{label} · {'unseen' if store.split[item] else 'training'} object")
