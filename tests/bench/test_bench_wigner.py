"""The benchmark of Wigner-D matrices: complete answers, exact ones of ours, and its closed form of the gradient."""

from __future__ import annotations

import pytest
import torch

from equissl.bench.wigner import TILTS, bench_wigner, by_angles, generators, gradient_error, matrix_errors
from equissl.geometry import euler_to_rotmat, random_rotmat, wigner_d, wigner_ds


def test_measures_both_ways() -> None:
    lines: list[str] = []
    result = bench_wigner(degrees="1,3", batches="4,8", repeats=1, count=20, say=lines.append)
    assert len(lines) == len(TILTS) * 2 * 2 + 2 * 2 * 2
    errors = {key: value for key, value in result.items() if "/float64/ours/" in key}
    assert len(errors) == len(TILTS) * 4 and max(errors.values()) < 1e-12
    assert result["random/float64/e3nn/harmonics"] < 1e-10
    assert result["l3/8/forward/ours_ms"] > 0 and result["l1/4/backward/ratio"] > 0
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_generators_are_derivatives_at_the_identity(degree: int) -> None:
    angles = 1e-5 * torch.eye(3, dtype=torch.float64)
    slope = (wigner_d(euler_to_rotmat(angles), degree) - wigner_d(euler_to_rotmat(-angles), degree)) / 2e-5
    torch.testing.assert_close(generators(degree), slope, rtol=0, atol=1e-6)  # constants in single precision


def test_a_wrong_matrix_has_errors() -> None:
    r = random_rotmat(10, dtype=torch.float64)
    assert all(error > 0.1 for error in matrix_errors(lambda x, n: [2 * d for d in by_angles(x, n)], r, 2).values())
    assert gradient_error(lambda x, n: [d.mT for d in wigner_ds(x, n)], r, 2) > 0.1


def test_refuses_no_repeats() -> None:
    with pytest.raises(ValueError, match="one repeat and rotation, got 0 and 1000"):
        bench_wigner(repeats=0)
