"""Batch normalisation over all processes, on any device.

torch's own refuses CPU tensors, which leaves two CPU processes with another result than one. This one uses torch's on
CUDA and a plain differentiable all-reduce elsewhere.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """`torch.nn.SyncBatchNorm` that also takes CPU tensors. Same parameters, buffers and running statistics.

    Not a subclass of torch's: `DistributedDataParallel` refuses modules on the CPU that hold one.
    """

    process_group = None  # all processes

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...) with the statistics of the batches of all processes joined."""
        batch_statistics = self.training or not self.track_running_stats
        if input.is_cuda or not batch_statistics or not (dist.is_available() and dist.is_initialized()):
            return nn.SyncBatchNorm.forward(self, input) if input.is_cuda else super().forward(input)  # type: ignore[arg-type]
        self._check_non_zero_input_channels(input)
        x = input if input.dtype == torch.float64 else input.float()
        mean, variance, count = self._joined_statistics(x)
        if self.training and self.track_running_stats:
            self._update(mean, variance * count / (count - 1).clamp_min(1))
        y = (x - _per_channel(mean, x)) * _per_channel(torch.rsqrt(variance + self.eps), x)
        if self.affine:
            y = y * _per_channel(self.weight, x) + _per_channel(self.bias, x)
        return y.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions (N, C, ...), got shape {tuple(input.shape)}")

    def _check_non_zero_input_channels(self, input: Tensor) -> None:  # torch's forward asks for it
        if input.size(1) == 0:
            raise ValueError(f"expected at least one channel, got shape {tuple(input.shape)}")

    def _joined_statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and biased variance (C,) over all processes, and the number of values of a channel."""
        dims = [d for d in range(x.ndim) if d != 1]
        count = x.new_full((1,), x.numel() // x.shape[1])
        sums = all_reduce(torch.cat([x.sum(dims), count]), group=self.process_group)
        mean, count = sums[:-1] / sums[-1], sums[-1]
        # two passes: the difference of two large sums would lose the variance of a channel far from zero
        squares = (x - _per_channel(mean, x)).square().sum(dims)
        return mean, all_reduce(squares, group=self.process_group) / count, count

    @torch.no_grad()
    def _update(self, mean: Tensor, unbiased: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), rate)


def _per_channel(x: Tensor, like: Tensor) -> Tensor:
    return x.view(1, -1, *[1] * (like.ndim - 2))


def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every batch-norm layer of ``module`` by :class:`SyncBatchNorm`, sharing its parameters and buffers.

    Modules with a true ``sees_global_batch`` are left alone: what they normalise has been gathered already.

    Returns:
        ``module`` itself, changed in place (a new layer when it is a batch norm itself).
    """
    if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
        return _convert(module)
    if getattr(module, "sees_global_batch", False):
        return module
    for name, child in module.named_children():
        replacement = convert_sync_batchnorm(child)
        if replacement is not child:
            setattr(module, name, replacement)
    return module


def _convert(old: _BatchNorm) -> SyncBatchNorm:
    new = SyncBatchNorm(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    new._parameters.update(old._parameters)
    new._buffers.update(old._buffers)
    return new.train(old.training)
