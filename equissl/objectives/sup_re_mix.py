"""SupReMix as an objective of embeddings, for the poses or the colours of rendered views."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from equissl.losses.label_mixtures import Mixing
from equissl.losses.label_spaces import ANGLES, ROTATIONS
from equissl.losses.sup_re_mix import Magnify, sup_re_mix_anchors
from equissl.objectives.base import Embedded, Need, Objective


class SupReMix(Objective):
    """Contrast of views by pose or colour: equal ones attract, of any object; others repel the more they differ.

    Rendered labels never repeat, so agreement has a tolerance. Mixed positives of rotations are pairs of views on a
    geodesic that passes the anchor's pose within the tolerance.

    Args:
        dim: width of the embeddings (unused: there are no parameters).
        target: "rotation", or "colour" for all hues of the view together.
        temperature: divides the cosine similarities.
        tolerance: degrees within which labels are the same.
        window: degrees from the anchor within which the two views of a mixed positive lie.
        mixed_negatives: hard negatives of each anchor.
        mixed_positives: most mixed positives of each anchor.
        candidates: pairs drawn for each anchor to find them.
        alpha: Beta distribution of the anchor's share in its hard negatives.
        magnify: weight of a negative: "l1", "l2" or "none", of the distance in radians.
    """

    fewest_views: int = 1

    def __init__(
        self,
        dim: int,
        target: Literal["rotation", "colour"] = "rotation",
        temperature: float = 0.1,
        tolerance: float = 10.0,
        window: float = 60.0,
        mixed_negatives: int = 8,
        mixed_positives: int = 8,
        candidates: int = 256,
        alpha: tuple[int, int] = (2, 8),
        magnify: Magnify = "l1",
    ) -> None:
        super().__init__()
        if target not in ("rotation", "colour"):
            raise ValueError(f"expected target 'rotation' or 'colour', got {target!r}")
        self.target = target
        need: Need = "rotations" if target == "rotation" else "hues"
        self.needs = frozenset({need})
        self.temperature, self.tolerance, self.magnify = temperature, math.radians(tolerance), magnify
        self.mixing = Mixing(mixed_negatives, mixed_positives, alpha, math.radians(window), candidates)

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        labels, space = (batch.rotations, ROTATIONS) if self.target == "rotation" else (batch.hues, ANGLES)
        if labels is None:
            raise ValueError(f"SupReMix of the {self.target} needs {next(iter(self.needs))}, got None")
        losses, positives = sup_re_mix_anchors(
            batch.z, labels, space, self.temperature, self.mixing, self.tolerance, self.magnify, self.generator()
        )
        loss = losses.mean()
        # Anchors without a positive teach nothing: a low share asks for a larger tolerance or batch.
        return loss, {"sup_re_mix": loss.detach(), "anchors_with_positives": (positives > 0).to(loss.dtype).mean()}

    def extra_repr(self) -> str:
        return f"target={self.target}, temperature={self.temperature}, magnify={self.magnify}, {self.mixing}"
