"""Measured flow equivariance of video models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoders.recurrent.cell import RecurrentCell
from equissl.encoders.recurrent.classifier import VideoClassifier
from equissl.encoders.recurrent.predictor import VideoPredictor
from equissl.encoders.recurrent.velocities import Velocity, VelocitySet, velocity_tuples

OutputKind = Literal["states", "frames", "invariant"]
Model = Callable[[Tensor], Tensor]


def equivariance_error(
    model: Model,
    frames: Tensor,
    velocity: Sequence[float],
    velocity_set: VelocitySet | None = None,
    output: OutputKind | None = None,
    first: int | None = None,
) -> float:
    """Compute the largest absolute difference between the outputs of moved frames and the moved outputs.

    Args:
        model: from frames (B, T, C, H, W) to its outputs. Of a :class:`RecurrentCell` the hidden states after each
            frame are compared at matched velocities, of a :class:`VideoPredictor` a roll-out as long as the input, of a
            :class:`VideoClassifier` the logits; any other callable needs the next two arguments. Put modules into
            evaluation mode first.
        frames: (B, T, C, H, W) of an unmoved video.
        velocity: ν̂; the moved video has frame t moved by ψ_t(ν̂).
        velocity_set: V and how it acts; that of the model where None.
        output: ``states`` (B, T, V, C, H, W) after each frame, ``frames`` (B, K, C, H, W), or ``invariant``.
        first: time of the first output; the default is 0 for states, and the time after the last frame for frames.

    Raises:
        ValueError: no velocity of V has a partner under ``velocity``, so that there is nothing to compare.
        TypeError: for a callable without ``velocity_set`` and ``output``.
    """
    run, velocity_set, output = _describe(model, frames, velocity_set, output)
    moving = tuple(velocity)
    with torch.no_grad():
        plain, moved = run(frames), run(velocity_set.move_video(frames, moving))
        if output == "invariant":
            return float((moved - plain).abs().max())
        start = (frames.shape[1] if output == "frames" else 0) if first is None else first
        if output == "frames":
            return float((moved - velocity_set.move_video(plain, moving, start)).abs().max())
        errors = [_matched(velocity_set, plain[:, t], moved[:, t], moving, start + t) for t in range(plain.shape[1])]
    return max(errors)


def assert_flow_equivariant(
    model: Model,
    frames: Tensor,
    velocities: Sequence[Sequence[float]] | None = None,
    tolerance: float = 1e-6,
    velocity_set: VelocitySet | None = None,
    output: OutputKind | None = None,
    first: int | None = None,
) -> None:
    """Raise AssertionError, naming velocity and error, unless :func:`equivariance_error` is at most ``tolerance``.

    Args:
        model, frames, velocity_set, output, first: see :func:`equivariance_error`.
        velocities: to try; all of V where None.
        tolerance: largest absolute difference allowed.
    """
    tried = (
        velocity_tuples(velocities)
        if velocities is not None
        else _describe(model, frames, velocity_set, output)[1].velocities
    )
    for velocity in tried:
        error = equivariance_error(model, frames, velocity, velocity_set, output, first)
        if not error <= tolerance:
            name = type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", repr(model))
            raise AssertionError(
                f"{name} is not equivariant to the velocity {velocity}: "
                f"expected an error of at most {tolerance:g}, got {error:.3g}"
            )


def _describe(
    model: Model, frames: Tensor, velocity_set: VelocitySet | None, output: OutputKind | None
) -> tuple[Model, VelocitySet, OutputKind]:
    if isinstance(model, RecurrentCell):
        return model.states, velocity_set or model.velocity_set, output or "states"
    if isinstance(model, VideoPredictor):
        return (lambda x: model(x, horizon=frames.shape[1])), velocity_set or model.velocity_set, output or "frames"
    if isinstance(model, VideoClassifier):
        return model, velocity_set or model.cell.velocity_set, output or "invariant"
    if velocity_set is None or output is None:
        raise TypeError(f"expected velocity_set and output for a model of type {type(model).__name__}, got None")
    return model, velocity_set, output


def _matched(velocity_set: VelocitySet, plain: Tensor, moved: Tensor, velocity: Velocity, time: int) -> float:
    expected, slices = velocity_set.act(plain, velocity, time)
    if not slices:
        raise ValueError(f"no velocity of V has a partner under {velocity}: nothing to compare")
    return float((moved[:, slices] - expected).abs().max())
