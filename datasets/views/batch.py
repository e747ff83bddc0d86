"""Batch type of views."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from equissl.datasets.views.schema import ROTATION, LatentSchema
from equissl.geometry import (
    QuaternionSign,
    euler_to_unitquat,
    relative_rigid,
    relative_rotation,
    relative_unitquat,
    rigid,
    rotmat_to_unitquat,
)

Frame = Literal["object", "base"]


@dataclass(frozen=True)
class ViewBatch:
    """V views of each of B objects. Every image method takes this type and nothing else.

    Attributes:
        images: (B, V, 3, H, W), uint8 in 0..255, or float already normalised.
        rotations: (B, V, 3, 3) active rotation of the object in each view.
        latents: (B, V, L) generative factors, columns named by ``schema``.
        labels: (B,) class index.
        schema: names, units and ranges of the latent columns.
        translations: (B, V, 3) in the object frame, or None.
        objects: (B,) index of each object in its store.
        views: (B, V) index of each view among its object's.
        small_crops: (B, C, 3, h, w) small crops of each object beside its views (multi-crop), or None.
        group_ids: (B,) group of each object, see `equissl.datasets.groups`, or None.
    """

    images: Tensor
    rotations: Tensor
    latents: Tensor
    labels: Tensor
    schema: LatentSchema
    translations: Tensor | None = None
    objects: Tensor | None = None
    views: Tensor | None = None
    small_crops: Tensor | None = None
    group_ids: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 5 or self.images.shape[2] != 3:
            raise ValueError(f"expected images of shape (B, V, 3, H, W), got {tuple(self.images.shape)}")
        views = tuple(self.images.shape[:2])
        expected = {"rotations": (*views, 3, 3), "latents": (*views, len(self.schema))}
        if self.translations is not None:
            expected["translations"] = (*views, 3)
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"expected {name} of shape {shape}, got {tuple(getattr(self, name).shape)}")
        if tuple(self.labels.shape) != (self.images.shape[0],):
            raise ValueError(f"expected labels of shape ({self.images.shape[0]},), got {tuple(self.labels.shape)}")

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def num_views(self) -> int:
        return self.images.shape[1]

    def _map(self, fn: Any) -> ViewBatch:
        tensors = {f.name: fn(v) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **tensors)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ViewBatch:
        """Return the same batch on ``device``.

        Args:
            device: to move to.
            non_blocking: do not wait for the copy.
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ViewBatch:
        # images that were rendered on the GPU stay there
        return self._map(lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor)

    def relative_rotations(self, first: int = 0, second: int = 1) -> Tensor:
        """Compute the actions R12 = R1ᵀ R2 (B, 3, 3) from view ``first`` to view ``second``.

        Args:
            first: position of the first view.
            second: position of the second view.
        """
        return relative_rotation(self.rotations[:, first], self.rotations[:, second])

    def relative_rigids(self, first: int = 0, second: int = 1, frame: Frame = "object") -> Tensor:
        """(B, 4, 4) action M12 = M1⁻¹ M2 = [R12 u; 0 1] that takes the pose M1 of view ``first`` to that of ``second``.

        Args:
            first, second: view indices.
            frame: the views' poses. ``object``: M_i = T(t_i)·R_i with the stored translation t_i, so u = R1ᵀ(t2 − t1);
                ``base``: M_i = R_i·T(t_i), the transform that the object was rendered with, so u = R12 t2 − t1.
                Both as EquiCaps (arXiv 2506.09895) trains on 3DIEBench-T.

        Raises:
            ValueError: for a batch without translations, or another frame.
        """
        poses = (rigid(self.rotations[:, view], self._positions(view, frame)) for view in (first, second))
        return relative_rigid(*poses)

    def relative_quats(self, first: int = 0, second: int = 1, sign: QuaternionSign = "canonical") -> Tensor:
        """Compute (B, 4) relative rotation as a unit quaternion (x, y, z, w).

        Args:
            first, second: view indices.
            sign: ``canonical`` (w ≥ 0), or ``legacy`` (Hamilton product of the views' own quaternions, as the published
                3DIEBench models were trained on; may have w < 0), see :func:`equissl.geometry.relative_unitquat`.
        """
        return relative_unitquat(self._quats(first), self._quats(second), sign=sign)

    def _positions(self, view: int, frame: Frame) -> Tensor:
        """(B, 3) translation of a view's 4 × 4 pose: t, or where the object's centre is in the world, R t."""
        if frame not in get_args(Frame):
            raise ValueError(f"expected frame to be one of {list(get_args(Frame))}, got {frame!r}")
        if self.translations is None:
            raise ValueError(
                "expected a batch with translations, as 3DIEBench-T has them, got one without: "
                f"its latents are {list(self.schema.names)}"
            )
        translation = self.translations[:, view]
        if frame == "object":
            return translation
        return (self.rotations[:, view] * translation.unsqueeze(1)).sum(dim=-1)

    def _quats(self, view: int) -> Tensor:
        if set(ROTATION) <= set(self.schema.names):  # Euler latents fix the sign; a matrix alone cannot
            return euler_to_unitquat(self.latents[:, view, self.schema.columns(*ROTATION)])
        return rotmat_to_unitquat(self.rotations[:, view])
