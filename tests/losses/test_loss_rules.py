"""Rules that every loss keeps: NaN shows, zero vectors are harmless, too few samples or views are an error."""

from __future__ import annotations

from types import FunctionType

import pytest
import torch
from loss_cases import CASES, random_views
from torch.utils._python_dispatch import TorchDispatchMode

from equissl.losses import w_mse
from equissl.objectives import OBJECTIVES

every = pytest.mark.parametrize("name", CASES)
# Infinity minus infinity is NaN, but these only square it, or take its share.
INFINITE = {"invariance", "swav", "swav_queue", "query_softmax", "swa_lip"}
# Their cases take a softmax, to which minus infinity is an honest zero.
ZERO_SHARE = {"activation_cross_entropy", "mean_entropy_gap", "sharpened_cross_entropy"}
# A singular covariance is an error, so that somebody must look at the pivots.
WAITS = {"w_mse", "w_mse_chunks"}


def test_every_objective_that_is_a_function_is_in_the_table() -> None:
    names = {thing.__name__ for thing in OBJECTIVES.values() if isinstance(thing, FunctionType)}
    assert not {name for name in names if not any(case.startswith(name) for case in CASES)}


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_broken_embeddings_show_in_the_loss(name: str, bad: float, view: int, dtype: torch.dtype) -> None:
    """Loss scaling skips steps whose gradients are not finite: an exception would end the run instead."""
    z = random_views(16, 2).to(dtype)
    z[5, view, 3] = bad
    if bad == float("-inf") and name in ZERO_SHARE:
        return
    value = CASES[name].loss(z)
    assert value.isnan() or (name in INFINITE and abs(bad) == value == float("inf"))


@every
def test_broken_everywhere_is_no_error(name: str) -> None:
    z = torch.full((16, 2, 8), float("nan"), requires_grad=True)
    value = CASES[name].loss(z)
    assert value.isnan()
    value.backward()


class _Waits(TorchDispatchMode):
    """Notes operations that wait for the device: a number, or a shape that depends on data."""

    OPERATIONS = frozenset({"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique"})

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.OPERATIONS:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


@every
def test_losses_do_not_wait_for_the_device(name: str) -> None:
    z = random_views(16).requires_grad_()
    CASES[name].loss(z)
    with _Waits() as waits:
        CASES[name].loss(z).backward()
    assert waits.seen == ({"_local_scalar_dense"} if name in WAITS else set())


@every
@pytest.mark.parametrize("rows", [slice(None), slice(2, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_zero_vectors_are_finite(name: str, rows: slice, dtype: torch.dtype) -> None:
    z = random_views(16).to(dtype)
    z[rows] = 0
    z.requires_grad_()
    value = CASES[name].loss(z)
    value.backward()
    assert value.isfinite() and z.grad is not None and z.grad.isfinite().all()


@every
def test_too_few_samples_or_views(name: str) -> None:
    """What a loss accepts is finite, what it does not is named."""
    case = CASES[name]
    for fewest, z in ((case.samples, random_views(1)), (case.views, random_views(8, 1))):
        if fewest == 1:
            assert case.loss(z).isfinite()
        elif fewest:
            with pytest.raises(ValueError, match=r"got .*\b1\b"):
                case.loss(z)


def test_w_mse_of_a_broken_chunk_says_nan_but_of_a_collapsed_one_is_an_error() -> None:
    z = random_views(16)
    z[3, 1, 2] = float("nan")
    assert w_mse(z).isnan()
    with pytest.raises(ValueError, match="singular"):
        w_mse(torch.ones(16, 2, 8))
