"""Actions: the change from one view to another as input of a predictor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import BLUR, CROP, JITTER, POSITION
from equissl.geometry import QuaternionSign

# Each part's value when nothing changes.
_IDENTITY: dict[str, tuple[float, ...]] = {
    "quaternion": (0.0, 0.0, 0.0, 1.0),
    "rotmat": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
}
# Parts that are plain differences of latents, by the latents' names.
_DIFFERENCES: dict[str, tuple[str, ...]] = {
    "hue": ("floor_hue", "light_hue"),
    "scene": ("floor_hue", "light_theta", "light_phi", "light_hue"),
    "crop": CROP,
    "jitter": JITTER,
    "blur": BLUR,
    "position": POSITION,
}
_IDENTITY |= {part: (0.0,) * len(names) for part, names in _DIFFERENCES.items()}
_AUGMENTATIONS = ("crop", "jitter", "blur")


class Action:
    """Numbers that describe an action, for a predictor.

    Args:
        kind: parts joined by ``+``: ``quaternion`` (4 numbers, as published), ``rotmat`` (9, in which a linear
            hypernetwork can hold an exact vector representation of SO(3)), and differences of latents: ``hue`` (2, of
            floor and light; ``quaternion+hue`` is the published rotation-and-colour action), ``scene`` (4, hues and
            place of the light; ``quaternion+scene`` is all that 3DIEBench varies), of augmentations ``crop`` (4),
            ``jitter`` (4) and ``blur`` (1), and ``position`` (2, of fixations).
        sign: which of the two quaternions of a rotation, see :func:`equissl.geometry.relative_unitquat`.
        over_views: divide each parameter of augmentations by its norm over the views of the batch's sequence, as
            seq-JEPA's published models were trained. An action then tells of all views, and depends on their number.

    Raises:
        ValueError: for an unknown part.
    """

    def __init__(self, kind: str = "quaternion", sign: QuaternionSign = "canonical", over_views: bool = False) -> None:
        self.parts, self.sign, self.over_views = kind.split("+"), sign, over_views
        if unknown := [part for part in self.parts if part not in _IDENTITY]:
            raise ValueError(f"expected action to join some of {list(_IDENTITY)} by '+', got {kind!r} ({unknown[0]!r})")

    @property
    def identity(self) -> tuple[float, ...]:
        """Action of no change."""
        return sum((_IDENTITY[part] for part in self.parts), ())

    @property
    def dim(self) -> int:
        return len(self.identity)

    @property
    def latents(self) -> tuple[str, ...]:
        """Names of the latents whose differences it holds."""
        return sum((_DIFFERENCES.get(part, ()) for part in self.parts), ())

    def start(self, part: str) -> int:
        """Return the column at which the numbers of a part begin."""
        return sum(len(_IDENTITY[other]) for other in self.parts[: self.parts.index(part)])

    def __call__(self, batch: ViewBatch, first: int = 0, second: int = 1) -> Tensor:
        """(B, dim) actions from view ``first`` to view ``second``, in float64 or as the batch has them."""
        return torch.cat([self._part(part, batch, first, second) for part in self.parts], dim=1)

    def _part(self, part: str, batch: ViewBatch, first: int, second: int) -> Tensor:
        if part == "quaternion":
            return batch.relative_quats(first, second, sign=self.sign)
        if part == "rotmat":
            return batch.relative_rotations(first, second).flatten(1)
        latents = self._latents(part, batch)
        return latents[:, second] - latents[:, first]

    def states(self, batch: ViewBatch) -> Tensor:
        """(B, V, dim) latents of each view, which the actions are the differences of.

        Raises:
            ValueError: for an action that is no difference of latents.
        """
        if odd := [part for part in self.parts if part not in _DIFFERENCES]:
            raise ValueError(f"expected an action of differences of latents, {list(_DIFFERENCES)}, got {odd[0]!r}")
        return torch.cat([self._latents(part, batch) for part in self.parts], dim=2)

    def _latents(self, part: str, batch: ViewBatch) -> Tensor:
        """(B, V, L) latents of a part."""
        latents = batch.latents[:, :, batch.schema.columns(*_DIFFERENCES[part])]
        if self.over_views and part in _AUGMENTATIONS:
            return F.normalize(latents, dim=1)
        return latents
