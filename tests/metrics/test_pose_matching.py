"""Matching of poses by irreps against brute force."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.geometry import euler_to_rotmat, geodesic_angle, random_rotmat, rotation_grid, wigner_d
from equissl.metrics import pose_matching
from equissl.metrics.pose_matching import (
    best_rotations,
    matching_scores,
    pose_matching_errors,
    refined_matching_errors,
)
from equissl.predictors import GroupRepresentation

SHAPES = [(4, 0), (3, 1), (2, 2)]
DIM = 4 + 9 + 10


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def turned(embeddings: Tensor, rotations: Tensor) -> Tensor:
    """``D(R) f`` of each row, one copy at a time."""
    rows = []
    for embedding, rotation in zip(embeddings, rotations, strict=True):
        parts, start = [], 0
        for copies, degree in SHAPES:
            for _ in range(copies):
                parts.append(wigner_d(rotation, degree) @ embedding[start : start + 2 * degree + 1])
                start += 2 * degree + 1
        rows.append(torch.cat(parts))
    return torch.stack(rows)


REFERENCES = torch.randn(7, DIM, generator=seeded(), dtype=torch.float64)
TRUE = random_rotmat(7, seeded(1), torch.float64)
CANDIDATES = random_rotmat(40, seeded(2), torch.float64)


def test_scores_are_brute_force() -> None:
    moved = torch.randn(7, DIM, generator=seeded(3), dtype=torch.float64)
    expected = torch.stack(
        [(moved * turned(REFERENCES, rotation.expand(7, 3, 3))).sum(dim=1) for rotation in CANDIDATES], dim=1
    )
    found = matching_scores(moved, REFERENCES, SHAPES, CANDIDATES)
    torch.testing.assert_close(found, expected)
    representation = GroupRepresentation("4x0e+3x1e+2x2e")
    torch.testing.assert_close(representation.match(REFERENCES, moved, CANDIDATES.mT), found)


@pytest.mark.parametrize("blocked", [False, True])
def test_errors_are_those_of_the_best_candidate(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose_matching, "ELEMENTS", 100 if blocked else 2**24)
    moved = turned(REFERENCES, TRUE)
    found = pose_matching_errors(moved, REFERENCES, SHAPES, CANDIDATES, TRUE)
    best = matching_scores(moved, REFERENCES, SHAPES, CANDIDATES).argmax(dim=1)
    torch.testing.assert_close(found, torch.rad2deg(geodesic_angle(CANDIDATES[best], TRUE)))
    with_truth = torch.cat([CANDIDATES, TRUE])
    assert pose_matching_errors(moved, REFERENCES, SHAPES, with_truth, TRUE).max() < 1e-5
    assert found.min() > 1


def test_embeddings_without_pose_have_the_error_of_a_random_candidate() -> None:
    scalars = REFERENCES.clone()
    scalars[:, 4:] = 0
    found = pose_matching_errors(scalars.float(), scalars.float(), SHAPES, CANDIDATES, TRUE)
    expected = torch.rad2deg(geodesic_angle(CANDIDATES[None], TRUE[:, None])).mean(dim=1)
    torch.testing.assert_close(found, expected)


def test_symmetric_references_have_several_best_candidates() -> None:
    """A vector along z: every turn about z is as good, and the error is their mean."""
    reference = torch.zeros(1, DIM)
    reference[0, 4 + 1] = 1  # degree 1 is (y, z, x)
    angles = torch.arange(4) * math.pi / 2
    turns = euler_to_rotmat(torch.stack([torch.zeros(4), torch.zeros(4), angles], dim=1))
    over = euler_to_rotmat(torch.tensor([[math.pi, 0.0, 0.0]]))
    found = pose_matching_errors(reference, reference, SHAPES, torch.cat([turns, over]), turns[:1])
    assert found.item() == pytest.approx((0 + 90 + 180 + 90) / 4, abs=1e-3)


@pytest.mark.parametrize("blocked", [False, True])
def test_refinement_finds_the_rotation(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose_matching, "ELEMENTS", 10_000 if blocked else 2**24)
    moved, grid = turned(REFERENCES, TRUE), rotation_grid(500, torch.float64)
    coarse = pose_matching_errors(moved, REFERENCES, SHAPES, grid, TRUE)
    errors = [refined_matching_errors(moved, REFERENCES, SHAPES, grid, TRUE, n) for n in (0, 3, 6)]
    torch.testing.assert_close(errors[0], coarse)
    assert coarse.min() > 1 and errors[1].max() < coarse.max() / 4 and errors[2].max() < 0.5
    assert best_rotations(moved, REFERENCES, SHAPES, grid, 1).shape == (7, 3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: matching_scores(x, x[1:], SHAPES, CANDIDATES), r"\(N, 23\) of terms .*got \(7, 23\) and \(6, 23\)"),
        (lambda x: matching_scores(x, x, [(4, 0)], CANDIDATES), r"embeddings \(N, 4\) of terms"),
        (lambda x: matching_scores(x, x, SHAPES, CANDIDATES[0]), r"rotations \(C, 3, 3\), got \(3, 3\)"),
        (lambda x: pose_matching_errors(x, x, SHAPES, CANDIDATES, TRUE[1:]), r"\(7, 3, 3\), got \(6, 3, 3\)"),
        (lambda x: refined_matching_errors(x, x, SHAPES, CANDIDATES, TRUE[1:]), r"\(7, 3, 3\), got \(6, 3, 3\)"),
        (lambda x: pose_matching_errors(x * float("nan"), x, SHAPES, CANDIDATES, TRUE), "finite scores"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(REFERENCES)
