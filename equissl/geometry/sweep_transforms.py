"""Global transforms of sweeps with their labels: mirror, then rotate about z, then scale, then shift.

``p' = s Rz(θ) F p + b``. The mirror comes first, so that the angle stays the true one of a plausible scene: mirroring
afterwards would turn it into -θ. A flow or a velocity takes the linear part ``A = s Rz(θ) F`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from equissl.geometry.rigid import transform_points

# A label at the edge of a bin must not depend on whether its angle was rounded to float32.
_EDGE = 1e-6


@dataclass(frozen=True)
class TransformRanges:
    """Ranges of random transforms. The defaults are those reported for E-SSL3D (Hegde et al., ECCV 2024).

    Attributes:
        rotation: lowest and highest angle about z, radians.
        scale: lowest and highest factor.
        translation: lowest and highest shift along each of x, y, z, metres.
        flip: probability of the mirror y -> -y.
        flip_x: probability of the mirror x -> -x.
        rotation_bins: classes of the angle.
        sampling: ``continuous`` draws the angle, ``discrete`` draws its class and takes the middle of it.
    """

    rotation: tuple[float, float] = (-math.pi / 2, math.pi / 2)
    scale: tuple[float, float] = (0.95, 1.05)
    translation: tuple[float, float] = (0.0, 0.2)
    flip: float = 0.5
    flip_x: float = 0.0
    rotation_bins: int = 10
    sampling: Literal["continuous", "discrete"] = "continuous"

    def __post_init__(self) -> None:
        for name in ("rotation", "scale", "translation"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(f"expected {name} as (lowest, highest), got {list(getattr(self, name))}")
        if not self.scale[0] > 0:
            raise ValueError(f"expected a scale above 0, got {list(self.scale)}")
        if not (0 <= self.flip <= 1 and 0 <= self.flip_x <= 1):
            raise ValueError(f"expected flip and flip_x in 0..1, got {self.flip} and {self.flip_x}")
        if self.rotation_bins < 1 or self.sampling not in ("continuous", "discrete"):
            got = f"rotation_bins={self.rotation_bins}, sampling={self.sampling!r}"
            raise ValueError(f"expected rotation_bins of at least 1 and sampling continuous or discrete, got {got}")


@dataclass(frozen=True)
class SweepTransform:
    """A transform of each of B sweeps; of one sweep without the batch dimension, see ``item``.

    Attributes:
        matrix: (B, 4, 4) float32 on column vectors.
        angle: (B,) radians about z.
        scale: (B,) factor.
        shift: (B, 3) metres.
        flip: (B,) int64: 0 none, 1 mirrored in y, 2 in x, 3 in both.
    """

    matrix: Tensor
    angle: Tensor
    scale: Tensor
    shift: Tensor
    flip: Tensor

    def __len__(self) -> int:
        return len(self.matrix)

    def item(self, index: int) -> SweepTransform:
        """Return the transform of one sweep: matrix (4, 4), angle (), scale (), shift (3,), flip ()."""
        return SweepTransform(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def to(self, device: torch.device | str) -> SweepTransform:
        return SweepTransform(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def apply(self, clouds: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """B clouds (N_b, 3 or more), each by its own transform; further columns stay.

        Raises:
            ValueError: for another number of clouds.
        """
        if len(clouds) != len(self):
            raise ValueError(f"expected {len(self)} clouds, as there are transforms, got {len(clouds)}")
        return tuple(transform_cloud(cloud, matrix) for cloud, matrix in zip(clouds, self.matrix, strict=True))


def sweep_transform(angle: Tensor, scale: Tensor, shift: Tensor, flip: Tensor) -> SweepTransform:
    """Build the transform of given parts.

    Args:
        angle, scale: (B,).
        shift: (B, 3).
        flip: (B,) int64, see :class:`SweepTransform`.
    """
    wide = angle.double()
    cos, sin = wide.cos() * scale, wide.sin() * scale
    across, along = 1 - 2 * (flip & 1), 1 - 2 * ((flip >> 1) & 1)  # signs of y and of x
    matrix = torch.zeros(*angle.shape, 4, 4, dtype=torch.float64, device=angle.device)
    matrix[..., 0, 0], matrix[..., 0, 1] = cos * along, -sin * across
    matrix[..., 1, 0], matrix[..., 1, 1] = sin * along, cos * across
    matrix[..., 2, 2], matrix[..., 3, 3] = scale.double(), 1
    matrix[..., :3, 3] = shift.double()
    return SweepTransform(matrix.float(), angle.float(), scale.float(), shift.float(), flip)


def draw_transforms(ranges: TransformRanges, seeds: Tensor, view: int) -> SweepTransform:
    """Transforms of one view of each sweep: a function of (seed, view) alone, whatever else is in the batch.

    Args:
        ranges: what to draw from. Each part has a random number of its own: narrowing one range leaves the others.
        seeds: (B,) int64, at least 0.
        view: number of the view, at least 0.

    Returns:
        B transforms, on the device of ``seeds``.
    """
    draws = np.array([_generator(seed, view).random(7) for seed in seeds.tolist()]).reshape(-1, 7)
    u = torch.from_numpy(draws)
    turn = u[:, 0]
    if ranges.sampling == "discrete":
        turn = ((turn * ranges.rotation_bins).floor() + 0.5) / ranges.rotation_bins
    flip = (u[:, 5] < ranges.flip).long() + 2 * (u[:, 6] < ranges.flip_x).long()
    shift = _between(u[:, 2:5], ranges.translation)
    transform = sweep_transform(_between(turn, ranges.rotation), _between(u[:, 1], ranges.scale), shift, flip)
    return transform.to(seeds.device)


def _generator(seed: int, view: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, view]))


def _between(uniform: Tensor, ends: tuple[float, float]) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * uniform


def transform_cloud(cloud: Tensor, matrix: Tensor) -> Tensor:
    """Move points by a matrix; columns after the third stay.

    Args:
        cloud: (N, 3 or more).
        matrix: (4, 4).
    """
    return torch.cat([transform_points(matrix, cloud[:, :3]), cloud[:, 3:]], dim=1)


def transform_vectors(vectors: Tensor, matrix: Tensor) -> Tensor:
    """Transform scene flow or velocities by the linear part of a matrix.

    Args:
        vectors: (N, 3).
        matrix: (4, 4).
    """
    return vectors @ matrix[:3, :3].T


def transform_velocities(velocities: Tensor, matrix: Tensor) -> Tensor:
    """Transform velocities along x and y by the linear part of a matrix; NaN stays NaN.

    Args:
        velocities: (M, 2).
        matrix: (4, 4) that keeps z apart.
    """
    return velocities @ matrix[:2, :2].T


def transform_flow_pair(points: Tensor, flow: Tensor, previous: Tensor, current: Tensor) -> Tensor:
    """Compute the flow between two sweeps of which each is transformed: ``T_current(p + d) - T_previous(p)``.

    With one matrix T for both it is the linear part of T on ``flow``.

    Args:
        points: (N, 3 or more) of the earlier sweep, not transformed.
        flow: (N, 3).
        previous, current: (4, 4) transforms of the earlier and of the later sweep.

    Returns:
        (N, 3) flow of the transformed points.
    """
    start = points[:, :3]
    return transform_points(current, start + flow) - transform_points(previous, start)


def transform_boxes(boxes: Tensor, transform: SweepTransform) -> Tensor:
    """Transform boxes (M, 7), see :mod:`equissl.datasets.drives.sweep`, as their sweep is.

    Args:
        boxes: (M, 7) centre, size, heading.
        transform: transform of one sweep, see ``SweepTransform.item``.

    Returns:
        (M, 7), headings in -π..π.
    """
    matrix = transform.matrix.to(boxes)
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    ahead = transform_vectors(torch.stack([cos, sin, torch.zeros_like(cos)], dim=1), matrix)
    heading = torch.atan2(ahead[:, 1], ahead[:, 0])
    size = boxes[:, 3:6] * transform.scale.to(boxes)
    return torch.cat([transform_points(matrix, boxes[:, :3]), size, heading[:, None]], dim=1)


def rotation_class(angle: Tensor, bins: int = 10, low: float = -math.pi / 2, high: float = math.pi / 2) -> Tensor:
    """Classify angles into equal bins over low..high; int64 of the same shape.

    Args:
        angle: radians.
        bins: number of classes.
        low: start of the first bin, radians.
        high: end of the last bin, radians.
    """
    return _bin(angle, bins, low, high)


def scale_class(scale: Tensor, bins: int = 5, low: float = 0.95, high: float = 1.05) -> Tensor:
    """Classify scales into equal bins over low..high.

    Args:
        scale: of any shape.
        bins: number of classes.
        low: start of the first bin.
        high: end of the last bin.
    """
    return _bin(scale, bins, low, high)


def translation_class(shift: Tensor, bins: int = 5, low: float = 0.0, high: float = 0.2) -> Tensor:
    """Classify each coordinate of shifts into equal bins over low..high.

    Args:
        shift: (..., 3) metres.
        bins: number of classes.
        low: start of the first bin, metres.
        high: end of the last bin, metres.
    """
    return _bin(shift, bins, low, high)


def flip_class(flip: Tensor, both_axes: bool = False) -> Tensor:
    """Classify mirrors: 0 or 1 by y alone, or 0..3 by y and x.

    Args:
        flip: (...) int64; bit 0 mirrors y, bit 1 mirrors x.
        both_axes: x counts too.
    """
    return flip if both_axes else flip & 1


def _bin(value: Tensor, bins: int, low: float, high: float) -> Tensor:
    if bins < 1 or not low < high:
        raise ValueError(f"expected at least one bin over low < high, got {bins} over {low}..{high}")
    place = (value.double() - low) * (bins / (high - low))
    return (place + _EDGE).floor().long().clamp(0, bins - 1)
