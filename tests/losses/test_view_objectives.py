"""What every objective over (B, V, D) must satisfy, beside the values in its own file."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equissl.losses.align_uniform import align_uniform, alignment_loss, uniformity_loss
from equissl.losses.barlow_twins import barlow_twins
from equissl.losses.cacr import cacr
from equissl.losses.negative_cosine import byol, simsiam
from equissl.losses.swav import swav
from equissl.losses.vicreg_objective import vicreg
from equissl.losses.w_mse import w_mse

Objective = Callable[[Tensor], Tensor]
OBJECTIVES: dict[str, Objective] = {
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
    "w_mse": lambda z: w_mse(z, eps=0.01),
    "alignment_loss": alignment_loss,
    "uniformity_loss": uniformity_loss,
    "align_uniform": align_uniform,
    "byol": lambda z: byol(z, 0.5 * z + 1),
    "simsiam": lambda z: simsiam(z, 0.5 * z + 1),
    "swav": swav,
    "cacr": cacr,
}
VIEW_SYMMETRIC = set(OBJECTIVES) - {"swav", "cacr"}  # swav: the first two views assign; cacr: ordered repulsion
COSINE = {"alignment_loss", "uniformity_loss", "align_uniform", "cacr"}
LONE_SAMPLE = {"alignment_loss", "byol", "simsiam"}
each = pytest.mark.parametrize("name", OBJECTIVES)


def random_views(batch: int, views: int, dims: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(batch, 1, dims, generator=generator, dtype=torch.float64)
    return shared + 0.7 * torch.randn(batch, views, dims, generator=generator, dtype=torch.float64)


@each
def test_gradcheck(name: str) -> None:
    z = random_views(4, 3, 6)
    target, objective = random_views(4, 3, 6, seed=1), OBJECTIVES[name]
    if name in ("byol", "simsiam"):  # the stopped gradient is not the numerical one
        objective = {"byol": byol, "simsiam": simsiam}[name]
        assert torch.autograd.gradcheck(lambda z: objective(z, target), z.requires_grad_())
    elif name == "swav":  # its codes are constants: only the crop that does not assign is differentiated
        head, tail = z[:, :2], z[:, 2:].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda tail: swav(torch.cat((head, tail), dim=1)), tail)
    else:
        assert torch.autograd.gradcheck(objective, z.requires_grad_())


@each
@pytest.mark.parametrize("views", [2, 3])
def test_order_of_samples_and_views_does_not_matter(name: str, views: int) -> None:
    z = random_views(12, views, 5)
    value = OBJECTIVES[name](z)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(OBJECTIVES[name](z[order]), value, rtol=1e-10, atol=1e-12)
    if name in VIEW_SYMMETRIC:
        torch.testing.assert_close(OBJECTIVES[name](z.flip(1)), value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"uniformity_loss"}))
def test_which_views_belong_together_matters(name: str) -> None:
    """Uniformity alone looks at one view at a time."""
    z = random_views(12, 2, 5)
    mismatched = torch.stack((z[:, 0], z[:, 1].roll(1, 0)), dim=1)
    assert OBJECTIVES[name](mismatched) > OBJECTIVES[name](z) + 1e-3


@pytest.mark.parametrize("name", sorted(VIEW_SYMMETRIC))  # the others have a definition of their own for more views
def test_pairs_of_views_are_averaged(name: str) -> None:
    z, f = random_views(12, 3, 5), OBJECTIVES[name]
    pairs = [f(z[:, [0, 1]]), f(z[:, [0, 2]]), f(z[:, [1, 2]])]
    torch.testing.assert_close(f(z), torch.stack(pairs).mean(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(COSINE))
def test_rotation_and_scale_do_not_matter(name: str) -> None:
    z = random_views(12, 3, 5)
    basis = torch.linalg.qr(random_views(5, 1, 5)[:, 0]).Q
    scale = torch.linspace(0.5, 3, 36, dtype=torch.float64).view(12, 3, 1)
    torch.testing.assert_close(OBJECTIVES[name](scale * z @ basis), OBJECTIVES[name](z), rtol=1e-10, atol=1e-12)


@each
@pytest.mark.parametrize("case", ["random", "collapse", "zero", "orthonormal"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_finite_and_accurate(name: str, case: str, dtype: torch.dtype) -> None:
    z = {
        "random": random_views(32, 4, 16),
        "collapse": torch.full((32, 4, 16), 0.7, dtype=torch.float64),
        "zero": torch.zeros(32, 4, 16, dtype=torch.float64),
        "orthonormal": torch.eye(32, dtype=torch.float64)[:, None].repeat(1, 4, 1),
    }[case].requires_grad_()
    half = z.detach().to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = OBJECTIVES[name](half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), OBJECTIVES[name](z), rtol=1e-2, atol=1e-5)
    value.backward()
    assert half.grad is not None and half.grad.dtype == dtype and half.grad.isfinite().all()


@each
def test_errors(name: str) -> None:
    f, z = OBJECTIVES[name], random_views(4, 2, 3)
    with pytest.raises(ValueError, match="at least 2 views, got 1"):
        f(z[:, :1])
    with pytest.raises(ValueError, match=r"shape \(B, V, D\), got torch.float64 \(4, 3\)"):
        f(z[:, 0])
    if name in LONE_SAMPLE:
        assert f(z[:1]).isfinite()
    else:
        with pytest.raises(ValueError, match="at least 2 samples, got 1"):
            f(z[:1])


@each
def test_compiled_value_and_gradient_are_the_same(name: str) -> None:
    z = random_views(8, 3, 5).requires_grad_()
    compiled = torch.compile(OBJECTIVES[name], backend="aot_eager")
    (expected,) = torch.autograd.grad(OBJECTIVES[name](z), z)
    value = compiled(z)
    torch.testing.assert_close(value, OBJECTIVES[name](z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], expected, rtol=1e-10, atol=1e-12)
