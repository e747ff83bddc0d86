"""Bags of visual words of feature maps, and their prediction (Gidaris et al., OBoW, CVPR 2021).

A word is a vector of the space of the features; a bag is a distribution over K words: how well each is present anywhere
in an image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.precision import check_pair, full_precision, unit_norm


def map_locations(maps: Tensor) -> Tensor:
    """Return the features (N, L, C) of the locations of maps (N, C, h, w), without the border of one cell.

    A side below 3, which would leave nothing, keeps its border (ours).
    """
    return _inside(maps).flatten(2).mT


def word_locations(maps: Tensor) -> Tensor:
    """Return features (N, L, C) that may become words: averages over 3 x 3 of the locations without the border.

    A side of fewer locations is averaged over as many as there are (ours).
    """
    inside = _inside(maps)
    window = [min(3, side) for side in inside.shape[2:]]
    return F.avg_pool2d(inside, window, stride=1).flatten(2).mT


@torch.no_grad()
@full_precision
def nearest_word_distances(features: Tensor, words: Tensor) -> Tensor:
    """Compute the squared distance (N, L) of each feature to its nearest word, in blocks of images.

    Args:
        features: (N, L, C).
        words: (K, C).

    Raises:
        ValueError: for shapes that do not fit.
    """
    _check(features, words)
    return in_blocks(
        lambda rows: _squared_distances(features[rows], words).amin(dim=2),
        len(features),
        features.shape[1] * len(words),
    )


@torch.no_grad()
@full_precision
def bags_of_words(features: Tensor, words: Tensor, sharpness: float | Tensor) -> Tensor:
    """Compute soft bags of words: softmax over words of minus the scaled distance, largest over locations.

    Args:
        features: (N, L, C) of the locations of N maps.
        words: (K, C).
        sharpness: factor of the squared distances: 0 gives uniform bags, infinity the words that are nearest to some
            location, each with the same weight.

    Returns:
        (N, K), each row sums to 1.

    Raises:
        ValueError: for shapes that do not fit.
    """
    _check(features, words)

    def block(rows: slice) -> Tensor:
        codes = (-sharpness * _squared_distances(features[rows], words)).softmax(dim=2)
        present = codes.amax(dim=1)
        return present / present.sum(dim=1, keepdim=True)

    return in_blocks(block, len(features), features.shape[1] * len(words))


@full_precision
def word_logits(embeddings: Tensor, predicted: Tensor, scale: float) -> Tensor:
    """Compute logits (B, K): embeddings (B, D) times unit vectors of words (K, D), times a scale.

    Args:
        embeddings: as the encoder gives them; their lengths matter.
        predicted: of any length.
        scale: κ.
    """
    return scale * embeddings @ unit_norm(predicted).T


@full_precision
def bag_of_words_loss(logits: Tensor, bags: Tensor) -> Tensor:
    """Compute the divergence (B,) of predicted bags from bags: their cross-entropy minus the entropy of the bags.

    Args:
        logits: (B, K).
        bags: (B, K) distributions, without gradient.

    Raises:
        ValueError: for shapes that differ.
    """
    check_pair("logits", logits, "bags", bags, ndim=2)
    return F.kl_div(logits.log_softmax(dim=1), bags.detach(), reduction="none").sum(dim=1)


@full_precision
def perplexity(bags: Tensor) -> Tensor:
    """Compute how many words bags (..., K) are spread over: the exponential of their entropy."""
    return torch.special.entr(bags).sum(dim=-1).exp()


def _inside(maps: Tensor) -> Tensor:
    if maps.ndim != 4:
        raise ValueError(f"expected maps (N, C, h, w), got {tuple(maps.shape)}")
    top, left = (int(side >= 3) for side in maps.shape[2:])
    return maps[:, :, top : maps.shape[2] - top, left : maps.shape[3] - left]


def _squared_distances(features: Tensor, words: Tensor) -> Tensor:
    """(N, L, K) of features (N, L, C); rounding may bring them below 0, where they stop."""
    squares = features.square().sum(dim=2, keepdim=True) + words.square().sum(dim=1)
    return torch.addmm(squares.flatten(0, 1), features.flatten(0, 1), words.T, alpha=-2).view_as(squares).clamp_min_(0)


def _check(features: Tensor, words: Tensor) -> None:
    if features.ndim != 3 or words.ndim != 2 or features.shape[2] != words.shape[1]:
        raise ValueError(
            f"expected features (N, L, C) and words (K, C), got {tuple(features.shape)} and {tuple(words.shape)}"
        )
