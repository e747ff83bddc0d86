"""Linear classification probe and rotation MLP on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.evaluation.config import LinearProbeConfig, RotationProbeConfig
from equissl.evaluation.sampling import num_steps, object_batches, pair_targets, random_pairs, random_views
from equissl.geometry import QuaternionSign

PREDICT_ROWS = 4096


def standardize(train: Tensor, val: Tensor) -> tuple[Tensor, Tensor]:
    """Both with zero mean and unit deviation per dimension in ``train``.

    A dimension whose deviation is below a thousandth of the average one is scaled by that floor: what it holds is
    rounding noise, which a division by its own deviation would raise to the level of the signal.

    Args:
        train: (N, V, D).
        val: (M, V, D).
    """
    flat = train.flatten(0, 1).double()
    mean, std = flat.mean(0), flat.std(0, correction=0)
    scale = std.clamp_min(max(1e-3 * float(std.mean()), 1e-12))
    return ((train - mean) / scale).float(), ((val - mean) / scale).float()


def mlp(in_dim: int, hidden: Sequence[int], out_dim: int, seed: int) -> nn.Sequential:
    """Linear layers with ReLU between them, initialised from ``seed`` without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(in_dim, width), nn.ReLU()]
            in_dim = width
        return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))


def fit(
    head: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    lr: float,
    precision: str = "32",
) -> nn.Module:
    """Trains ``head`` on (inputs, targets) with Adam at a constant rate.

    Raises:
        FloatingPointError: where the probe's loss is not finite at the end.
    """
    optimizer = torch.optim.Adam(head.parameters(), lr=lr, fused=True)
    value = torch.zeros(())
    for inputs, targets in batches:
        value = loss(_forward(head, inputs, precision), targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    if not torch.isfinite(value):
        raise FloatingPointError(f"expected a finite probe loss, got {value.item()} (learning rate {lr})")
    return head.eval()


def _forward(head: nn.Module, inputs: Tensor, precision: str) -> Tensor:
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        return head(inputs).float()


@torch.inference_mode()
def _predict(head: nn.Module, inputs: Callable[[slice], Tensor], rows: int, precision: str) -> Tensor:
    chunks = (slice(start, start + PREDICT_ROWS) for start in range(0, rows, PREDICT_ROWS))
    return torch.cat([_forward(head, inputs(chunk), precision) for chunk in chunks])


def linear_probe(
    train: Tensor,
    labels: Tensor,
    val: Tensor,
    num_classes: int,
    config: LinearProbeConfig,
    seed: int = 0,
    precision: str = "32",
) -> Tensor:
    """Logits of every validation view from a linear classifier trained on the training views.

    Args:
        train: (N, V, D) features.
        labels: (N,) classes of the training objects.
        val: (M, V, D) features.
        num_classes: size of the output layer.

    Returns:
        (M, V, num_classes) logits on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = num_steps(config.epochs, config.steps, len(train), config.batch_size)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for item in object_batches(len(train), config.batch_size, steps, generator):
            view = random_views(train.shape[1], len(item), generator)
            yield train[item, view].float(), labels[item]

    head = mlp(train.shape[-1], (), num_classes, seed).to(train.device)
    fit(head, batches(), F.cross_entropy, config.lr, precision)
    rows = val.flatten(0, 1)
    return _predict(head, lambda chunk: rows[chunk].float(), len(rows), precision).view(*val.shape[:2], -1).cpu()


def rotation_probe(
    train: Tensor,
    quats: Tensor,
    val: Tensor,
    val_pairs: np.ndarray,
    config: RotationProbeConfig,
    sign: QuaternionSign,
    seed: int = 0,
    precision: str = "32",
) -> Tensor:
    """Relative quaternions of the validation pairs, predicted from the features of both views side by side.

    Args:
        train: (N, V, D) features.
        quats: (N, V, 4) poses of the training views.
        val: (M, V, D) features.
        val_pairs: (P, 3) rows (object, first view, second view).
        sign: sign policy of the target quaternion.

    Returns:
        (P, 4) predictions, not normalised, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = num_steps(config.epochs, config.steps, len(train), config.batch_size)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for item in object_batches(len(train), config.batch_size, steps, generator):
            first, second = random_pairs(train.shape[1], len(item), generator)
            target = pair_targets(quats, torch.stack([item, first, second], 1), sign)
            yield (
                torch.cat([train[item, first], train[item, second]], 1).float(),
                target.to(train.device, torch.float32),
            )

    head = mlp(2 * train.shape[-1], config.hidden, 4, seed).to(train.device)
    fit(head, batches(), F.mse_loss, config.lr, precision)
    item, first, second = torch.as_tensor(val_pairs).unbind(1)

    def inputs(chunk: slice) -> Tensor:
        return torch.cat([val[item[chunk], first[chunk]], val[item[chunk], second[chunk]]], 1).float()

    return _predict(head, inputs, len(item), precision).cpu()


def pose_probe(
    train: Tensor,
    quats: Tensor,
    val: Tensor,
    config: RotationProbeConfig,
    seed: int = 0,
    precision: str = "32",
) -> Tensor:
    """Absolute pose of single views: the rotation probe with one view in. Returns (M, V, 4) on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    steps = num_steps(config.epochs, config.steps, len(train), config.batch_size)
    targets = quats.to(train.device, torch.float32)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for item in object_batches(len(train), config.batch_size, steps, generator):
            view = random_views(train.shape[1], len(item), generator)
            yield train[item, view].float(), targets[item, view]

    head = mlp(train.shape[-1], config.hidden, 4, seed).to(train.device)
    fit(head, batches(), F.mse_loss, config.lr, precision)
    rows = val.flatten(0, 1)
    return _predict(head, lambda chunk: rows[chunk].float(), len(rows), precision).view(*val.shape[:2], 4).cpu()
