"""Rendered views as PNGs that live inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from equissl.datasets.views.store.store import ViewStore

TILE = 96


@dataclass(frozen=True)
class Strip:
    """A few views of one object: caption, and a PNG as a data URI."""

    caption: str
    uri: str


def gallery(store: ViewStore, strips: int = 12, views: int = 4) -> list[Strip]:
    """Views of objects spread over the classes, validation objects (the unseen ones) first.

    Args:
        store: where the views are.
        strips: objects at most.
        views: views per object at most.
    """
    chosen = _spread(np.asarray(store.labels), np.asarray(store.split), strips)
    count = min(views, store.num_views)
    return [_strip(store, int(item), count) for item in chosen]


def _spread(labels: np.ndarray, split: np.ndarray, limit: int) -> list[int]:
    """One object of each class in turn, then a second one of each, until ``limit``; unseen objects come first."""
    order = sorted(range(len(labels)), key=lambda i: (split[i] == 0, i))
    turns: dict[int, int] = {}
    ranked = []
    for item in order:
        turn = turns.get(int(labels[item]), 0)
        turns[int(labels[item])] = turn + 1
        ranked.append((turn, int(labels[item]), item))
    return [item for _, _, item in sorted(ranked)[:limit]]


def _strip(store: ViewStore, item: int, views: int) -> Strip:
    flat = item * store.num_views + np.arange(views)
    images = store.read_images(flat).numpy().transpose(0, 2, 3, 1)
    picture = Image.fromarray(np.concatenate(list(images), axis=1))
    height = max(TILE, min(store.image_size, 2 * TILE))
    picture = picture.resize((height * views, height), Image.Resampling.LANCZOS)
    label = store.classes[int(store.labels[item])]
    return Strip(f"{label} · {'unseen' if store.split[item] else 'training'} object", data_uri(picture))


def data_uri(picture: Image.Image) -> str:
    """A PNG that needs no file beside the page."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
