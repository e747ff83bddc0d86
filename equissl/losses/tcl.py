"""TCL, triple contrastive learning of two modalities (Yang et al., CVPR 2022, arXiv 2202.10401).

Three terms: across modalities (`cma`), within each (`imc`), and between the whole and its parts (`lmi`). The paper's
total is the mean of six: both directions of `cma`, both of `imc`, and `lmi` of either modality, that is the mean of
``cma``, ``imc`` and the mean of two ``lmi``. Keys come from a momentum teacher, whose copy moves before its forward
pass. Formulas and defaults are those of the released code; image and text may be any two modalities.

Released and not here: `lmi` there masks by adding -10000, which float16 cannot hold; takes the negatives of one process
alone, where ours are all of the batch that is given; and pads text with tokens that must be left out by hand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.losses.blocks import in_blocks
from equissl.losses.info_nce import info_nce
from equissl.losses.precision import check_pair, full_precision, unit_norm
from equissl.losses.similarity import check_temperature
from equissl.losses.soft_contrast import soft_contrast


@full_precision
def cma(
    images: Tensor,
    texts: Tensor,
    image_keys: Tensor,
    text_keys: Tensor,
    image_queue: Tensor | None = None,
    text_queue: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    alpha: float = 0.4,
) -> Tensor:
    """Cross-modal alignment: each image picks its text's key among the batch's and the queue's, and each text likewise.

    The target is ``1 - alpha`` on the partner's key, and ``alpha`` spread as the teacher's own softmax is: captions of
    other images may fit as well. With alpha 0, no queues and the embeddings as keys this is `clip`.

    Args:
        images: (B, D) online embeddings.
        texts: (B, D) online embeddings.
        image_keys: (B, D) of the teacher, without gradient.
        text_keys: (B, D) of the teacher, without gradient.
        image_queue: (M, D) earlier keys, or none.
        text_queue: (M, D) earlier keys, or none.
        temperature: divides the cosines, the teacher's too.
        alpha: share of the teacher's targets, in [0, 1]; the release raises it from 0 in the first epoch.

    Returns:
        Scalar, the mean of both directions; log(B + M) at collapse.

    Raises:
        ValueError: for shapes that do not fit, fewer than 2 keys, alpha out of range, or a temperature that is not
            positive.
    """
    check_temperature(temperature)
    if not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha in [0, 1], got {alpha}")
    _check(images, texts, image_keys, text_keys)
    image_keys, text_keys = image_keys.detach(), text_keys.detach()
    to_texts = _towards(images, image_keys, _joined(text_keys, text_queue), temperature, alpha)
    to_images = _towards(texts, text_keys, _joined(image_keys, image_queue), temperature, alpha)
    return (to_texts + to_images) / 2


@full_precision
def imc(
    images: Tensor,
    texts: Tensor,
    image_keys: Tensor,
    text_keys: Tensor,
    image_queue: Tensor | None = None,
    text_queue: Tensor | None = None,
    temperature: float | Tensor = 0.07,
) -> Tensor:
    """Intra-modal contrast: `info_nce` of images with the keys of their other view and the queue, and texts likewise.

    It is `moco` with the batch's other keys among the negatives.

    Args:
        images, texts, image_keys, text_keys, image_queue, text_queue: as for `cma`; keys are those of another
            augmentation.
        temperature: divides the cosines.

    Returns:
        Scalar, the mean of both modalities; log(B + M) at collapse.

    Raises:
        ValueError: as `cma`.
    """
    _check(images, texts, image_keys, text_keys)
    within_images = info_nce(images, _joined(image_keys.detach(), image_queue), temperature)
    within_texts = info_nce(texts, _joined(text_keys.detach(), text_queue), temperature)
    return (within_images + within_texts) / 2


@full_precision
def lmi(wholes: Tensor, parts: Tensor, mask: Tensor | None = None, temperature: float | Tensor = 0.07) -> Tensor:
    """Local mutual information: each part of a sample against the parts of all others, by the sample's whole.

    ``-log e^(l·g_n) / (e^(l·g_n) + sum_(m ≠ n, r) e^(l_mr·g_n))`` of each part l of sample n, averaged over its parts
    and then over samples; products are divided by the temperature. Other parts of the same sample are neither positives
    nor negatives of l. All parts of a sample share one log-sum-exp of negatives, so that (N, N I) logits are the
    largest table, not (N, I, N I).

    Args:
        wholes: (N, D) online embeddings g, which alone get a gradient.
        parts: (N, I, D) parts of the teacher's view, of length 1 or less: unit vectors of words, or `pool_parts` of
            patches. They are taken as they are.
        mask: (N, I), True for parts that are there. Padding is neither scored nor a negative, and a sample without
            parts leaves the mean.
        temperature: divides the products.

    Returns:
        Scalar; log(1 + (N - 1) I) at collapse.

    Raises:
        ValueError: for shapes that do not fit, fewer than 2 samples, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if wholes.ndim != 2 or parts.ndim != 3 or parts.shape[::2] != wholes.shape or parts.shape[1] == 0:
        raise ValueError(
            f"expected wholes (N, D) and parts (N, I, D), got {tuple(wholes.shape)} and {tuple(parts.shape)}"
        )
    count, number, _ = parts.shape
    if count < 2:
        raise ValueError(f"local contrast needs a batch of at least 2 samples, got {count}")
    if mask is None:
        mask = torch.ones(parts.shape[:2], dtype=torch.bool, device=parts.device)
    if mask.shape != parts.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(f"expected a mask ({count}, {number}) of booleans, got {mask.dtype} {tuple(mask.shape)}")
    wholes = unit_norm(wholes) / temperature
    parts = torch.where(mask[..., None], parts.detach(), 0)  # padding may hold anything
    keys, owners = parts.flatten(0, 1), torch.arange(count, device=parts.device)

    def block(rows: slice) -> Tensor:
        hidden = (owners[rows, None] == owners).repeat_interleave(number, dim=1) | ~mask.flatten()
        return _log_sum_of(wholes[rows] @ keys.T, hidden)

    negatives = in_blocks(block, count, 3 * count * number)
    positives = torch.einsum("nd,nid->ni", wholes, parts)
    losses = F.softplus(negatives[:, None] - positives).masked_fill(~mask, 0).sum(dim=1)
    present = mask.sum(dim=1)
    return (losses / present.clamp(min=1)).sum() / (present > 0).sum().clamp(min=1)


@full_precision
def pool_parts(patches: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """Average unit vectors of patches over a coarser grid; TCL pools 16 × 16 patches to 4 × 4.

    Args:
        patches: (N, rows · columns, D), row by row.
        grid: rows and columns.
        side: of the coarser grid.

    Returns:
        (N, side², D), of length 1 or less: averages are not normalised again.

    Raises:
        ValueError: for another number of patches, or a side that is longer than the grid's.
    """
    if patches.ndim != 3 or patches.shape[1] != grid[0] * grid[1] or not 1 <= side <= min(grid):
        raise ValueError(
            f"expected patches (N, {grid[0] * grid[1]}, D) and a side in 1..{min(grid)}, got {tuple(patches.shape)} "
            f"and {side}"
        )
    maps = unit_norm(patches).mT.unflatten(2, grid)
    return F.adaptive_avg_pool2d(maps, side).flatten(2).mT


def _towards(queries: Tensor, teacher: Tensor, keys: Tensor, temperature: float | Tensor, alpha: float) -> Tensor:
    """Mean cross-entropy of picking keys, by the targets of `cma`."""
    hard = info_nce(queries, keys, temperature)
    if alpha == 0:
        return hard
    teacher, unit = unit_norm(teacher), unit_norm(keys)
    scaled = unit / (temperature.detach() if isinstance(temperature, Tensor) else temperature)
    soft = soft_contrast(unit_norm(queries), unit, lambda rows: (teacher[rows] @ scaled.T).softmax(dim=1), temperature)
    return (1 - alpha) * hard + alpha * soft.mean()


def _joined(keys: Tensor, queue: Tensor | None) -> Tensor:
    if queue is None:
        return keys
    if queue.ndim != 2 or queue.shape[1:] != keys.shape[1:]:
        raise ValueError(f"expected a queue (M, {keys.shape[1]}), got {tuple(queue.shape)}")
    return torch.cat([keys, queue.detach().to(keys.dtype)])


def _check(images: Tensor, texts: Tensor, image_keys: Tensor, text_keys: Tensor) -> None:
    check_pair("images", images, "texts", texts, ndim=2)
    check_pair("images", images, "image keys", image_keys)
    check_pair("texts", texts, "text keys", text_keys)


def _log_sum_of(logits: Tensor, hidden: Tensor) -> Tensor:
    """Log-sum-exp (n,) of logits (n, N) that are not hidden; minus infinity, without gradient, where all are."""
    none = hidden.all(dim=1)
    # the gradient of a log-sum-exp of nothing is NaN
    seen = logits.masked_fill(hidden & ~none[:, None], float("-inf"))
    return seen.logsumexp(dim=1).masked_fill(none, float("-inf"))
