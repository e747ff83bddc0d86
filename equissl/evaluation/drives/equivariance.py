"""Equivariance of a sweep's features under shifts, rotations and scene flow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.evaluation.drives.config import DriveEvaluateConfig
from equissl.evaluation.drives.encoding import SweepEncoder, rotate_cloud
from equissl.metrics.equivariance import RelativeDistance, carry_features, shift_error
from equissl.sparse import SparseTensor

STILL = 0.05  # share of points that change their cell, below which flow is no different from no motion
STANDING = "The car stood: flow takes hardly a point to another cell, so that errors of flow show nothing"
TOTAL_STRIDE = 8  # voxels along x and y in one ground cell of a voxel backbone
Errors = dict[str, RelativeDistance]


def equivariance_scores(
    encoder: SweepEncoder, batches: Iterable[ScenePair], config: DriveEvaluateConfig
) -> dict[str, float | None]:
    """Compute equivariance errors of an encoder's bird's-eye features, on the scale of `equissl.metrics.equivariance`.

    A feature moves with the points of its cell: a cell of the changed sweep should hold the mean of what the points in
    it had before. Cells that no point came to do not count.

    * ``rotation`` and ``rotation_ANGLE``: the cloud is turned about z. Features are compared as they are, so an encoder
      that writes its orientation into every cell has an error: this is equivariance of the map, in the sense in which a
      picture turns.
    * ``translation``: the cloud is shifted by one cell (8 voxels) along x and y.
    * ``translation_sites``: the voxels are shifted so, their contents left alone: the largest difference of any feature
      (not relative; 0 where the convolutions are exact).
    * ``flow``: features of a sweep against those of the sweep before, carried along scene flow.
      ``flow_no_motion``: carried nowhere, as if nothing and nobody had moved. ``flow_moving``: cells that things moving
      over ground came to, compared with all cells of the sweep.

    Args:
        encoder: the frozen encoder.
        batches: pairs of sweeps; those with scene flow count for ``flow`` too.
        config: angles of the turns, and slowest motion.

    Returns:
        errors by name; None where there was nothing to measure, or features are all equal. ``flow_cells_changed``:
        share of points that flow takes to another cell.
    """
    errors: Errors = defaultdict(RelativeDistance)
    changed = _Changed()
    sites = 0.0
    for batch in batches:
        before, after = encoder.bev(batch.previous), encoder.bev(batch.current)
        for degrees in config.angles:
            turned = [rotate_cloud(cloud, math.radians(degrees)) for cloud in batch.current]
            _compare(
                errors,
                ("rotation", f"rotation_{degrees:g}"),
                encoder,
                after,
                encoder.bev(turned),
                batch.current,
                turned,
            )
        shifted = [_shift(encoder, cloud) for cloud in batch.current]
        _compare(errors, ("translation",), encoder, after, encoder.bev(shifted), batch.current, shifted)
        sites = max(sites, _translation_of_sites(encoder, batch.current[0]))
        if batch.flow is not None and batch.flow_valid is not None:
            _compare_flow(errors, encoder, before, after, batch, config, changed)
    names = ("rotation", *(f"rotation_{a:g}" for a in config.angles), "translation", "flow", "flow_no_motion")
    found = {name: _finite(errors[name].compute()) for name in (*names, "flow_moving")}
    return {**found, "translation_sites": _finite(sites), "flow_cells_changed": changed.share()}


def stands(results: Mapping[str, Any]) -> bool:
    """Return True if the results are of a car that stood: flow was measured, and takes points nowhere."""
    share = results.get("flow_cells_changed")
    return share is not None and share < STILL


@dataclass
class _Changed:
    """Points whose cell flow changes, among those that have a cell before and after."""

    points: int = 0
    changed: int = 0

    def update(self, target: Tensor, still: Tensor) -> None:
        known = (target >= 0) & (still >= 0)
        self.points += int(known.sum())
        self.changed += int((known & (target != still)).sum())

    def share(self) -> float | None:
        return self.changed / self.points if self.points else None


def _compare(
    errors: Errors,
    names: Sequence[str],
    encoder: SweepEncoder,
    before: SparseTensor,
    after: SparseTensor,
    was: Sequence[Tensor],
    now: Sequence[Tensor],
) -> None:
    """Add the sweeps whose point i is at ``was[i]`` before and at ``now[i]`` after."""
    for index, (start, end) in enumerate(zip(was, now, strict=True)):
        source, target = encoder.rows(before, start, index), encoder.rows(after, end, index)
        rows, carried = carry_features(before.features, source, target)
        for name in names:
            errors[name].update(after.features[rows], carried)


def _compare_flow(
    errors: Errors,
    encoder: SweepEncoder,
    before: SparseTensor,
    after: SparseTensor,
    batch: ScenePair,
    config: DriveEvaluateConfig,
    changed: _Changed,
) -> None:
    moves = moving_points(batch, config.slowest)
    for index, points in enumerate(batch.previous):
        valid = batch.flow_valid[index]  # type: ignore[index]
        start = points[valid, :3]
        end = start + batch.flow[index][valid]  # type: ignore[index]
        source = encoder.rows(before, start, index)
        target, still = encoder.rows(after, end, index), encoder.rows(after, start, index)
        changed.update(target, still)
        rows, carried = carry_features(before.features, source, target)
        errors["flow"].update(after.features[rows], carried)
        same, unmoved = carry_features(before.features, source, still)
        errors["flow_no_motion"].update(after.features[same], unmoved)
        if moves is not None:
            reached = target[moves[index][valid].to(target.device)]
            errors["flow_moving"].update(after.features[rows], carried, torch.isin(rows, reached[reached >= 0]))


def moving_points(batch: ScenePair, slowest: float) -> list[Tensor] | None:
    """Mark the points (P,) bool of each earlier sweep that move over ground; None without flow or poses.

    Args:
        batch: pairs of sweeps.
        slowest: smallest motion between the sweeps that counts, in metres.
    """
    if batch.flow is None or batch.motion is None:
        return None
    return [own.norm(dim=1) >= slowest for own in own_motions(batch)]


def own_motions(batch: ScenePair) -> list[Tensor]:
    """Compute the motion (P, 3) over ground of each earlier sweep's points, in its axes: flow without the car's own."""
    if batch.flow is None or batch.motion is None:
        raise ValueError("expected flow and poses, got a pair without them")
    moved = []
    for points, flow, motion in zip(batch.previous, batch.flow, batch.motion.double(), strict=True):
        start = points[:, :3].double()
        moved.append(((start + flow.double() - motion[:3, 3]) @ motion[:3, :3] - start).float())
    return moved


def _shift(encoder: SweepEncoder, cloud: Tensor) -> Tensor:
    """Shift a cloud by one cell along x and y."""
    size = encoder.encoder.grid.voxel_size
    step = cloud.new_tensor([TOTAL_STRIDE * size[0], TOTAL_STRIDE * size[1], *[0.0] * (cloud.shape[1] - 2)])
    return cloud + step


def _translation_of_sites(encoder: SweepEncoder, cloud: Tensor) -> float:
    still, moved, _ = encoder.shifted_voxels(cloud, TOTAL_STRIDE)
    step = torch.tensor([0, 0, 1, 1])
    return shift_error(still.features, moved.features, still.indices, moved.indices, step)


def _finite(value: float) -> Any:
    return value if math.isfinite(value) else None
