"""Velocity sets: motions at constant velocity, and their action on frames and on hidden states.

A motion with velocity ν takes what is seen at time t by ψ_t(ν) = exp(t ν). A hidden state of a flow equivariant network
is h(ν, x), one slice for each velocity of a finite set V; a motion with velocity ν̂ acts on it, at time t, as
(ν̂ · h)(ν) = ψ_t(ν̂) h(ν − ν̂) (Keller, "Flow Equivariant Recurrent Neural Networks", arXiv 2507.14793).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.geometry.planar import distinct_turns, roll_plane, rotate_plane

Velocity = tuple[float, ...]


class VelocitySet(ABC):
    """Set of velocities V, and their action on frames and feature maps.

    Attributes:
        velocities: V, in the order of the slices of a hidden state.
        orientations: channels of a hidden state come as (C, orientations), flattened; 1 for plain channels.
        name: for messages.
    """

    velocities: tuple[Velocity, ...]
    orientations: int = 1
    name: str

    @abstractmethod
    def move(self, frames: Tensor, velocity: Velocity, steps: int = 1) -> Tensor:
        """Apply ψ_steps(velocity) to images (..., H, W).

        Args:
            frames: (..., H, W).
            velocity: ν.
            steps: t.
        """

    def move_features(self, features: Tensor, velocity: Velocity, steps: int = 1) -> Tensor:
        """Apply ψ_steps(velocity) to feature maps (..., C · orientations, H, W).

        Args:
            features: (..., C · orientations, H, W).
            velocity: ν.
            steps: t.
        """
        return self.move(features, velocity, steps)

    @abstractmethod
    def difference(self, a: Velocity, b: Velocity, size: tuple[int, int]) -> Velocity:
        """Subtract velocities, a − b, for frames of ``size`` (H, W): equal motions have equal values.

        Args:
            a: velocity.
            b: velocity.
            size: size of frames, (H, W).
        """

    def __len__(self) -> int:
        return len(self.velocities)

    def transport(self, hidden: Tensor, steps: int = 1) -> Tensor:
        """Move each slice of (B, V, C, H, W) along its own velocity.

        Args:
            hidden: (B, V, C, H, W).
            steps: frames to move by.
        """
        self._check_slices(hidden)
        moved = [self.move_features(hidden[:, i], v, steps) for i, v in enumerate(self.velocities)]
        return torch.stack(moved, dim=1)

    def spread(self, features: Tensor, steps: int) -> Tensor:
        """Copy features (B, C, H, W) once per velocity, each moved along it: (B, V, C, H, W).

        Args:
            features: (B, C, H, W).
            steps: frames to move by.
        """
        return torch.stack([self.move_features(features, v, steps) for v in self.velocities], dim=1)

    def spread_frames(self, frames: Tensor, steps: int) -> Tensor:
        """Copy images once per velocity, each moved along it; they have no orientation channels.

        Args:
            frames: (B, C, H, W).
            steps: frames to move by.
        """
        return torch.stack([self.move(frames, v, steps) for v in self.velocities], dim=1)

    def move_video(self, frames: Tensor, velocity: Velocity, first: int = 0) -> Tensor:
        """Move a video: (ψ(velocity) f)_t = ψ_t(velocity) f_t of (B, T, ..., H, W) that starts at time ``first``.

        Args:
            frames: (B, T, ..., H, W).
            velocity: ν.
            first: time of the first frame.
        """
        return torch.stack([self.move(frames[:, t], velocity, first + t) for t in range(frames.shape[1])], dim=1)

    def partners(self, velocity: Velocity, size: tuple[int, int]) -> list[tuple[int, int]]:
        """List (index of ν, index of ν − velocity) for every ν of V whose partner is in V.

        All of V when it is closed under subtraction as motions of frames of ``size``.

        Args:
            velocity: ν̂ that acts.
            size: size of frames, (H, W).
        """
        zero = tuple(0.0 for _ in velocity)
        known = {self.difference(v, zero, size): i for i, v in enumerate(self.velocities)}
        pairs = ((i, known.get(self.difference(v, velocity, size))) for i, v in enumerate(self.velocities))
        return [(i, j) for i, j in pairs if j is not None]

    def closed(self, size: tuple[int, int]) -> bool:
        """Return True if V is a group on frames of ``size``: then what is pooled over V is equivariant too."""
        return all(len(self.partners(v, size)) == len(self) for v in self.velocities)

    def act(self, hidden: Tensor, velocity: Velocity, steps: int) -> tuple[Tensor, list[int]]:
        """Apply a velocity of V to hidden states (B, V, C, H, W) at time ``steps``.

        Args:
            hidden: (B, V, C, H, W).
            velocity: ν̂ that acts.
            steps: time t.

        Returns:
            (B, M, C, H, W), and the M indices of V at which it is defined, see :meth:`partners`.
        """
        self._check_slices(hidden)
        pairs = self.partners(velocity, (hidden.shape[-2], hidden.shape[-1]))
        moved = self.move_features(hidden[:, [j for _, j in pairs]], velocity, steps)
        return moved, [i for i, _ in pairs]

    def _check_slices(self, hidden: Tensor) -> None:
        if hidden.ndim != 5 or hidden.shape[1] != len(self):
            raise ValueError(f"expected states of shape (B, {len(self)}, C, H, W), got {tuple(hidden.shape)}")


class TranslationVelocities(VelocitySet):
    """Translations of whole pixels per frame on the torus: (right, down), both parts in −radius..radius.

    The outer loop of V is the horizontal part, both ascending. Exact. V is a group where frames have sides of
    2 · radius + 1 pixels.

    Args:
        radius: N of V_N; |V| = (2N + 1)². 0 leaves the ordinary recurrent network.
    """

    def __init__(self, radius: int) -> None:
        if radius < 0:
            raise ValueError(f"expected a radius of at least 0, got {radius}")
        self.radius, self.name = radius, "translation"
        span = range(-radius, radius + 1)
        self.velocities = tuple((right, down) for right in span for down in span)

    def move(self, frames: Tensor, velocity: Velocity, steps: int = 1) -> Tensor:
        right, down = velocity
        if right != int(right) or down != int(down):
            raise ValueError(f"expected whole pixels per frame, got {velocity}")
        return roll_plane(frames, int(right) * steps, int(down) * steps)

    def difference(self, a: Velocity, b: Velocity, size: tuple[int, int]) -> Velocity:
        height, width = size
        return (a[0] - b[0]) % width, (a[1] - b[1]) % height


class RotationVelocities(VelocitySet):
    """Rotations in degrees per frame about the centre, counter-clockwise on screen; maps carry orientation channels.

    A rotation by an angle turns the plane and shifts the orientation channels. Multiples of 90° are exact, other angles
    resample the plane once. V holds −radius..radius steps; a step that divides 360 and enough of them make it a group.

    Args:
        step: degrees between neighbouring velocities.
        radius: N of V_N; |V| = 2N + 1, less what is the same motion (−180° and 180°).
        orientations: order of the cyclic group of the features. The velocities must be multiples of its angle.

    Raises:
        ValueError: for velocities that are not among the group's angles.
    """

    def __init__(self, step: float = 10.0, radius: int = 4, orientations: int = 36) -> None:
        if radius < 0 or orientations < 1:
            raise ValueError(f"expected radius >= 0 and orientations >= 1, got {radius} and {orientations}")
        self.step, self.radius, self.orientations, self.name = step, radius, orientations, "rotation"
        self.velocities = tuple((angle,) for angle in distinct_turns(step, radius))
        for velocity in self.velocities:
            self._shift(velocity, 1)

    def move(self, frames: Tensor, velocity: Velocity, steps: int = 1) -> Tensor:
        return rotate_plane(frames, (velocity[0] * steps) % 360)

    def move_features(self, features: Tensor, velocity: Velocity, steps: int = 1) -> Tensor:
        turned = self.move(features, velocity, steps)
        shift = self._shift(velocity, steps) % self.orientations
        if not shift:
            return turned
        return turned.unflatten(-3, (-1, self.orientations)).roll(shift, -3).flatten(-4, -3)

    def difference(self, a: Velocity, b: Velocity, size: tuple[int, int]) -> Velocity:
        return ((a[0] - b[0]) % 360,)

    def _shift(self, velocity: Velocity, steps: int) -> int:
        shift = velocity[0] * steps * self.orientations / 360
        if not math.isclose(shift, round(shift), abs_tol=1e-6):
            angle = 360 / self.orientations
            raise ValueError(
                f"expected multiples of {angle:g}° ({self.orientations} orientations), got {velocity[0]:g}°"
            )
        return round(shift)


class CyclicVelocities(VelocitySet):
    """Steps of a cyclic group that acts on channels alone, such as the yaw of an object seen by a fixed camera.

    How feature maps carry the group is left to what computes them; V is the whole group when radius ≥ orientations / 2.

    Args:
        radius: velocities −radius..radius, in group steps per frame.
        orientations: order of the group.
    """

    def __init__(self, radius: int, orientations: int) -> None:
        if radius < 0 or orientations < 1:
            raise ValueError(f"expected radius >= 0 and orientations >= 1, got {radius} and {orientations}")
        self.radius, self.orientations, self.name = radius, orientations, "cyclic"
        steps = range(-radius, radius + 1)
        found: dict[int, Velocity] = {}
        for k in steps:
            found.setdefault(k % orientations, (k,))
        self.velocities = tuple(found.values())

    def move(self, frames: Tensor, velocity: Velocity, steps: int = 1) -> Tensor:
        """Shift the channels of feature maps (..., C · orientations, H, W), which frames are here.

        Args:
            frames: feature maps.
            velocity: group steps per frame.
            steps: frames to move by.
        """
        shift = (round(velocity[0]) * steps) % self.orientations
        return frames.unflatten(-3, (-1, self.orientations)).roll(shift, -3).flatten(-4, -3) if shift else frames

    def difference(self, a: Velocity, b: Velocity, size: tuple[int, int]) -> Velocity:
        return ((a[0] - b[0]) % self.orientations,)


def velocity_tuples(velocities: Sequence[Sequence[float]]) -> tuple[Velocity, ...]:
    """Convert velocities to hashable tuples."""
    return tuple(tuple(v) for v in velocities)
