"""Heads of all protocols and parts, trained together on frozen features.

Heads share nothing but the views they are shown, so their summed loss gives each one the gradient it would have alone:
training together changes the time, not the result. Views are drawn and features gathered once for all heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig
from equissl.evaluation.views.features import BLOCK_OBJECTS, FeatureSet
from equissl.evaluation.views.sampling import object_batches, random_pairs, random_views
from equissl.evaluation.views.tasks import ProbeSetting, Task, make_task
from equissl.util.progress import staged

PREDICT_ROWS = 4096
Rows = tuple[Tensor, ...]  # object positions, view indices, and second view indices of pairs


@dataclass
class Probe:
    """One head in training.

    Attributes:
        task: its protocol.
        part: the features it reads.
        head: its layers.
        known: (N, V, …) what its targets are made of, on the head's device.
        steps: its updates.
        loss: that of its last batch.
    """

    task: Task
    part: str
    head: nn.Module
    known: Tensor
    steps: int
    loss: Tensor | None = None


class FeatureRows:
    """Rows of a part on the probes' device, standardised when read if asked for.

    Args:
        values: (N, V, D), in memory or memory-mapped.
        scaling: mean and scale, (D,) each.
        device: where rows are wanted; the whole part moves there if it takes less than half of the free memory.
    """

    def __init__(self, values: Tensor, scaling: tuple[Tensor, Tensor] | None, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.values = values.to(self.device) if _fits(values, self.device) else values
        self.scaling = None if scaling is None else tuple(x.to(self.device) for x in scaling)

    @property
    def dim(self) -> int:
        return self.values.shape[-1]

    def __call__(self, rows: Rows) -> Tensor:
        """Return (n, D) float32 for views, (n, 2·D) for pairs."""
        item, *views = (index.to(self.values.device) for index in rows)
        return torch.cat([self._view(item, view) for view in views], 1)

    def _view(self, item: Tensor, view: Tensor) -> Tensor:
        x = self.values[item, view].to(self.device)
        if self.scaling is not None:
            x = (x.double() - self.scaling[0]) / self.scaling[1]
        return x.float()


def _fits(values: Tensor, device: torch.device) -> bool:
    return device.type != "cuda" or values.nbytes < torch.cuda.mem_get_info(device)[0] // 2


def moments(values: Tensor, correction: int = 0) -> tuple[Tensor, Tensor]:
    """Compute mean and deviation (D,) of every dimension of (N, V, D), in float64, two passes, in blocks of objects.

    Args:
        values: (N, V, D).
        correction: subtracted from the number of rows under the variance (Bessel's is 1).
    """
    rows = values.shape[0] * values.shape[1]
    blocks = values.split(BLOCK_OBJECTS)
    mean = torch.stack([block.double().sum((0, 1)) for block in blocks]).sum(0) / rows
    squares = torch.stack([(block.double() - mean).square().sum((0, 1)) for block in blocks]).sum(0)
    return mean, (squares / max(1, rows - correction)).sqrt()


def standardization(train: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and scale (D,) that give every dimension of ``train`` (N, V, D) zero mean and unit deviation.

    A dimension whose deviation is below a thousandth of the average one is scaled by that floor: what it holds is
    rounding noise, which a division by its own deviation would raise to the level of the signal.
    """
    mean, std = moments(train)
    return mean, std.clamp_min(max(1e-3 * float(std.mean()), 1e-12))


def standardize(train: Tensor, val: Tensor) -> tuple[Tensor, Tensor]:
    """Scale both (N, V, D) by :func:`standardization` of ``train``, in memory and at once.

    Args:
        train: features that give mean and scale.
        val: features that are scaled alike.
    """
    mean, scale = standardization(train)
    return ((train - mean) / scale).float(), ((val - mean) / scale).float()


def mlp(in_dim: int, hidden: Sequence[int], out_dim: int, seed: int) -> nn.Sequential:
    """Create linear layers with ReLU between them, initialised from ``seed`` without touching the global generator.

    Args:
        in_dim: size of the input.
        hidden: sizes of the hidden layers; empty for a linear probe.
        out_dim: size of the output.
        seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(in_dim, width), nn.ReLU()]
            in_dim = width
        return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))


def train_probes(
    tasks: Sequence[Task],
    parts: dict[str, FeatureRows],
    train: FeatureSet,
    seed: int = 0,
    precision: str = "32",
) -> list[Probe]:
    """Train a head for every task and part, with Adam at constant rates.

    Args:
        tasks: protocols.
        parts: features of the training views by part.
        train: what is known of these views.
        seed: of the heads and of the views drawn; tasks of one kind and batch size see the same views.
        precision: ``bf16`` autocasts the heads' layers.

    Returns:
        The probes in eval mode, tasks in order, parts within each task.

    Raises:
        ValueError: for a budget below one update.
        FloatingPointError: naming the probes whose loss is not finite at the end.
    """
    probes = [_probe(task, part, rows, train, seed) for task in tasks for part, rows in parts.items()]
    if not probes:
        return []
    groups = [{"params": list(probe.head.parameters()), "lr": probe.task.budget.lr} for probe in probes]
    optimizer = torch.optim.Adam(groups, fused=True)
    streams: dict[tuple[bool, int], Iterator[Rows]] = {}
    for step in staged(range(max(probe.steps for probe in probes)), f"training {_named(probes)}", "steps"):
        active = [probe for probe in probes if step < probe.steps]
        drawn: dict[tuple[bool, int], Rows] = {}
        for key in dict.fromkeys((probe.task.pair, probe.task.budget.batch_size) for probe in active):
            if key not in streams:
                streams[key] = draw_rows(train, *key, seed)
            drawn[key] = next(streams[key])
        _update(active, drawn, parts, optimizer, precision)
    lost = [probe for probe in probes if probe.loss is not None and not torch.isfinite(probe.loss)]
    if lost:
        named = ", ".join(f"{probe.task.name} on {probe.part}" for probe in lost)
        rates = sorted({probe.task.budget.lr for probe in lost})
        raise FloatingPointError(f"expected a finite probe loss, got none for {named} (learning rate {rates})")
    for probe in probes:
        probe.head.eval()
    return probes


def _named(probes: Sequence[Probe]) -> str:
    """Name one kind of heads, count several."""
    return f"{len(probes)} heads" if len(probes) > 1 else f"a head of {probes[0].task.name}"


def _probe(task: Task, part: str, rows: FeatureRows, train: FeatureSet, seed: int) -> Probe:
    head = mlp(rows.dim * (1 + task.pair), task.hidden, task.out_dim, seed).to(rows.device)
    return Probe(task, part, head, task.view_targets(train).to(rows.device), task.steps(len(train.objects)))


def draw_rows(views: FeatureSet, pair: bool, batch_size: int, seed: int) -> Iterator[Rows]:
    """Draw endless batches of views, or of ordered pairs of distinct views, one of every object per epoch.

    Args:
        views: features to draw from.
        pair: True for pairs.
        batch_size: objects in a batch.
        seed: of order and views.
    """
    generator = torch.Generator().manual_seed(seed)
    for item in object_batches(len(views.objects), batch_size, None, generator):
        yield draw_views(views, item, pair, generator)


def draw_views(views: FeatureSet, item: Tensor, pair: bool, generator: torch.Generator) -> Rows:
    """Draw a random view, or ordered pair of distinct views, of each of these objects.

    Args:
        views: features to draw from.
        item: (B,) positions of the objects.
        pair: True for pairs.
        generator: of the draws.
    """
    if pair:
        return item, *random_pairs(views.num_views, len(item), generator)
    return item, random_views(views.num_views, len(item), generator)


def _update(
    probes: list[Probe],
    drawn: dict[tuple[bool, int], Rows],
    parts: dict[str, FeatureRows],
    optimizer: torch.optim.Optimizer,
    precision: str,
) -> None:
    inputs: dict[tuple[tuple[bool, int], str], Tensor] = {}
    losses = []
    for probe in probes:
        key = (probe.task.pair, probe.task.budget.batch_size)
        rows, place = drawn[key], (key, probe.part)
        if place not in inputs:
            inputs[place] = parts[probe.part](rows)
        target = probe.task.targets(probe.known, *(index.to(probe.known.device) for index in rows))
        target = target.float() if target.is_floating_point() else target
        losses.append(probe.task.loss(forward(probe.head, inputs[place], precision), target))
        probe.loss = losses[-1].detach()
    optimizer.zero_grad(set_to_none=True)  # a head that has had its updates gets no gradient and stays as it is
    torch.stack(losses).sum().backward()
    optimizer.step()


def forward(head: nn.Module, inputs: Tensor, precision: str = "32") -> Tensor:
    """Compute the head's float32 outputs.

    Args:
        head: the probe.
        inputs: its inputs.
        precision: ``32``, or ``bf16`` for autocast.
    """
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        return head(inputs).float()


@torch.inference_mode()
def predict(
    probes: Sequence[Probe], parts: dict[str, FeatureRows], pairs: np.ndarray, precision: str = "32"
) -> dict[tuple[str, str], Tensor]:
    """Compute the outputs of every probe on validation views.

    Args:
        probes: trained heads.
        parts: features of the validation views by part.
        pairs: (P, 3) rows (object, first view, second view) for the two-view protocols; the others see every view.

    Returns:
        By task and part, (P, out) of the pairs or (N·V, out) of all views, on the CPU.
    """
    outputs: dict[tuple[str, str], list[Tensor]] = {(probe.task.name, probe.part): [] for probe in probes}
    for part, pair in dict.fromkeys((probe.part, probe.task.pair) for probe in probes):
        chosen = [probe for probe in probes if (probe.part, probe.task.pair) == (part, pair)]
        rows = pair_rows(pairs) if pair else all_rows(*parts[part].values.shape[:2])
        for start in range(0, len(rows[0]), PREDICT_ROWS):
            inputs = parts[part](tuple(index[start : start + PREDICT_ROWS] for index in rows))
            for probe in chosen:
                outputs[probe.task.name, part].append(forward(probe.head, inputs, precision).cpu())
    return {key: torch.cat(chunks) for key, chunks in outputs.items()}


def pair_rows(pairs: np.ndarray) -> Rows:
    """Return the columns of (P, 3) pairs."""
    return torch.as_tensor(pairs).unbind(1)


def all_rows(objects: int, views: int) -> Rows:
    """Return every view of every object.

    Args:
        objects: number of objects.
        views: number of views of each.
    """
    item, view = torch.meshgrid(torch.arange(objects), torch.arange(views), indexing="ij")
    return item.flatten(), view.flatten()


def linear_probe(
    train: Tensor, labels: Tensor, val: Tensor, num_classes: int, config: LinearProbeConfig, seed: int = 0
) -> Tensor:
    """Compute logits of every validation view by a linear classifier of training views: protocol ``classification``.

    Args:
        train, val: (N, V, D) and (M, V, D) features.
        labels: (N,) classes of the training objects.
        num_classes: size of the output layer.

    Returns:
        (M, V, num_classes) on the CPU.
    """
    no_pose = torch.empty(*train.shape[:2], 4, dtype=torch.float64)
    known = FeatureSet({"all": train}, np.arange(len(train)), labels, no_pose)
    settings = EvaluateConfig(classification=config)
    task = make_task("classification", ProbeSetting(num_classes, "canonical", settings))
    probes = train_probes([task], {"all": FeatureRows(train, None, train.device)}, known, seed)
    found = predict(probes, {"all": FeatureRows(val, None, train.device)}, np.empty((0, 3), np.int64))
    return found["classification", "all"].view(*val.shape[:2], -1)
