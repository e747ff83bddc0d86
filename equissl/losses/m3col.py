"""M3CoL: a mixture of two samples of one modality against both partners in the other (Kumar et al., 2024).

arXiv 2409.17777. Formulas and defaults are those of the released code, with its faults left out: it *assigns* the
second share of a sample, so that one that is mixed with itself loses mass, and it mixes in place, so that with three
modalities the unmixed side is mixed as well. The loss is for the first third of training; `soft_clip` follows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.mixing import draw_shares
from equissl.losses.precision import check_batch, check_pair, full_precision, unit_norm
from equissl.losses.similarity import check_temperature, log_sum
from equissl.losses.soft_contrast import soft_contrast


def draw_mixing(
    count: int,
    concentration: float = 0.15,
    mixed: float = 0.5,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Draw each sample's partner and its own share in the mixture.

    Args:
        count: B, samples of the batch.
        concentration: of the Beta distribution of shares.
        mixed: chance of being mixed at all; other samples have the share 1.
        generator: source of the draws.
        device: of the results.

    Returns:
        partners (B,), a permutation, which may leave a sample in its place, and shares (B,) in [0, 1].

    Raises:
        ValueError: for no samples, a chance out of range, or a concentration that is not positive.
    """
    if count < 1 or not 0 <= mixed <= 1:
        raise ValueError(f"expected at least 1 sample and a chance in [0, 1], got {count} and {mixed}")
    source = device if generator is None else generator.device
    partners = torch.randperm(count, generator=generator, device=source).to(device)
    shares = draw_shares((count,), concentration, generator, device)
    chosen = torch.rand(count, generator=generator, device=source).to(device) < mixed
    return partners, torch.where(chosen, shares, 1)


def mix_partners(x: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Mix ``share · x + (1 - share) · x[partner]`` of inputs or embeddings; ``x`` itself stays as it is.

    Args:
        x: (B, ...) floating.
        partners: (B,) positions.
        shares: (B,) in [0, 1].

    Raises:
        ValueError: for shapes that do not fit, or integers, which cannot be mixed.
    """
    if not x.is_floating_point() or x.shape[:1] != partners.shape or partners.shape != shares.shape:
        raise ValueError(
            f"expected floating x (B, ...), partners (B,) and shares (B,), got {x.dtype} {tuple(x.shape)}, "
            f"{tuple(partners.shape)} and {tuple(shares.shape)}"
        )
    return torch.lerp(x[partners], x, shares.to(x.dtype).view(-1, *[1] * (x.ndim - 1)))


@full_precision
def mixup_contrast(
    mixed: Tensor,
    others: Tensor,
    partners: Tensor,
    shares: Tensor,
    temperature: float | Tensor = 0.1,
    renormalise: bool = False,
) -> Tensor:
    """Compute the mean cross-entropy of a mixture with its two partners in the other modality, in both directions.

    The target of mixture i is its share on i and the rest on its partner; that of row j of the other modality is the
    same table read by columns, whose sums are ``share_j + 1 - share_i`` for the mixture i that j is the partner of.
    With all shares 1 this is `clip`.

    Args:
        mixed: (B, D) embeddings of the mixtures.
        others: (B, D) embeddings of the other modality, not mixed.
        partners: (B,) of `draw_mixing`.
        shares: (B,) of `draw_mixing`.
        temperature: divides the cosines.
        renormalise: divide the columns of the targets by their sums, which the release does not.

    Returns:
        Scalar; log B at collapse.

    Raises:
        ValueError: for shapes that do not fit, B < 2, or a temperature that is not positive.
    """
    check_temperature(temperature)
    check_batch(mixed, "mixup contrast")
    check_pair("mixtures", mixed, "others", others)
    if partners.shape != mixed.shape[:1] or shares.shape != partners.shape:
        raise ValueError(
            f"expected partners and shares ({len(mixed)},), got {tuple(partners.shape)} and {tuple(shares.shape)}"
        )
    x, y = unit_norm(mixed), unit_norm(others)
    shares = shares.to(x.dtype)
    own, partner = ((x * target).sum(dim=1) / temperature for target in (y, y[partners]))
    rows, columns = log_sum(x, y, temperature, tables=2), log_sum(y, x, temperature, tables=2)
    forth = shares * (rows - own) + (1 - shares) * (rows - partner)
    mass = torch.ones_like(shares)
    if renormalise:
        mass = shares.index_add(0, partners, 1 - shares)
        mass = torch.where(mass > 0, mass, 1)  # a column without mass has no terms either
    back = shares * (columns - own) / mass + (1 - shares) * ((columns / mass)[partners] - partner / mass[partners])
    return (forth.mean() + back.mean()) / 2


@full_precision
def soft_clip(embeddings: Tensor, targets: Tensor, temperature: float | Tensor = 0.125) -> Tensor:
    """Compute `clip` with the softmax of the target modality's own similarities as the target, in both directions.

    Samples alike in the target modality are no plain negatives. As in the release, both directions have the same
    targets, and gradients flow through them; call it with either modality as the target.

    Args:
        embeddings: (B, D) of one modality.
        targets: (B, D) of the other.
        temperature: divides the cosines, of the targets too.

    Returns:
        Scalar, no less than the entropy of the targets; log B at collapse.

    Raises:
        ValueError: for shapes that do not fit, B < 2, or a temperature that is not positive.
    """
    check_temperature(temperature)
    check_batch(embeddings, "soft CLIP")
    check_pair("embeddings", embeddings, "targets", targets)
    x, y = unit_norm(embeddings), unit_norm(targets)
    scaled = y / temperature

    def alike(rows: slice) -> Tensor:
        return (y[rows] @ scaled.T).softmax(dim=1)

    return (soft_contrast(x, y, alike, temperature).mean() + soft_contrast(y, x, alike, temperature).mean()) / 2
