"""How far an estimated flow is from the flow that a sweep is labelled with."""

from __future__ import annotations

import torch

from equissl.datasets.drives.sweep import Sweep, rigid_flow
from equissl.metrics.scene_flow import (
    DYNAMIC,
    bucketed_epe,
    end_point_error,
    flow_accuracy,
    near_square,
    own_speed,
    threeway_epe,
)
from equissl.scene_flow.base import FlowError, FlowEstimate, motion_between


def score_flow(found: FlowEstimate, labelled: Sweep, following: Sweep) -> dict[str, float]:
    """All scene flow metrics of one pair, over the points whose label is valid.

    What a provider marks as invalid is scored as well, with the flow it gives there: leaving out difficult points must
    not pay.

    Args:
        found: an estimate for the points of ``labelled``.
        labelled: sweep with true flow, ``flow_classes`` (0: background) and pose.
        following: the next sweep; its pose tells what is static.

    Returns:
        ``epe``, ``dynamic`` (of all dynamic points), the parts of ``threeway_epe``, ``accuracy_strict``,
        ``accuracy_relaxed``, and ``bucketed/{group}/{static,dynamic}`` over the square of ±35 m; with
        ``points`` and ``dynamic_points``, the numbers of points behind them.

    Raises:
        FlowError: when ``labelled`` lacks flow or classes, or an estimate is for other points.
    """
    if labelled.flow is None or labelled.flow_classes is None:
        raise FlowError(f"expected flow and flow_classes in frame {labelled.frame or labelled.timestamp} to score by")
    if found.flow.shape != labelled.flow.shape:
        raise FlowError(f"expected an estimate of shape {labelled.flow.shape}, got {found.flow.shape}")
    sweep = labelled if labelled.flow_valid is None else labelled.select(labelled.flow_valid)
    flow = found.flow if labelled.flow_valid is None else found.flow[labelled.flow_valid]
    static = torch.from_numpy(rigid_flow(sweep.points, motion_between(labelled, following, "score")))
    preds, target, classes = (torch.from_numpy(a) for a in (flow, sweep.flow, sweep.flow_classes))
    speed = own_speed(target, static)
    parts = threeway_epe(preds, target, speed, classes > 0)
    error, dynamic = end_point_error(preds, target), speed >= DYNAMIC
    near = near_square(torch.from_numpy(sweep.points))
    buckets = bucketed_epe(preds[near], target[near], speed[near], classes[near])
    return {
        "epe": float(error.mean()),
        "dynamic": float(error[dynamic].mean()),
        **parts,
        "accuracy_strict": flow_accuracy(preds, target, 0.05),
        "accuracy_relaxed": flow_accuracy(preds, target, 0.1),
        **{f"bucketed/{n}/{p}": getattr(s, p) for n, s in buckets.items() for p in ("static", "dynamic")},
        "points": float(len(error)),
        "dynamic_points": float(dynamic.sum()),
    }
