"""Scores across modalities: retrieval both ways, and classes named by sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.metrics.classification import top_k_accuracy
from equissl.metrics.cross_retrieval import cross_ranks
from equissl.metrics.retrieval import hit_rate

Scores = dict[str, float | None]


def retrieval_scores(
    embeddings: Mapping[str, Tensor], numbers: Mapping[str, Tensor], at: Sequence[int], prefix: str = "retrieval"
) -> Scores:
    """Compute R@k from each modality to each other, ``retrieval/image_to_text/r1`` and so on.

    Args:
        embeddings: (N_m, E) of each modality.
        numbers: (N_m,) of each modality: what belongs together has the same number.
        at: numbers k.
        prefix: of the names.
    """
    found: Scores = {}
    for query, kept in permutations(embeddings, 2):
        ranks = cross_ranks(embeddings[query], embeddings[kept], numbers[query], numbers[kept])
        found |= {f"{prefix}/{query}_to_{kept}/r{k}": hit_rate(*ranks, k) for k in at}
    return found


def class_embeddings(sentences: Tensor) -> Tensor:
    """Average the directions of the sentences of each class: (C, S, E) to (C, E) of unit length."""
    return normalize(normalize(sentences.float(), dim=2).mean(dim=1), dim=1)


def zero_shot_scores(
    embeddings: Mapping[str, Tensor], labels: Mapping[str, Tensor], classes: Tensor
) -> tuple[Scores, dict[str, Tensor]]:
    """Compute the share of each modality's items whose nearest sentence names their class, and the named classes.

    Args:
        embeddings: (N_m, E) of each modality but text.
        labels: (N_m,) classes of each modality.
        classes: (C, E), see `class_embeddings`.
    """
    logits = {name: normalize(of.float(), dim=1) @ classes.T for name, of in embeddings.items()}
    scores: Scores = {f"zero_shot/{name}/top1": top_k_accuracy(of, labels[name]) for name, of in logits.items()}
    return scores, {name: of.argmax(dim=1) for name, of in logits.items()}


def same_text(texts: Sequence[str]) -> Tensor:
    """Number texts (N,) so that equal ones have the same number."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts])


def sentence_choice(images: Tensor, sentences: Tensor) -> Tensor:
    """Return which of its own S sentences is nearest to each image, (N,).

    Args:
        images: (N, E).
        sentences: (N, S, E).
    """
    return torch.einsum("ne,nse->ns", images.float(), normalize(sentences.float(), dim=2)).argmax(dim=1)
