"""First-in-first-out memory of past embeddings (He et al., MoCo, CVPR 2020; also the queue of SwAV)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.losses.precision import unit_norm


class FeatureQueue(nn.Module):
    """The last ``size`` embeddings, oldest overwritten first; saved and restored with the model's state dict.

    It starts as random unit vectors. With several processes, `gather` the rows before `enqueue` and build the module
    from one seed, so that every process holds the same queue. Enqueue after the loss has been computed, never before:
    otherwise a query meets its own key as a negative.

    A batch with NaN or infinite values is left out as a whole: it would poison the next M / B losses. That is no
    error, because activations may overflow for a few steps in float16 while training goes on; its own loss is NaN,
    which shows it, and `refused` counts such batches.

    Args:
        size: number M of embeddings; batches need not divide it.
        dim: shape of one embedding after the queue's dimension, such as D, or (views, D).
        generator: source of the random start, on the CPU.
    """

    rows: Tensor
    written: Tensor
    refused: Tensor

    def __init__(self, size: int, dim: int | tuple[int, ...], generator: torch.Generator | None = None) -> None:
        super().__init__()
        shape = (dim,) if isinstance(dim, int) else tuple(dim)
        if size < 1 or not shape or min(shape) < 1:
            raise ValueError(f"expected a positive size and positive dimensions, got size {size} and {shape}")
        self.register_buffer("rows", unit_norm(torch.randn(size, *shape, generator=generator)))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))
        self.register_buffer("refused", torch.zeros((), dtype=torch.long), persistent=False)

    @property
    def full(self) -> bool:
        """True once every random start row has been replaced."""
        return int(self.written) >= len(self.rows)

    def forward(self) -> Tensor:
        """Copy the rows (M, ...), in no particular order: `enqueue` may run before the backward pass."""
        return self.rows.clone()

    @torch.no_grad()
    def enqueue(self, rows: Tensor) -> None:
        """Overwrite the oldest rows, wrapping around at the end; of more than M rows the last M stay.

        Nothing happens, but for `refused`, where any row is not finite. The device is not waited for.

        Args:
            rows: (B, ...) embeddings of the global batch, stored as they are, without gradient.

        Raises:
            ValueError: for another shape.
        """
        if rows.ndim != self.rows.ndim or rows.shape[1:] != self.rows.shape[1:]:
            raise ValueError(
                f"expected rows of shape (B, {', '.join(map(str, self.rows.shape[1:]))}), got {tuple(rows.shape)}"
            )
        size = len(self.rows)
        skipped = max(0, len(rows) - size)
        places = (self.written + torch.arange(skipped, len(rows), device=self.rows.device)) % size
        newest = rows[skipped:].to(self.rows)
        finite = rows.to(self.rows).isfinite().all()
        self.rows[places] = torch.where(finite, newest, self.rows[places])
        self.written += finite * len(rows)
        self.refused += ~finite

    def extra_repr(self) -> str:
        return f"shape={tuple(self.rows.shape)}"
