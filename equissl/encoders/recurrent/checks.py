"""How far a sequence model is from flow equivariance, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoders.recurrent.cell import FlowCell
from equissl.encoders.recurrent.classifier import FlowClassifier
from equissl.encoders.recurrent.predictor import FlowPredictor
from equissl.encoders.recurrent.velocities import Flow, Velocity, velocity_set

OutputKind = Literal["states", "frames", "invariant"]
Model = Callable[[Tensor], Tensor]


def equivariance_error(
    model: Model,
    frames: Tensor,
    velocity: Sequence[float],
    flow: Flow | None = None,
    output: OutputKind | None = None,
    first: int | None = None,
) -> float:
    """Largest absolute difference between the outputs of moved frames and the moved outputs.

    Args:
        model: from frames (B, T, C, H, W) to its outputs. Of a :class:`FlowCell` the hidden states after each frame are
            compared at matched velocities, of a :class:`FlowPredictor` a roll-out as long as the input, of a
            :class:`FlowClassifier` the logits; any other callable needs the next two arguments. Put modules into
            evaluation mode first.
        frames: (B, T, C, H, W) of an unmoved sequence.
        velocity: ν̂ of the flow; the moved sequence has frame t moved by ψ_t(ν̂).
        flow: how it acts; that of the model where None.
        output: ``states`` (B, T, V, C, H, W) after each frame, ``frames`` (B, K, C, H, W), or ``invariant``.
        first: time of the first output; the default is 0 for states, and the time after the last frame for frames.

    Raises:
        ValueError: no velocity of V has a partner under ``velocity``, so that there is nothing to compare.
        TypeError: for a callable without ``flow`` and ``output``.
    """
    run, flow, output = _describe(model, frames, flow, output)
    moving = tuple(velocity)
    with torch.no_grad():
        plain, moved = run(frames), run(flow.move_sequence(frames, moving))
        if output == "invariant":
            return float((moved - plain).abs().max())
        start = (frames.shape[1] if output == "frames" else 0) if first is None else first
        if output == "frames":
            return float((moved - flow.move_sequence(plain, moving, start)).abs().max())
        errors = [_matched(flow, plain[:, t], moved[:, t], moving, start + t) for t in range(plain.shape[1])]
    return max(errors)


def assert_flow_equivariant(
    model: Model,
    frames: Tensor,
    velocities: Sequence[Sequence[float]] | None = None,
    tolerance: float = 1e-6,
    flow: Flow | None = None,
    output: OutputKind | None = None,
    first: int | None = None,
) -> None:
    """Raises AssertionError, naming velocity and error, unless :func:`equivariance_error` is at most ``tolerance``.

    Args:
        model, frames, flow, output, first: see :func:`equivariance_error`.
        velocities: flows to try; all of V where None.
        tolerance: largest absolute difference allowed.
    """
    tried = velocity_set(velocities) if velocities is not None else _describe(model, frames, flow, output)[1].velocities
    for velocity in tried:
        error = equivariance_error(model, frames, velocity, flow, output, first)
        if not error <= tolerance:
            name = type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", repr(model))
            raise AssertionError(
                f"{name} is not equivariant to the flow of velocity {velocity}: "
                f"expected an error of at most {tolerance:g}, got {error:.3g}"
            )


def _describe(
    model: Model, frames: Tensor, flow: Flow | None, output: OutputKind | None
) -> tuple[Model, Flow, OutputKind]:
    if isinstance(model, FlowCell):
        return model.states, flow or model.flow, output or "states"
    if isinstance(model, FlowPredictor):
        return (lambda x: model(x, horizon=frames.shape[1])), flow or model.flow, output or "frames"
    if isinstance(model, FlowClassifier):
        return model, flow or model.cell.flow, output or "invariant"
    if flow is None or output is None:
        raise TypeError(f"expected flow and output for a model of type {type(model).__name__}, got None")
    return model, flow, output


def _matched(flow: Flow, plain: Tensor, moved: Tensor, velocity: Velocity, time: int) -> float:
    expected, slices = flow.act(plain, velocity, time)
    if not slices:
        raise ValueError(f"no velocity of V has a partner under {velocity}: nothing to compare")
    return float((moved[:, slices] - expected).abs().max())
