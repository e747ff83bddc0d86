"""Improved baselines of vision-language pretraining: CLIP with augmented pairs, and four losses beside it.

Fini et al. (TMLR 2023, arXiv 2305.08675): SiamLIP, BYOLIP, BarLIP and SwALIP. Their finding is part of the method: with
a strong recipe, above all augmentations of *both* modalities, the four gain nothing on CLIP.

Images and texts are (B, 1 + A, D): the clean one first, then A augmented ones. Pairs are the clean pair and all A²
pairs of augmented ones. Formulas, weights and temperatures are those of the released code; what is ours is named.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.barlow_twins import barlow_twins
from equissl.losses.clip import clip
from equissl.losses.info_nce import info_nce
from equissl.losses.precision import check_pair, full_precision, unit_norm
from equissl.losses.prototypes import sinkhorn
from equissl.losses.similarity import check_temperature
from equissl.losses.soft_contrast import soft_contrast
from equissl.losses.swav import swav


@full_precision
def local_clip(images: Tensor, texts: Tensor, temperature: float | Tensor = 0.07, smoothing: float = 0.0) -> Tensor:
    """`clip` of the clean pair, once, and the mean of `clip` over the augmented pairs, A times; over 1 + A.

    The recipe doubles the result. Without augmented ones this is `clip`.

    Args:
        images: (B, 1 + A, D) embeddings of the global batch.
        texts: (B, 1 + A, D).
        temperature: divides the cosines; a `LogitScale` gives a learnable one.
        smoothing: share of the targets of augmented pairs that is spread evenly over the batch, in [0, 1); the recipe
            has 0.1.

    Returns:
        Scalar; log B at collapse.

    Raises:
        ValueError: for shapes that differ, B < 2, a smoothing out of range, or a temperature that is not positive.
    """
    check_temperature(temperature)
    _check(images, texts, "CLIP")
    if not 0 <= smoothing < 1:
        raise ValueError(f"expected smoothing in [0, 1), got {smoothing}")
    clean, *augmented = _pairs(images, texts)
    whole = clip(torch.stack(clean, dim=1), temperature)
    if not augmented:
        return whole
    count = images.shape[1] - 1
    local = torch.stack([_smoothed(*pair, temperature, smoothing) for pair in augmented]).mean()
    return (whole + count * local) / (1 + count)


@full_precision
def siam_lip(
    image_predictions: Tensor, text_predictions: Tensor, image_targets: Tensor, text_targets: Tensor
) -> Tensor:
    """SiamLIP: ``2 - 2 cos`` of each modality's prediction with the other's embedding, which is stopped.

    Args:
        image_predictions: (B, 1 + A, D) predictor outputs of images.
        text_predictions: (B, 1 + A, D) those of texts.
        image_targets: (B, 1 + A, D) embeddings of images, without gradient.
        text_targets: (B, 1 + A, D) those of texts.

    Returns:
        Scalar in [0, 4], the mean over pairs and both directions; 0 where pairs agree, collapse included.

    Raises:
        ValueError: for shapes that differ. A batch of one is allowed.
    """
    _check(image_predictions, text_predictions, "SiamLIP", fewest=1)
    check_pair("predictions", image_predictions, "image targets", image_targets)
    check_pair("predictions", image_predictions, "text targets", text_targets)
    cosines = [
        (unit_norm(prediction) * unit_norm(target.detach())).sum(dim=1).mean()
        for predictions, targets in ((image_predictions, text_targets), (text_predictions, image_targets))
        for prediction, target in _pairs(predictions, targets)
    ]
    return 2 - 2 * torch.stack(cosines).mean()


def byol_lip(
    image_predictions: Tensor, text_predictions: Tensor, image_targets: Tensor, text_targets: Tensor
) -> Tensor:
    """BYOLIP: `siam_lip` with targets of a momentum teacher (its momentum is 0.99 in the recipe).

    Args:
        image_predictions, text_predictions, image_targets, text_targets: as for `siam_lip`.
    """
    return siam_lip(image_predictions, text_predictions, image_targets, text_targets)


@full_precision
def bar_lip(images: Tensor, texts: Tensor, redundancy: float = 5e-3, scale: float = 0.025) -> Tensor:
    """BarLIP: `barlow_twins` of image and text, times a scale, the mean over pairs.

    Statistics are those of the batch that is given. The release sums its matrix over processes without a gradient,
    which divides the gradient by their number; embeddings that are gathered first do not have that.

    Args:
        images: (B, 1 + A, D) projections of the global batch, not normalised.
        texts: (B, 1 + A, D).
        redundancy: weight of the correlations between dimensions.
        scale: of the loss.

    Returns:
        Scalar; 0 for equal and decorrelated pairs, ``scale`` · D at collapse.

    Raises:
        ValueError: for shapes that differ, or B < 2.
    """
    _check(images, texts, "BarLIP")
    losses = [barlow_twins(torch.stack(pair, dim=1), redundancy) for pair in _pairs(images, texts)]
    return scale * torch.stack(losses).mean()


@full_precision
def swa_lip(
    image_scores: Tensor,
    text_scores: Tensor,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Tensor:
    """SwALIP with shared prototypes: each modality predicts the other's Sinkhorn code, the mean over pairs of `swav`.

    The facts we have do not say which pairs its first version takes; those of the other losses are ours.

    Args:
        image_scores: (B, 1 + A, K) similarities of images to the prototypes, see `Prototypes`.
        text_scores: (B, 1 + A, K) those of texts to the same.
        temperature: divides the scores in the softmax.
        epsilon: smoothness of the codes.
        iterations: of Sinkhorn.

    Returns:
        Scalar; log K for equal scores.

    Raises:
        ValueError: for shapes that differ, B < 2, or numbers that are not positive.
    """
    _check(image_scores, text_scores, "SwALIP")
    losses = [
        swav(torch.stack(pair, dim=1), 2, temperature, epsilon, iterations)
        for pair in _pairs(image_scores, text_scores)
    ]
    return torch.stack(losses).mean()


@full_precision
def swa_lip_batch(
    images: Tensor,
    texts: Tensor,
    temperature: float | Tensor = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Tensor:
    """SwALIP with the batch as prototypes: each pair of augmentations predicts the codes of the pair of the others.

    Of images l and texts m, the softmax of their similarities is compared with the Sinkhorn codes of images 1 - l and
    texts 1 - m, over texts and over images, which are averaged; then over the four pairs. The recipe's weight is 0.2.

    Args:
        images: (B, 2, D) augmented images' embeddings of the global batch.
        texts: (B, 2, D) augmented texts'.
        temperature: divides the cosines in the softmax.
        epsilon: smoothness of the codes.
        iterations: of Sinkhorn.

    Returns:
        Scalar; log B at collapse.

    Raises:
        ValueError: for other than two augmentations, B < 2, or numbers that are not positive.
    """
    check_temperature(temperature)
    _check(images, texts, "SwALIP")
    if images.shape[1] != 2:
        raise ValueError(f"SwALIP with the batch as prototypes takes 2 augmentations, got {images.shape[1]}")
    image, text = unit_norm(images).unbind(dim=1), unit_norm(texts).unbind(dim=1)
    losses = []
    for first in (0, 1):
        for second in (0, 1):
            scores = (image[1 - first] @ text[1 - second].T).detach()
            losses.append(_predict(image[first], text[second], sinkhorn(scores, epsilon, iterations), temperature))
            losses.append(_predict(text[second], image[first], sinkhorn(scores.T, epsilon, iterations), temperature))
    return torch.stack(losses).mean()


def _predict(queries: Tensor, keys: Tensor, codes: Tensor, temperature: float | Tensor) -> Tensor:
    return soft_contrast(queries, keys, codes.__getitem__, temperature).mean()


def _pairs(images: Tensor, texts: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The clean pair, then all pairs of augmented ones."""
    image, text = images.unbind(dim=1), texts.unbind(dim=1)
    return [(image[0], text[0]), *((x, y) for x in image[1:] for y in text[1:])]


def _smoothed(images: Tensor, texts: Tensor, temperature: float | Tensor, smoothing: float) -> Tensor:
    """`clip` of one pair, (B, D) each, with targets that are in part spread over the batch.

    Spread targets want the mean logit in place of the partner's: the gap between both, times their share.
    """
    image, text = unit_norm(images), unit_norm(texts)
    both = (info_nce(images, texts, temperature) + info_nce(texts, images, temperature)) / 2
    gap = ((image * text).sum(dim=1).mean() - image.mean(dim=0) @ text.mean(dim=0)) / temperature
    return both + smoothing * gap


def _check(first: Tensor, second: Tensor, purpose: str, fewest: int = 2) -> None:
    if first.shape != second.shape or first.ndim != 3 or 0 in first.shape:
        raise ValueError(
            f"{purpose} expected images and texts of one shape (B, 1 + A, D), got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    if len(first) < fewest:
        raise ValueError(f"{purpose} needs a batch of at least {fewest} samples, got {len(first)}")
