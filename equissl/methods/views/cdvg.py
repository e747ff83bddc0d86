"""CDvG: contrast of views whose bias was translated (arXiv 2112.01021).

The paper's: a frozen translation network, trained on the biased set itself, gives two translations of each image to
random classes; a supervised task loss and a contrast whose positives are translations of one image. It needs neither
bias labels nor unbiased images. Reconstructed: the form of the contrast, its weight and how targets are drawn. Ours:
the translator (see :mod:`equissl.methods.views.translator`), that targets are reached by way of another class, that
the two translations are of two views of an object where a batch has them, and that the task loss sees translated views
too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import gather, own_rows, world_size
from equissl.methods.base import StepOutput, gather_together, stack_features, widen
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.embedding import embed_together, plain_objective
from equissl.methods.views.translator import DEFAULT_TRANSLATOR, TranslatorConfig
from equissl.objectives import Objective, ObjectiveConfig

NT_XENT = ObjectiveConfig("nt_xent")


class CDvG(ViewMethod):
    """Every view, translated to a random class with its own label kept, before an invariant objective and a classifier.

    Args:
        encoder: image encoder.
        projector: sizes of the projector's layers.
        objective: objective of the embeddings, ``nt_xent`` (SimCLR) or ``supcon``, or another without a teacher.
        weight: weight of the objective.
        supervised: weight of the cross-entropy of the class; 0 leaves the classifier out.
        translator: networks of the translator, as its run has them.
        translator_run: run folder of the `Translator` whose weights are taken before the first step.

    Raises:
        ValueError: for an objective that needs a teacher or a predictor, or weights that leave nothing to learn.
    """

    objective: Objective

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 2048),
        objective: ObjectiveConfig = NT_XENT,
        weight: float = 1.0,
        supervised: float = 1.0,
        translator: TranslatorConfig = DEFAULT_TRANSLATOR,
        translator_run: str | None = None,
    ) -> None:
        super().__init__(encoder)
        if not weight > 0 or supervised < 0:
            raise ValueError(f"expected weight above 0 and supervised of at least 0, got {weight} and {supervised}")
        self.projector = Projector(self.feature_dim, projector)
        self.objective = plain_objective(objective, self.projector.out_dim)
        self.weight, self.supervised = weight, supervised
        self.translator, self.translator_run = translator.build(), translator_run
        self.num_classes = translator.num_classes
        self.classifier = nn.Linear(self.feature_dim, translator.num_classes) if supervised else None

    @property
    def frozen_parts(self) -> dict[str, str | None]:
        return {"translator": self.translator_run}

    def train(self, mode: bool = True) -> CDvG:
        """Set the mode of everything but the translator, which stays in eval mode."""
        super().train(mode)
        self.translator.eval()
        return self

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        images = [self.normalise(batch.images[:, view]) for view in range(self.views)]
        views = [self.encoder(self.translated(x, batch.labels)) for x in images]
        embedded = embed_together([self.projector(view) for view in views], batch, self.objective.needs)
        loss, terms = self.objective(embedded)
        loss = self.weight * widen(loss)
        if self.classifier is not None:
            error = self.classification(views, batch.labels)
            loss, terms = loss + self.supervised * error, {**terms, "classification": error.detach()}
        return StepOutput(loss, terms, stack_features(views))

    @torch.no_grad()
    def translated(self, images: Tensor, labels: Tensor) -> Tensor:
        """Translate each image to another class, and from there to any class, its own included, each drawn uniformly.

        A view that stayed as it is would be told by the lack of translation's traces, and its hue would be its class's.

        Args:
            images: (B, 3, S, S), normalised.
            labels: (B,) classes.
        """
        classes, rows = self.translator.num_classes, (len(labels) * world_size(),)
        steps, targets = (own_rows(torch.randint(high, rows)).to(labels.device) for high in (classes - 1, classes))
        between = (labels + 1 + steps) % classes
        return self.translator.translate(self.translator.translate(images, labels, between), between, targets)

    def classification(self, views: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Compute the cross-entropy of the class, averaged over the views of the global batch.

        Args:
            views: (B, D) representations of each view.
            labels: (B,) classes.
        """
        assert self.classifier is not None
        logits = gather_together(*(self.classifier(view) for view in views))
        known = gather(labels)
        return torch.stack([F.cross_entropy(each, known) for each in logits]).mean()

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])

    def class_logits(self, parts: dict[str, Tensor]) -> Tensor | None:
        return None if self.classifier is None else self.classifier(parts["all"])
