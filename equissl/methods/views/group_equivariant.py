"""Invariant embedding beside one of SO(3) irreps that the known rotation moves without a learned predictor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from equissl.datasets.views.batch import Frame, ViewBatch
from equissl.encoders import Projector, split_sizes
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import action_cross_entropy, copy_covariance_penalty, copy_variance_hinge, invariance
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features, widen
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.embedding import embed_together, plain_objective
from equissl.objectives import ObjectiveConfig
from equissl.predictors import GroupRepresentation

MV_DHEL = ObjectiveConfig("mv_dhel", {"temperature": 0.5})


class GroupEquivariant(ViewMethod):
    """Method with an invariant objective on one embedding, and Wigner-D matrices acting on a second one of irreps.

    The equivariant loss is one of two. ``likelihood``: the rotations of all pairs in the batch are candidates, each
    moves the first view's irreps, and the right one must bring them nearest to the second view's. Irreps that say
    nothing about the pose cost log C for C candidates, so nothing else has to keep them from collapse.
    ``alignment``: moved and second copies, each of unit length, must agree, as EquiCaps' poses must; variance and
    covariance terms that know no axes keep them apart.

    Args:
        encoder: image encoder.
        irreps: copies of each degree in e3nn's notation, such as ``32x1e+32x2e``; all even, as rotations know no
            parity.
        homogeneous: homogeneous vectors after the irreps; with any, the action is a pose in SE(3), for batches with
            translations. See :class:`~equissl.predictors.GroupRepresentation`.
        projector: sizes of the invariant projector's layers.
        irrep_projector: sizes of the hidden layers of the projector to irreps.
        equi_dim: with a number, the representation is split as SIE's: its last ``equi_dim`` dimensions feed the irreps,
            the others the invariant embedding, and ``inv`` and ``equi`` are these parts. None: both projectors read all
            of it, and ``inv`` and ``equi`` are the two embeddings.
        equi_loss: ``likelihood`` or ``alignment``.
        invariant: objective of the invariant embeddings; None is MV-DHEL at temperature 0.5.
        equi: weight of the equivariant loss.
        equi_std, equi_cov: weights of the irreps' variance and covariance terms; used by ``alignment``.
        frame: of the poses where there are homogeneous vectors, see `ViewBatch.relative_rigids`.
        views: views of each object; the equivariant loss takes all pairs of them, the invariant one all at once.

    Raises:
        ValueError: for no irreps, an ``equi_dim`` that leaves one part empty, an unknown loss or frame, or an objective
            that needs a teacher or predictions.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        irreps: str = "32x1e+32x2e",
        homogeneous: int = 0,
        projector: Sequence[int] = (2048, 2048, 2048),
        irrep_projector: Sequence[int] = (1024,),
        equi_dim: int | None = None,
        equi_loss: Literal["likelihood", "alignment"] = "likelihood",
        invariant: ObjectiveConfig | None = None,
        equi: float = 1.0,
        equi_std: float = 2.0,
        equi_cov: float = 0.2,
        frame: Frame = "object",
        views: int = 2,
    ) -> None:
        super().__init__(encoder)
        _check_choice("equi_loss", equi_loss, ("likelihood", "alignment"))
        _check_choice("frame", frame, get_args(Frame))
        whole, self.equi_dim = self.feature_dim, equi_dim
        if equi_dim is not None and not 0 < equi_dim < whole:
            raise ValueError(f"expected equi_dim between 1 and {whole - 1}, or none, got {equi_dim}")
        inv_dim = whole - (equi_dim or 0)
        self.predictor = GroupRepresentation(irreps, homogeneous)
        self.projector_inv = Projector(inv_dim, split_sizes(projector, inv_dim, whole))
        self.invariant = plain_objective(invariant or MV_DHEL, self.projector_inv.out_dim, views)
        self.views = views
        self.projector_equi = Projector(equi_dim or whole, (*irrep_projector, self.predictor.dim))
        self.equi_loss, self.frame = equi_loss, frame
        self.equi, self.equi_std, self.equi_cov = equi, equi_std, equi_cov

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        inv, equi = zip(*map(self.embed, views), strict=True)
        inv_loss, inv_terms = self.invariant(embed_together(inv, batch, self.invariant.needs))
        x, y, g = self._pairs(equi, batch)
        equi_loss, terms = self.equivariant_loss(*gather_together(x, y, g.flatten(1)))
        terms |= {f"inv_{name}": term for name, term in inv_terms.items()}
        gap = self._action_gap(x, y, g) if self.track_action_gap else None
        return StepOutput(widen(inv_loss) + equi_loss, terms, stack_features(views), gap)

    def after_step(self, step: int, last_step: int) -> None:
        self.invariant.after_step()

    def equivariant_loss(self, x: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the weighted loss and its terms from the global batch.

        Args:
            x, y: (B, E) irreps of the first and second view.
            g: (B, n²) actions.
        """
        if self.equi_loss == "likelihood":
            nll = action_cross_entropy(self.scores(x, y, g))
            error = self._misalignment(x.detach(), y.detach(), g)
            return self.equi * nll, detach_terms(action_likelihood=nll, equivariance=error)
        moved, target = self.predictor.normalize(self.predictor(x, g)), self.predictor.normalize(y)
        first, second = self.predictor.copies(moved), self.predictor.copies(target)
        error = invariance(moved, target)
        std = (copy_variance_hinge(first) + copy_variance_hinge(second)) / 2
        cov = copy_covariance_penalty(first) + copy_covariance_penalty(second)
        loss = self.equi * error + self.equi_std * std + self.equi_cov * cov
        return loss, detach_terms(equivariance=error, irrep_variance=std, irrep_covariance=cov)

    def scores(self, x: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """Score (B, C) the C actions ``g`` between irreps (B, E): log likelihood up to a constant for each pair.

        Args:
            x: (B, E) irreps of the first view.
            y: (B, E) irreps of the second view.
            g: the C actions.
        """
        return self.predictor.match(x, y, g) / self.predictor.dim**0.5

    def actions(self, batch: ViewBatch, first: int = 0, second: int = 1) -> Tensor:
        """Return (B, 3, 3) relative rotations, or (B, 4, 4) relative poses where there are homogeneous vectors.

        Args:
            batch: of views.
            first, second: views that the action leads between.

        Raises:
            ValueError: for homogeneous vectors and a batch without translations.
        """
        dtype = next(self.parameters()).dtype
        if self.predictor.action_size == 3:
            return batch.relative_rotations(first, second).to(dtype)
        if batch.translations is None:
            raise ValueError(f"{self.predictor} need translations, which this batch does not have")
        return batch.relative_rigids(first, second, self.frame).to(dtype)

    def embed(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        """Embed a representation (B, D) as its invariant embedding and its irreps."""
        inv, equi = self._parts(representation)
        return self.projector_inv(inv), self.projector_equi(equi)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        representation = self.encoder(self.normalise(images))
        inv, equi = self.embed(representation) if self.equi_dim is None else self._parts(representation)
        return {"all": widen(representation), "inv": widen(inv), "equi": widen(equi)}

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.predictor.normalize(self.embed(parts["all"])[1])

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        return self.predictor.normalize(self.predictor(embedding, self.actions(batch)))

    @torch.no_grad()
    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor]:
        irreps = [self.embed(view)[1] for view in self.view_features(batch)]
        return self._action_gap(*self._pairs(irreps, batch))

    def _parts(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        if self.equi_dim is None:
            return representation, representation
        inv, equi = representation.split([self.feature_dim - self.equi_dim, self.equi_dim], dim=1)
        return inv, equi

    def _pairs(self, irreps: Sequence[Tensor], batch: ViewBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return first and second irreps (P·B, E) of all P pairs of views, and the actions between them."""
        pairs = list(combinations(range(self.views), 2))
        actions = [self.actions(batch, first, second) for first, second in pairs]
        first, second = ([irreps[pair[side]] for pair in pairs] for side in (0, 1))
        return torch.cat(first), torch.cat(second), torch.cat(actions)

    def _misalignment(self, x: Tensor, y: Tensor, g: Tensor) -> Tensor:
        return invariance(self.predictor.normalize(self.predictor(x, g)), self.predictor.normalize(y))

    @torch.no_grad()
    def _action_gap(self, x: Tensor, y: Tensor, g: Tensor) -> dict[str, Tensor]:
        return {
            "equivariance": self._misalignment(x, y, g),
            "equivariance_ignored_action": self._misalignment(x, y, g.roll(1, dims=0)),
        }


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"expected {name} to be one of {list(known)}, got {value!r}")
