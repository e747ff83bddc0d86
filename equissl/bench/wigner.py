"""Benchmark of Wigner-D matrices: our polynomial in the rotation matrix beside e3nn's Euler angles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from equissl.geometry import euler_to_rotmat, random_rotmat, wigner_ds
from equissl.geometry.wigner import E3NN_AXES

Matrices = Callable[[Tensor, int], list[Tensor]]
# rotations by their angle from the z axis, radians; None: any rotation
TILTS = {"random": None, "tilt 1e-2": 1e-2, "tilt 1e-4": 1e-4, "about z": 0.0}


def bench_wigner(
    degrees: str = "2,4,6",
    batches: str = "256,1024,4096",
    repeats: int = 30,
    count: int = 1000,
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Measure errors of all matrices up to a degree, of their gradients, and seconds, both ways in turn.

    Args:
        degrees: highest degrees to time, separated by commas; errors are those of the highest.
        batches: numbers of rotations to time, separated by commas.
        repeats: timed pairs of each setting, their medians are given.
        count: rotations of each sort whose errors are measured; the largest is given.
        threads: of the CPU.
        say: receives one line for each setting.

    Returns:
        errors ``SORT/DTYPE/WAY/...`` and ``LEVEL/BATCH/...`` milliseconds, with the ratio of e3nn's to ours.

    Raises:
        ValueError: for no repeats or rotations.
    """
    if min(repeats, count) < 1:
        raise ValueError(f"expected at least one repeat and rotation, got {repeats} and {count}")
    levels = [int(degree) for degree in degrees.split(",")]
    before, _ = torch.get_num_threads(), torch.manual_seed(0)
    torch.set_num_threads(threads)
    try:
        result = _accuracy(max(levels), count, say)
        for level in levels:
            for batch in map(int, batches.split(",")):
                result |= _timing(level, batch, repeats, say)
        return result
    finally:
        torch.set_num_threads(before)


def by_angles(rotmat: Tensor, max_degree: int) -> list[Tensor]:
    """Compute e3nn's ``D_from_matrix`` of the degrees 0 to ``max_degree``, with one conversion to Euler angles for all.

    Args:
        rotmat: (..., 3, 3) rotation matrices.
        max_degree: highest degree.
    """
    from e3nn import o3

    angles = o3.matrix_to_angles(rotmat[..., E3NN_AXES, :][..., E3NN_AXES])
    return [o3.Irrep(degree, 1).D_from_angles(*angles) for degree in range(max_degree + 1)]


WAYS: dict[str, Matrices] = {"ours": wigner_ds, "e3nn": by_angles}


def rotations(tilt: float | None, count: int) -> Tensor:
    """Draw rotations (count, 3, 3) float64: any, or turns about z, a tilt, and turns about z again.

    Args:
        tilt: in radians; None for any rotations.
        count: number of rotations.
    """
    if tilt is None:
        return random_rotmat(count, dtype=torch.float64)
    turns = 2 * torch.pi * torch.rand(2, count, dtype=torch.float64)
    first, second = (euler_to_rotmat(torch.nn.functional.pad(turn[:, None], (2, 0))) for turn in turns)
    return first @ euler_to_rotmat(torch.tensor([tilt, 0, 0], dtype=torch.float64)) @ second


def _accuracy(degree: int, count: int, say: Callable[[str], None]) -> dict[str, float]:
    """Compute the largest errors of matrices and gradients, e3nn's constants in the precision of the rotations."""
    result: dict[str, float] = {}
    usual = torch.get_default_dtype()
    for dtype in (torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            for sort, tilt in TILTS.items():
                rotmat = rotations(tilt, count).to(dtype)
                for name, way in WAYS.items():
                    errors = matrix_errors(way, rotmat, degree) | {"gradient": gradient_error(way, rotmat, degree)}
                    where = f"{sort}/{str(dtype).removeprefix('torch.')}/{name}"
                    say(f"{where:<26}" + "".join(f"{key} {value:9.1e}   " for key, value in errors.items()))
                    result |= {f"{where}/{key}": value for key, value in errors.items()}
        finally:
            torch.set_default_dtype(usual)
    return result


def matrix_errors(way: Matrices, rotmat: Tensor, degree: int) -> dict[str, float]:
    """Compute largest errors of ``D(R) Y(x) = Y(R x)`` on e3nn's harmonics Y, ``D(R) D(S) = D(R S)``, and ``D Dᵀ = 1``.

    Args:
        way: to make the matrices.
        rotmat: (B, 3, 3), of the precision to work in.
        degree: of the matrices.
    """
    from e3nn import o3

    d, eye = way(rotmat, degree)[degree], torch.eye(2 * degree + 1, dtype=torch.float64)
    points = torch.randn(len(rotmat), 3, 1, dtype=torch.float64)
    seen, moved = (
        o3.spherical_harmonics(degree, x[:, E3NN_AXES, 0], True, "norm") for x in (points, rotmat.double() @ points)
    )
    other = random_rotmat(len(rotmat), dtype=rotmat.dtype)
    composed = way(rotmat @ other, degree)[degree]
    errors = {
        "harmonics": (d.double() @ seen[:, :, None]).squeeze(2) - moved,
        "composition": d @ way(other, degree)[degree] - composed,
        "orthogonality": d.double() @ d.double().mT - eye,
    }
    return {name: error.abs().max().item() for name, error in errors.items()}


def gradient_error(way: Matrices, rotmat: Tensor, degree: int) -> float:
    """Compute the largest relative error of a derivative along the group, ``dD(R exp(tω)) / dt = D(R) X(ω)``.

    Args:
        way: to make the matrices.
        rotmat: (B, 3, 3), of the precision to work in.
        degree: of the matrices.

    Returns:
        Infinity where a derivative is not finite.
    """
    leaf = rotmat.clone().requires_grad_()
    weight = torch.randn(len(rotmat), 2 * degree + 1, 2 * degree + 1, dtype=torch.float64)
    (slope,) = torch.autograd.grad((way(leaf, degree)[degree] * weight.to(rotmat.dtype)).sum(), leaf)
    hats = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        hats[i, k, j], hats[i, j, k] = 1, -1
    found = torch.einsum("bij,bik,nkj->bn", slope.double(), rotmat.double(), hats)
    exact = torch.einsum("bij,bik,nkj->bn", weight, wigner_ds(rotmat.double(), degree)[degree], generators(degree))
    error = (found - exact).abs().max() / exact.abs().max()
    return error.item() if error.isfinite() else float("inf")


def generators(degree: int) -> Tensor:
    """Compute (3, 2l+1, 2l+1) float64: derivatives of D at the identity about our x, y and z."""
    from e3nn import o3

    return o3.so3_generators(degree).double()[[2, 0, 1]]


def _timing(level: int, batch: int, repeats: int, say: Callable[[str], None]) -> dict[str, float]:
    rotmat = random_rotmat(batch)
    result: dict[str, float] = {}
    for name, run in (("forward", _forward), ("backward", _backward)):
        pairs = [{way: run(make, rotmat, level) for way, make in WAYS.items()} for _ in range(repeats + 1)][1:]
        ms = {way: 1000 * statistics.median(pair[way] for pair in pairs) for way in WAYS}
        ratio = statistics.median(pair["e3nn"] / pair["ours"] for pair in pairs)
        say(f"l = 0..{level}, {batch:5} {name:<9} ours {ms['ours']:8.2f} ms, e3nn {ms['e3nn']:8.2f} ms, {ratio:5.2f} x")
        where = f"l{level}/{batch}/{name}"
        result |= {f"{where}/ours_ms": ms["ours"], f"{where}/e3nn_ms": ms["e3nn"], f"{where}/ratio": ratio}
    return result


def _forward(way: Matrices, rotmat: Tensor, level: int) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        way(rotmat, level)
    return time.perf_counter() - start


def _backward(way: Matrices, rotmat: Tensor, level: int) -> float:
    """Measure seconds of the matrices and of the gradient to the rotations."""
    leaf = rotmat.clone().requires_grad_()
    start = time.perf_counter()
    torch.autograd.grad(torch.stack([d.sum() for d in way(leaf, level)]).sum(), leaf)
    return time.perf_counter() - start
