"""seq-JEPA: an encoder and a world model that predicts the next view (Ghaemi et al. 2025, arXiv 2505.03176)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.aggregator import AGGREGATORS
from equissl.encoders.config import EncoderConfig
from equissl.geometry import QuaternionSign
from equissl.methods.base import Phase, StepOutput, detach_terms, gather_together, stack_features, widen
from equissl.methods.learned_views import VIEWS, LearnedViews
from equissl.methods.views.actions import Action
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.seq_jepa_parts import (
    Padding,
    cosine_distance,
    merge_views,
    prediction_head,
    statistics_kept,
)
from equissl.methods.views.teacher import Teacher
from equissl.predictors import ActionProjector
from equissl.util.registry import accepted

RESNET18 = EncoderConfig("torchvision/resnet18")
Condition = Literal["both", "aggregator", "predictor"]
Told = Literal["changes", "states"]
Target = Literal["teacher", "online"]


class SeqJEPA(ViewMethod):
    """M observed views and the actions between them predict view M + 1, as a slow copy of the encoder sees it.

    A view's token is its representation beside the embedded action to the next view; the last observed view has zeros
    there. A transformer (or a flow equivariant cell) turns the tokens into the aggregate. The predictor takes the
    aggregate and the embedded action from the last observed view to the wanted one. The representation of single views
    becomes equivariant, the aggregate invariant, without a loss for either.

    Args:
        encoder: image encoder.
        views: M + 1 views of each object in a batch, at least 2; the last one is the target.
        action: what is told about the change from each view to the next, see
            :class:`equissl.methods.views.actions.Action`; None conditions on nothing.
        sign: which of the two quaternions of a rotation. The published models took ``legacy``.
        over_views: divide parameters of augmentations by their norm over the views first, as published models were
            trained; see :class:`~equissl.methods.views.actions.Action`.
        told: ``changes``: the action from each view to the next, and zeros for the last observed one; ``states``: the
            latents of each view and of the wanted one, which the published code gives where actions of augmentations
            have no projector.
        condition: who is told: ``both``, or only the ``aggregator`` or the ``predictor`` (the paper's ablations).
        action_dim: size of embedded actions; 0 leaves out their projector.
        aggregator: ``transformer``, or ``recurrent``: a flow equivariant recurrent cell that follows yaw velocities and
            minds the order of the views (Keller 2025, arXiv 2507.14793); or an import path.
        layers, heads, dropout: of the transformer.
        hidden: width of the predictor; 0 makes it one linear layer, with batch norm of its output.
        target: whether the last view is encoded by a momentum ``teacher`` or, without gradient, by the encoder itself
            (``online``).
        momentum: momentum of the teacher at the first and at the last step; half a cosine in between.
        contrast: weight of the contrast of two crops of the observed sequence, and of learned views of both, by their
            aggregates: the meta-optimised contrast of MCLRec (Qin et al. 2023, arXiv 2306.03448; see `LearnedViews`).
            Each batch then has a second update, of the augmenters alone. To put it here is ours; 0 leaves it out.
        augmenter: widths within an augmenter.

    Raises:
        ValueError: for fewer than two views, an unknown choice, or conditioning that no one would see.
    """

    def __init__(
        self,
        encoder: EncoderConfig = RESNET18,
        views: int = 4,
        action: str | None = "quaternion",
        sign: QuaternionSign = "canonical",
        over_views: bool = False,
        told: Told = "changes",
        condition: Condition = "both",
        action_dim: int = 128,
        aggregator: str = "transformer",
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.1,
        hidden: int = 1024,
        target: Target = "teacher",
        momentum: tuple[float, float] = (0.996, 1.0),
        contrast: float = 0.0,
        augmenter: Sequence[int] = (32, 16),
    ) -> None:
        super().__init__(encoder)
        if views < 2:
            raise ValueError(f"expected at least 2 views, one to observe and one to predict, got {views}")
        for name, value, known in (
            ("condition", condition, Condition), ("told", told, Told), ("target", target, Target)
        ):  # fmt: skip
            if value not in get_args(known):
                raise ValueError(f"expected {name} to be one of {list(get_args(known))}, got {value!r}")
        if action is not None and condition == "aggregator" and views == 2:
            raise ValueError("the aggregator sees actions between observed views: with views=2 there is none")
        self.views, self.told = views, told
        self.action = None if action is None else Action(action, sign, over_views)
        size = 0
        if self.action is not None:
            size = action_dim or _padded(self.action.dim, self.feature_dim, heads)
            make_embedding = ActionProjector if action_dim else Padding
            self.action_projector = make_embedding(self.action.dim, size)
        self.token_size = 0 if condition == "predictor" else size
        self.told_size = 0 if condition == "aggregator" else size
        make = AGGREGATORS[aggregator]
        accepts = accepted(make, {"layers": layers, "heads": heads, "dropout": dropout})
        self.aggregator = make(self.feature_dim + self.token_size, **accepts)
        self.aggregate_dim: int = self.aggregator.dim
        self.predictor = prediction_head(self.aggregate_dim + self.told_size, hidden, self.feature_dim)
        self.teacher = Teacher(momentum, encoder=self.encoder) if target == "teacher" else None
        self.contrast = contrast
        if contrast:
            learning = tuple(name for name, _ in self.named_children())
            self.learned_views = LearnedViews(self.aggregate_dim, augmenter)
            self.phases = (Phase("step", learning), Phase("augment", ("learned_views",)))

    def step(self, batch: ViewBatch) -> StepOutput:
        seen, target = self._encode(batch)
        moves = self.embed_actions(self.actions(batch))
        aggregate = self.aggregate(seen, moves)
        predicted = self.predict(aggregate, moves)
        loss = cosine_distance(*gather_together(predicted, target))
        terms = {"prediction": loss}
        if self.contrast:
            contrast, found = self.learned_views(self.cropped_aggregates(seen, moves))
            loss, terms = loss + self.contrast * contrast, terms | found
        features = widen(torch.cat([seen.detach(), target.unsqueeze(1)], dim=1))
        gap = self._action_gap(seen, aggregate, predicted, moves, target) if self.track_action_gap else None
        return StepOutput(loss, detach_terms(**terms), features, gap)

    def augment(self, batch: ViewBatch) -> StepOutput:
        """Compute the loss of the augmenters, on aggregates that they do not change."""
        with torch.no_grad(), statistics_kept(self):
            moves = self.embed_actions(self.actions(batch))
            aggregates = self.cropped_aggregates(self._observed(batch), moves)
        loss, _ = self.learned_views(aggregates)
        return StepOutput(loss, detach_terms(augmenters=loss), stack_features(aggregates))

    def after_step(self, step: int, last_step: int) -> None:
        if self.teacher is not None:
            self.teacher.update(step, last_step, encoder=self.encoder)

    def actions(self, batch: ViewBatch) -> Tensor | None:
        """Compute what is told: (B, V − 1, A) actions from each view to the next, or (B, V, A) states of the views.

        None without conditioning.
        """
        if self.action is None:
            return None
        dtype = next(self.parameters()).dtype
        if self.told == "states":
            return self.action.states(batch).to(dtype)
        found = [self.action(batch, view, view + 1) for view in range(batch.num_views - 1)]
        shape = len(batch), 0, self.action.dim
        return (torch.stack(found, dim=1) if found else batch.latents.new_zeros(shape)).to(dtype)

    def action_to(self, batch: ViewBatch, first: int, second: int) -> Tensor | None:
        """Compute (B, 1, A) what the predictor is told of a wanted view; None without conditioning.

        Args:
            batch: of the views.
            first: last observed view.
            second: wanted view.
        """
        if self.action is None:
            return None
        found = self.action.states(batch)[:, second] if self.told == "states" else self.action(batch, first, second)
        return found.unsqueeze(1).to(next(self.parameters()).dtype)

    def embed_actions(self, actions: Tensor | None) -> Tensor | None:
        """Embed actions (B, K, A) for predictor and aggregator: (B, K, ``action_dim``).

        Each action enters the batch norm once, and nothing else does.
        """
        return None if actions is None else self.action_projector(actions.flatten(0, 1)).unflatten(0, actions.shape[:2])

    def aggregate(self, seen: Tensor, moves: Tensor | None = None) -> Tensor:
        """Aggregate M views.

        Args:
            seen: (B, M, D) representations of the observed views.
            moves: (B, at least M − 1, ``action_dim``) embedded actions between them; a further one, from the last
                observed view on, is not looked at. Of states one for each view.

        Returns:
            (B, ``aggregate_dim``).
        """
        if not self.token_size:
            return self.aggregator(seen)
        needed = seen.shape[1] - (self.told == "changes")
        if moves is None or moves.shape[1] < needed:
            raise ValueError(f"expected {needed} embedded actions for {seen.shape[1]} views, got {_count(moves)}")
        told = moves[:, :needed]
        if self.told == "changes":
            told = torch.cat([told, moves.new_zeros(len(seen), 1, self.token_size)], dim=1)
        return self.aggregator(torch.cat([seen, told.to(seen.dtype)], dim=2))

    def cropped_aggregates(self, seen: Tensor, moves: Tensor | None = None) -> list[Tensor]:
        """Aggregate (B, ``aggregate_dim``) two random crops of the observed sequence, half of its views each.

        Args:
            seen: (B, M, D) representations of the observed views.
            moves: embedded actions, as `aggregate` takes them.
        """
        size = (seen.shape[1] + 1) // 2
        starts = torch.randint(seen.shape[1] - size + 1, (VIEWS,)).tolist()
        return [self.aggregate(seen[:, k : k + size], None if moves is None else moves[:, k:]) for k in starts]

    def predict(self, aggregate: Tensor, moves: Tensor | None = None) -> Tensor:
        """Predict the representation (B, D) of the view that the last of ``moves`` leads to.

        Args:
            aggregate: (B, ``aggregate_dim``).
            moves: actions, or None without.
        """
        if not self.told_size:
            return self.predictor(aggregate)
        if moves is None:
            raise ValueError("expected the embedded action to the wanted view, got None")
        return self.predictor(torch.cat([aggregate, moves[:, -1].to(aggregate.dtype)], dim=1))

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return parts["all"]

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        moves = self.embed_actions(self.actions(batch))
        return self.predict(self.aggregate(embedding.unsqueeze(1), moves), moves)

    @torch.no_grad()
    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor] | None:
        seen, target = self._encode(batch)
        moves = self.embed_actions(self.actions(batch))
        aggregate = self.aggregate(seen, moves)
        return self._action_gap(seen, aggregate, self.predict(aggregate, moves), moves, target)

    def _encode(self, batch: ViewBatch) -> tuple[Tensor, Tensor]:
        """Representations of the observed views (B, M, D), all in one pass, and of the last view (B, D), the target."""
        seen = self._observed(batch)
        with torch.no_grad():
            last = self.normalise(batch.images[:, -1])
            target = (self.encoder if self.teacher is None else self.teacher["encoder"])(last)
        return seen, target

    def _observed(self, batch: ViewBatch) -> Tensor:
        self.check_views(batch)
        observed = batch.images[:, :-1]
        return self.encoder(self.normalise(merge_views(observed))).unflatten(0, observed.shape[:2])

    @torch.no_grad()
    def _action_gap(
        self, seen: Tensor, aggregate: Tensor, predicted: Tensor, moves: Tensor | None, target: Tensor
    ) -> dict[str, Tensor] | None:
        """Loss with the actions as they are, and with the neighbour's action to the wanted view (or all of them)."""
        if moves is None:
            return None
        with statistics_kept(self):
            wrong = moves.roll(1, dims=0)
            misled = self.predict(aggregate if self.told_size else self.aggregate(seen, wrong), wrong)
        return {
            "equivariance": cosine_distance(predicted, target),
            "equivariance_ignored_action": cosine_distance(misled, target),
        }


def _count(moves: Tensor | None) -> str:
    return "none" if moves is None else str(moves.shape[1])


def _padded(dim: int, features: int, heads: int) -> int:
    """Return the size of an action behind which zeros make the token's size a multiple of the heads."""
    return dim + -(features + dim) % heads
