"""Pose by matching: the rotation that brings one embedding of irreps nearest to another, against the true one.

An embedding holds copies of irreps of SO(3), one after the other, as
:class:`~equissl.predictors.GroupRepresentation` lays them out; ``shapes`` lists the copies and the degree of each term.
A rotation R moves such an embedding by the Wigner-D matrix of each degree, ``D(R) f``, so that the embedding of a cloud
in the object's own frame is that of the object in any pose, and matching asks nothing of the encoder again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.geometry.rotation_grid import rotations_near_identity
from equissl.geometry.rotations import geodesic_angle
from equissl.geometry.wigner import wigner_ds
from equissl.metrics.retrieval import check_scores, tie_tolerance

Shapes = Sequence[tuple[int, int]]

ELEMENTS = 2**24  # of a block of scores or of matrices


def matching_scores(moved: Tensor, references: Tensor, shapes: Shapes, candidates: Tensor) -> Tensor:
    """Score every candidate rotation R of every pair, ``⟨moved, D(R) reference⟩``.

    Args:
        moved: (N, E) embeddings of objects in some pose, such as those of images.
        references: (N, E) embeddings of the same objects in their own frame, such as those of clouds.
        shapes: copies and degree of each term.
        candidates: (C, 3, 3) rotations.

    Returns:
        (N, C) float32 or better.

    Raises:
        ValueError: for shapes that do not fit.
    """
    coefficients = _coefficients(moved, references, shapes)
    if candidates.ndim != 3 or candidates.shape[1:] != (3, 3) or not len(candidates):
        raise ValueError(f"expected candidate rotations (C, 3, 3), got {tuple(candidates.shape)}")
    return coefficients @ _matrices(candidates.to(coefficients), shapes).T


def pose_matching_errors(
    moved: Tensor, references: Tensor, shapes: Shapes, candidates: Tensor, target: Tensor
) -> Tensor:
    """Compute the angle between the best of the candidate rotations and the true one.

    Candidates that tie for the best are drawn with equal chance: the error is the mean over them, so that an embedding
    that knows nothing of the pose has the error of a random candidate.

    Args:
        moved, references, shapes, candidates: as for `matching_scores`; the candidates limit the precision, see
            `refined_rotations`.
        target: (N, 3, 3) true rotations.

    Returns:
        (N,) degrees in [0, 180], float64 on the CPU.

    Raises:
        ValueError: for shapes that do not fit, or scores that are not finite.
    """
    _check_target(target, moved)
    step = max(1, ELEMENTS // len(candidates))
    parts = zip(moved.split(step), references.split(step), target.split(step), strict=True)
    return torch.cat([_errors(*some, shapes, candidates) for some in parts])


def best_rotations(
    moved: Tensor, references: Tensor, shapes: Shapes, candidates: Tensor, refinements: int = 0, reach: float = 0.3
) -> Tensor:
    """Find the best rotation (N, 3, 3) of each pair: the best candidate, refined.

    Each refinement tries 125 rotations about the best so far, half as far apart as those before. The first of equal
    candidates wins.

    Args:
        moved, references, shapes, candidates: as for `matching_scores`.
        refinements: number of refinements; none returns candidates.
        reach: of the first refinement in radians: about the distance between candidates.

    Raises:
        ValueError: for shapes that do not fit, or scores that are not finite.
    """
    scores = matching_scores(moved, references, shapes, candidates)
    check_scores(scores)
    found = candidates.to(scores)[scores.argmax(dim=1)]
    coefficients = _coefficients(moved, references, shapes)
    for number in range(refinements):
        near = rotations_near_identity(reach / 2**number, dtype=scores.dtype, device=scores.device)
        step = max(1, ELEMENTS // (len(near) * coefficients.shape[1]))
        parts = zip(found.split(step), coefficients.split(step), strict=True)
        found = torch.cat([_refine(*some, near, shapes) for some in parts])
    return found


def refined_matching_errors(
    moved: Tensor,
    references: Tensor,
    shapes: Shapes,
    candidates: Tensor,
    target: Tensor,
    refinements: int = 4,
    reach: float = 0.3,
) -> Tensor:
    """Compute the angle between the refined best rotation and the true one; see `best_rotations`.

    Ties are not averaged. Beside an embedding without pose, `pose_matching_errors` is the honest measure.

    Args:
        moved, references, shapes, candidates, refinements, reach: as for `best_rotations`.
        target: (N, 3, 3) true rotations.

    Returns:
        (N,) degrees in [0, 180], float64 on the CPU.

    Raises:
        ValueError: for shapes that do not fit, or scores that are not finite.
    """
    _check_target(target, moved)
    found = best_rotations(moved, references, shapes, candidates, refinements, reach)
    return torch.rad2deg(geodesic_angle(found.double().cpu(), target.double().cpu()))


def _errors(moved: Tensor, references: Tensor, target: Tensor, shapes: Shapes, candidates: Tensor) -> Tensor:
    scores = matching_scores(moved, references, shapes, candidates)
    check_scores(scores)
    limit = tie_tolerance(moved.to(scores), references.to(scores).norm(dim=1))
    best = (scores >= scores.amax(dim=1, keepdim=True) - limit[:, None]).double().cpu()
    angles = geodesic_angle(candidates.double().cpu()[None], target.double().cpu()[:, None])
    return torch.rad2deg((best * angles).sum(dim=1) / best.sum(dim=1))


def _refine(found: Tensor, coefficients: Tensor, near: Tensor, shapes: Shapes) -> Tensor:
    tried = (found[:, None, :, :, None] * near[None, :, None]).sum(dim=3)  # (n, K, 3, 3): first near, then found
    scores = (_matrices(tried.flatten(0, 1), shapes).unflatten(0, tried.shape[:2]) * coefficients[:, None]).sum(dim=2)
    return tried[torch.arange(len(found), device=found.device), scores.argmax(dim=1)]


def _coefficients(moved: Tensor, references: Tensor, shapes: Shapes) -> Tensor:
    """(N, Σ (2l + 1)²): products of both embeddings' components, summed over the copies of each term."""
    sizes = [copies * (2 * degree + 1) for copies, degree in shapes]
    if moved.ndim != 2 or moved.shape != references.shape or moved.shape[1] != sum(sizes) or not len(moved):
        raise ValueError(
            f"expected embeddings (N, {sum(sizes)}) of terms {list(shapes)}, got {tuple(moved.shape)} and "
            f"{tuple(references.shape)}"
        )
    dtype = torch.promote_types(moved.dtype, torch.float32)
    parts = zip(moved.to(dtype).split(sizes, dim=1), references.to(dtype).split(sizes, dim=1), shapes, strict=True)
    return torch.cat(
        [
            torch.einsum("bkm,bkn->bmn", x.unflatten(1, (-1, 2 * degree + 1)), y.unflatten(1, (-1, 2 * degree + 1)))
            .flatten(1)
            for x, y, (_, degree) in parts
        ],
        dim=1,
    )  # fmt: skip


def _matrices(rotations: Tensor, shapes: Shapes) -> Tensor:
    """(C, Σ (2l + 1)²): the Wigner-D matrices of each term."""
    found = wigner_ds(rotations, max(degree for _, degree in shapes))
    return torch.cat([found[degree].flatten(1) for _, degree in shapes], dim=1)


def _check_target(target: Tensor, moved: Tensor) -> None:
    if target.shape != (len(moved), 3, 3):
        raise ValueError(f"expected true rotations ({len(moved)}, 3, 3), got {tuple(target.shape)}")
