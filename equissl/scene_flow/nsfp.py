"""Neural scene flow prior (Li, Pontes and Lucey, NeurIPS 2021): one small network per pair, fitted while you wait."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.sweep import Sweep, flow_from_own_motion, invert_pose, move
from equissl.scene_flow.base import FlowError, FlowEstimate, motion_between

__all__ = ["NeuralPriorFlow", "NeuralPriorOptions", "fit_flow", "truncated_chamfer"]


@dataclass(frozen=True)
class NeuralPriorOptions:
    """Settings; the defaults are the published ones, with the cloud thinned out to ``max_points``.

    Attributes:
        layers, width: of each of the two networks (forward and backward flow).
        lr: learning rate of Adam.
        iterations: at most.
        patience: iterations without a loss better by ``min_delta`` after which fitting stops.
        truncate: metres beyond which two points do not belong together.
        max_points: most points of each cloud that are fitted; the flow of the rest is interpolated.
        reach: metres: half the side of the square that is fitted; points beyond stay with the static world.
        remove_ground: leave the ground out; it then moves with the static world.
        device: device of the fit.
        seed: seed of the networks' weights and the choice of points.
    """

    layers: int = 8
    width: int = 128
    lr: float = 8e-3
    iterations: int = 5000
    patience: int = 100
    min_delta: float = 5e-5
    truncate: float = 2.0
    max_points: int = 8192
    reach: float = 51.2
    remove_ground: bool = True
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("layers", "width", "iterations", "patience", "max_points", "lr", "truncate", "reach")
        wrong = {name: getattr(self, name) for name in counts if not getattr(self, name) > 0}
        if wrong:
            raise FlowError(f"expected settings above 0, got {wrong}")


class NeuralPriorFlow:
    """Label-free flow of a pair: two networks fitted with the truncated Chamfer distance, ego motion taken out first.

    Args:
        options: by keyword, those of :class:`NeuralPriorOptions`.
    """

    name = "nsfp"

    def __init__(self, **options: object) -> None:
        try:
            self.options = NeuralPriorOptions(**options)  # type: ignore[arg-type]
        except TypeError as error:
            expected = ", ".join(NeuralPriorOptions.__dataclass_fields__)
            raise FlowError(f"flow provider 'nsfp': {error}; expected some of {expected}") from error

    def estimate(self, sweep: Sweep, following: Sweep) -> FlowEstimate:
        """Estimate flow by two fitted networks, see :class:`~equissl.scene_flow.base.FlowProvider`.

        Args:
            sweep: with P points.
            following: the next sweep of the drive.
        """
        motion, rng = motion_between(sweep, following, self.name), np.random.default_rng(self.options.seed)
        chosen, target = self._fitted(sweep), following.points[self._fitted(following)].astype(np.float64)
        own = np.zeros((len(sweep), 3))
        if len(chosen) and len(target):
            source, target = sweep.points[chosen].astype(np.float64), move(invert_pose(motion), target)
            kept = _pick(rng, len(source), self.options.max_points)
            goal = target[_pick(rng, len(target), self.options.max_points)]
            flow = fit_flow(torch.from_numpy(source[kept]), torch.from_numpy(goal), self.options)
            own[chosen] = interpolate_flow(source[kept], flow.numpy(), source)
        return FlowEstimate(flow_from_own_motion(sweep.points, own, motion), np.ones(len(sweep), bool))

    def _fitted(self, sweep: Sweep) -> np.ndarray:
        inside = (np.abs(sweep.points[:, :2]) <= self.options.reach).all(axis=1)
        if self.options.remove_ground:
            inside &= ~estimate_ground(sweep.points)
        return np.flatnonzero(inside)


def fit_flow(source: Tensor, target: Tensor, options: NeuralPriorOptions) -> Tensor:
    """Fit the flow from ``source`` to ``target``: (n, 3) float32 on the CPU.

    The forward network moves the source onto the target, the backward one moves it back again; the flow of the lowest
    loss is returned.

    Args:
        source: (n, 3).
        target: (m, 3).
        options: options of the optimisation.
    """
    source, target = (cloud.to(options.device, torch.float32) for cloud in (source, target))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        forward, backward = (_network(options).to(options.device) for _ in range(2))
    optimiser = torch.optim.Adam([*forward.parameters(), *backward.parameters()], lr=options.lr)
    best, best_loss, waited = torch.zeros_like(source), float("inf"), 0
    for _ in range(options.iterations):
        optimiser.zero_grad()
        flow = forward(source)
        moved = source + flow
        returned = moved + backward(moved)
        loss = truncated_chamfer(moved, target, options.truncate) + truncated_chamfer(
            returned, source, options.truncate
        )
        value = float(loss.detach())
        waited = 0 if value < best_loss - options.min_delta else waited + 1
        if value < best_loss:
            best, best_loss = flow.detach().clone(), value
        if waited >= options.patience:
            break
        loss.backward()
        optimiser.step()
    return best.cpu()


def truncated_chamfer(preds: Tensor, target: Tensor, limit: float) -> Tensor:
    """Mean squared distance to the nearest point, both ways; pairs further apart than ``limit`` count as zero.

    Args:
        preds: (n, 3).
        target: (m, 3).
        limit: metres.
    """
    total = preds.new_zeros(())
    for one, other in ((preds, target), (target, preds)):
        squared = (one - other[nearest_index(one, other)]).square().sum(dim=1)
        total = total + torch.where(squared <= limit * limit, squared, 0.0).mean()
    return total


def nearest_index(queries: Tensor, points: Tensor) -> Tensor:
    """Find the index (n,) of the nearest point of each query.

    Args:
        queries: (n, 3).
        points: (m, 3).
    """
    queries, points = queries.detach(), points.detach()
    if queries.device.type == "cpu":  # a tree is some twenty times as fast there
        return torch.from_numpy(cKDTree(points.numpy()).query(queries.numpy())[1])
    return torch.cat([torch.cdist(part, points).argmin(dim=1) for part in queries.split(4096)])


def interpolate_flow(known: np.ndarray, flow: np.ndarray, wanted: np.ndarray, neighbours: int = 3) -> np.ndarray:
    """Interpolate flow by inverse distance.

    Points that are known keep their own flow.

    Args:
        known: (m, 3) points.
        flow: (m, 3) of them.
        wanted: (n, 3) points.
        neighbours: known points used for each.
    """
    distance, index = cKDTree(known).query(wanted, k=min(neighbours, len(known)))
    distance, index = distance.reshape(len(wanted), -1), index.reshape(len(wanted), -1)
    weight = 1 / np.maximum(distance, 1e-8)
    return (flow[index] * (weight / weight.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)


def _network(options: NeuralPriorOptions) -> nn.Sequential:
    widths = [3] + [options.width] * options.layers
    hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*hidden, nn.Linear(options.width, 3))
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return network


def _pick(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    return np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))
