"""Full precision for losses, whatever the surrounding autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def _widen(value: object) -> object:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Run a loss with autocast off and half-precision tensors widened to float32.

    Squares of covariances overflow float16 above 256, and logits divided by a temperature lose their differences in
    bfloat16. Gradients come back in the inputs' own dtype; float64 stays float64. Only direct arguments
    are widened, not the contents of lists or modules.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        values = [*args, *kwargs.values()]
        device = next((value.device.type for value in values if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device_type=device, enabled=False):
            wide = {name: _widen(value) for name, value in kwargs.items()}
            return function(*(_widen(value) for value in args), **wide)  # type: ignore[arg-type]

    return wrapper


def unit_norm(x: Tensor, dim: int | tuple[int, ...] = -1, eps: float = 1e-12) -> Tensor:
    """Divide by the Euclidean norm over ``dim``.

    Args:
        x: tensor of any shape.
        dim: dimension(s) that make up one vector.
        eps: vectors no longer than this have no usable direction: they give zeros, and no gradient.

    Returns:
        Tensor of the same shape.
    """
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    short = norm <= eps
    # Both `where` are needed: the inner one keeps the division finite, which the backward pass visits as well.
    return torch.where(short, torch.zeros_like(x), x / torch.where(short, torch.ones_like(norm), norm))


def check_pair(name_x: str, x: Tensor, name_y: str, y: Tensor, ndim: int | None = None) -> None:
    """Raise ValueError unless both tensors have one shape (of ``ndim`` dimensions, where given).

    Args:
        name_x: name of the first, for the message.
        x: any tensor.
        name_y: name of the second.
        y: any tensor.
        ndim: dimensions of both; None is any number.
    """
    if x.shape != y.shape or (ndim is not None and x.ndim != ndim):
        wanted = "the same shape" if ndim is None else f"the same {ndim}-dimensional shape"
        raise ValueError(f"expected {name_x} and {name_y} of {wanted}, got {tuple(x.shape)} and {tuple(y.shape)}")


def check_batch(x: Tensor, purpose: str) -> None:
    """Raise ValueError unless ``x`` is (B, D) with B >= 2, D >= 1.

    Args:
        x: embeddings.
        purpose: name of the loss, for the message.
    """
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"expected x of shape (B, D), got {tuple(x.shape)}")
    if x.shape[0] < 2:
        raise ValueError(f"{purpose} needs a batch of at least 2 samples, got {x.shape[0]} (shape {tuple(x.shape)})")
