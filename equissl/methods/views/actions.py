"""Actions: the change from one view to another as input of a predictor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import BLUR, CROP, JITTER, POSITION
from equissl.geometry import QuaternionSign, wigner_d

# Each part's value when nothing changes.
_IDENTITY: dict[str, tuple[float, ...]] = {
    "quaternion": (0.0, 0.0, 0.0, 1.0),
    "rotmat": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    "turn": (1.0, 0.0),
    "wigner2": tuple(torch.eye(5).flatten().tolist()),
    "translation": (0.0, 0.0, 0.0),
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
_NO_VARIANCE = 1e-6  # of the largest; float32 actions are exact to 1e-7, their variances to 1e-14
_IDENTITY |= {part: (0.0,) * len(names) for part, names in _DIFFERENCES.items()}
_AUGMENTATIONS = ("crop", "jitter", "blur")


class Action(nn.Module):
    """Numbers that describe an action, for a predictor.

    Args:
        kind: parts joined by ``+``: ``quaternion`` (4 numbers, as published), ``rotmat`` (9, in which a linear
            hypernetwork can hold an exact vector representation of SO(3)), ``turn`` (2, cosine and sine of a turn about
            z), ``wigner2`` (25, the Wigner-D matrix of degree 2), ``translation`` (3, in the first view's frame;
            ``rotmat+translation`` is the whole pose), and differences of latents: ``hue`` (2, of floor and light;
            ``quaternion+hue`` is the published rotation-and-colour action), ``scene`` (4, hues and place of the light;
            ``quaternion+scene`` is all that 3DIEBench varies), of augmentations ``crop`` (4), ``jitter`` (4) and
            ``blur`` (1), and ``position`` (2, of fixations).
        sign: which of the two quaternions of a rotation, see :func:`equissl.geometry.relative_unitquat`.
        over_views: divide each parameter of augmentations by its norm over the views of the batch's sequence, as
            seq-JEPA's published models were trained. An action then tells of all views, and depends on their number.
        whiten: shift to mean 0 and scale to covariance 1 over the training pairs, so that no constant combination of
            the numbers explains anything (see :func:`equissl.metrics.shortcut_share`). Pretraining calls `fit`.

    Raises:
        ValueError: for an unknown part.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(
        self,
        kind: str = "quaternion",
        sign: QuaternionSign = "canonical",
        over_views: bool = False,
        whiten: bool = False,
    ) -> None:
        super().__init__()
        self.parts, self.sign, self.over_views, self.whiten = kind.split("+"), sign, over_views, whiten
        if unknown := [part for part in self.parts if part not in _IDENTITY]:
            raise ValueError(f"expected action to join some of {list(_IDENTITY)} by '+', got {kind!r} ({unknown[0]!r})")
        if whiten:
            self.register_buffer("mean", torch.zeros(self.dim))
            self.register_buffer("whitening", torch.eye(self.dim))

    @property
    def identity(self) -> tuple[float, ...]:
        """Action of no change, before it is whitened."""
        return sum((_IDENTITY[part] for part in self.parts), ())

    @property
    def dim(self) -> int:
        """Number of numbers, A."""
        return len(self.identity)

    @property
    def raw(self) -> Action:
        """The same action, not whitened."""
        return Action("+".join(self.parts), self.sign, self.over_views)

    @property
    def latents(self) -> tuple[str, ...]:
        """Names of the latents whose differences it holds."""
        return sum((_DIFFERENCES.get(part, ()) for part in self.parts), ())

    def start(self, part: str) -> int:
        """Return the column at which the numbers of a part begin."""
        return sum(len(_IDENTITY[other]) for other in self.parts[: self.parts.index(part)])

    def forward(self, batch: ViewBatch, first: int = 0, second: int = 1) -> Tensor:
        """Compute the (B, A) actions from view ``first`` to view ``second``, in float64 or as the batch has them.

        Args:
            batch: views.
            first, second: positions of the views.
        """
        return self.whitened(torch.cat([self._part(part, batch, first, second) for part in self.parts], dim=1))

    @torch.no_grad()
    def fit(self, actions: Tensor) -> None:
        """Set mean and whitening to those of actions that are not whitened; directions without variance give 0.

        Args:
            actions: (N, A), of training pairs.

        Raises:
            ValueError: where nothing varies.
        """
        exact = actions.double()
        scale, axes = torch.linalg.eigh(torch.cov(exact.T, correction=0).reshape(self.dim, self.dim))
        if scale[-1] < _NO_VARIANCE**2:
            raise ValueError(f"expected actions that vary, to whiten them, got {len(actions)} equal ones")
        root = torch.where(scale > _NO_VARIANCE * scale[-1], scale.clamp(min=1e-30).rsqrt(), 0.0)
        self.mean.copy_(exact.mean(dim=0))
        self.whitening.copy_(axes @ root.diag() @ axes.T)

    def whitened(self, actions: Tensor) -> Tensor:
        """Whiten actions (…, A); return them as they are where ``whiten`` is False."""
        if not self.whiten:
            return actions
        return (actions - self.mean.to(actions)) @ self.whitening.to(actions)

    def _part(self, part: str, batch: ViewBatch, first: int, second: int) -> Tensor:
        if part in _DIFFERENCES:
            latents = self._latents(part, batch)
            return latents[:, second] - latents[:, first]
        if part == "quaternion":
            return batch.relative_quats(first, second, sign=self.sign)
        if part == "translation":
            return batch.relative_rigids(first, second)[:, :3, 3]
        turned = batch.relative_rotations(first, second)
        if part == "turn":
            return turned[:, :2, 0]
        return (turned if part == "rotmat" else wigner_d(turned, 2)).flatten(1)

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
