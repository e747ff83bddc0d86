"""Examples of retrieval across modalities, for pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

STRIPS = "retrieved.json"


def spread(labels: Tensor, count: int) -> list[int]:
    """Choose positions that spread over the classes: the first of each class, then the second, and so on.

    Args:
        labels: (N,) classes.
        count: positions at most.
    """
    turns: dict[int, int] = {}
    ranked = []
    for place, label in enumerate(labels.tolist()):
        ranked.append((turns.get(label, 0), label, place))
        turns[label] = turns.get(label, 0) + 1
    return [place for _, _, place in sorted(ranked)[:count]]


def nearest(query: Tensor, kept: Tensor, top: int) -> list[int]:
    """Return the positions of the rows nearest to a query by cosine, the nearest first.

    Args:
        query: (E,).
        kept: (N, E) rows.
        top: how many, at most.
    """
    scores = normalize(kept.float(), dim=1) @ normalize(query.float(), dim=0)
    return scores.topk(min(top, len(kept))).indices.tolist()


def examples(
    embedded: Mapping[str, Tensor], objects: Tensor, labels: Tensor, captions: list[str], count: int = 8, top: int = 5
) -> list[dict[str, Any]]:
    """Find what is nearest to some images: clouds, captions, and images by the images' own captions.

    Args:
        embedded: of images (N · V, E), clouds (N, E) and captions (N · V, E), as far as the method has them.
        objects: (N,) indices in the store.
        labels: (N,) classes.
        captions: of the N · V images.
        count: images.
        top: nearest ones of each.

    Returns:
        for each image ``object`` and ``view``, ``caption``, and ``clouds`` (objects), ``texts`` and ``images`` (object
        and view), nearest first.
    """
    views, found = len(captions) // len(objects), []
    for place in spread(labels, count):
        row = place * views
        entry: dict[str, Any] = {"object": int(objects[place]), "view": 0, "caption": captions[row]}
        if "cloud" in embedded:
            near = nearest(embedded["image"][row], embedded["cloud"], top)
            entry["clouds"] = [int(objects[n]) for n in near]
        if "text" in embedded:
            entry["texts"] = [captions[n] for n in nearest(embedded["image"][row], embedded["text"], top)]
            near = nearest(embedded["text"][row], embedded["image"], top)
            entry["images"] = [[int(objects[n // views]), n % views] for n in near]
        found.append(entry)
    return found
