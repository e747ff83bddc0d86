"""OBoW: the bag of visual words that a teacher finds in an image, predicted from crops of it.

Gidaris et al., "OBoW: Online Bag-of-Visual-Words Generation for Self-Supervised Learning", CVPR 2021.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import (
    FeatureQueue,
    all_reduce_mean,
    bag_of_words_loss,
    bags_of_words,
    gather,
    map_locations,
    nearest_word_distances,
    own_rows,
    perplexity,
    word_locations,
    word_logits,
    world_size,
)
from equissl.methods.base import StepOutput, detach_terms, stack_features, widen
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.crops import small_views
from equissl.methods.views.teacher import Teacher

_FOLLOW = 0.99  # of the mean distance to the nearest word


class OBoW(ViewMethod):
    """Prediction of the bag of words of each object's last view, which the teacher alone sees, from its other views.

    The order of a step is the authors': the student predicts with the words as they are; the teacher, which follows the
    student and normalises by the statistics of its own batch, finds the bags by distances to the same words, in units
    of a mean distance that has moved first; then one feature of each image replaces the oldest word. The last two, and
    the teacher's move, are done after the optimiser's step, before anything else happens (ours).

    Ours: all views are of one size (160 pixels of 224 in the paper); small crops lie anywhere, where the paper takes 5
    of 9 overlapping patches, and keep the blur of the policy; borders and windows of small maps, see
    `equissl.losses.bag_of_words`. Any number of words is allowed.

    Args:
        encoder: image encoder.
        words: size K of the vocabulary of each level.
        levels: how many of the encoder's last stages have words.
        inverse_delta: sharpness of the assignment, 1/δ, in units of the mean squared distance to the nearest word.
        kappa: scale κ of the logits (8 for a ResNet-50, 5 for a ResNet-18).
        views: of each object; the last one is the teacher's.
        small_crops, small_size, small_scale: further small views that predict, see `Invariant`. Their loss is added to
            that of the other views, each a mean over images, crops and levels.
        momentum: of the teacher, at the first and at the last step.

    Raises:
        ValueError: for sizes out of range, or more levels than the encoder has stages.
    """

    distances: Tensor
    draws: Tensor

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        words: int = 8192,
        levels: int = 2,
        inverse_delta: float = 15.0,
        kappa: float = 8.0,
        views: int = 3,
        small_crops: int = 0,
        small_size: int = 96,
        small_scale: tuple[float, float] = (0.08, 0.14),
        momentum: tuple[float, float] = (0.99, 1.0),
    ) -> None:
        super().__init__(encoder)
        channels = self.encoder.stage_channels()
        if not 1 <= levels <= len(channels):
            raise ValueError(f"expected levels in 1..{len(channels)}, the stages of the encoder, got {levels}")
        if words < 2 or views < 2 or small_crops < 0 or not inverse_delta > 0 or not kappa > 0:
            raise ValueError(
                "expected at least 2 words and views, small crops from 0, inverse_delta and kappa above 0, got "
                f"{words}, {views}, {small_crops}, {inverse_delta} and {kappa}"
            )
        self.views, self.small_crops, self.small_size, self.small_scale = views, small_crops, small_size, small_scale
        self.levels, self.inverse_delta = levels, inverse_delta
        self.heads = nn.ModuleList(WordHead(dim, self.feature_dim, kappa) for dim in channels[-levels:])
        self.vocabularies = nn.ModuleList(_vocabulary(words, dim) for dim in channels[-levels:])
        self.teacher = Teacher(momentum, encoder=self.encoder)
        self.teacher.own_buffers = True
        self.register_buffer("distances", torch.full((levels,), 0.5))
        self.register_buffer("draws", torch.zeros((), dtype=torch.long))
        self._met: list[tuple[Tensor, list[Tensor]]] = []

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        words = [vocabulary() for vocabulary in self.vocabularies]
        predicted = [head(known) for head, known in zip(self.heads, words, strict=True)]
        views = [self.encoder(self.normalise(batch.images[:, view])) for view in range(self.views - 1)]
        small = [self.encoder(view) for view in self._small(batch)]
        taught, maps = self._taught(batch)
        bags = self._bags(maps, words)
        terms = {"bow": self._loss(views, predicted, bags)}
        if small:
            terms["bow_small"] = self._loss(small, predicted, bags)
        loss = torch.stack([*terms.values()]).sum()
        return StepOutput(loss, detach_terms(**terms, **_spread(bags[-1])), stack_features([*views, taught]))

    def after_step(self, step: int, last_step: int) -> None:
        """Put the words of the batch into the vocabularies, and move the mean distances and the teacher.

        Args:
            step: its number, from 0.
            last_step: number of steps of the whole run.
        """
        super().after_step(step, last_step)
        for distances, words in self._met:
            found = distances.isfinite()  # as the queue leaves out what is not
            self.distances.lerp_(torch.where(found, distances, self.distances), 1 - _FOLLOW)
            for vocabulary, rows in zip(self.vocabularies, words, strict=True):
                vocabulary.enqueue(rows)  # type: ignore[operator]
            self.draws += 1
        self._met.clear()
        self.teacher.update(step, last_step, encoder=self.encoder)

    def _loss(self, views: list[Tensor], predicted: list[Tensor], bags: list[Tensor]) -> Tensor:
        """Divergence of the bags that views predict, mean of the global batch, the views and the levels."""
        divergences = [
            bag_of_words_loss(head.logits(view, words), bag)  # type: ignore[operator]
            for view in views
            for head, words, bag in zip(self.heads, predicted, bags, strict=True)
        ]
        return all_reduce_mean(torch.stack(divergences).mean())

    @torch.no_grad()
    def _taught(self, batch: ViewBatch) -> tuple[Tensor, list[Tensor]]:
        """The teacher's vectors of the last view, and its maps of the levels that have words."""
        images = self.normalise(batch.images[:, -1])
        vectors, maps = self.teacher["encoder"].encode_stages(images)  # type: ignore[operator]
        return vectors, [widen(found) for found in maps[-self.levels :]]

    @torch.no_grad()
    def _bags(self, maps: list[Tensor], words: list[Tensor]) -> list[Tensor]:
        """Bags (B, K) of each level; remembers what moves the state after the step."""
        features = [map_locations(found) for found in maps]
        nearest = [nearest_word_distances(x, known).mean() for x, known in zip(features, words, strict=True)]
        distances = all_reduce_mean(torch.stack(nearest)).to(self.distances)
        if self.training:
            self._met.append((distances, self._new_words(maps)))
        units = self.distances.lerp(distances, 1 - _FOLLOW)
        return [
            bags_of_words(x, known, self.inverse_delta / unit)
            for x, known, unit in zip(features, words, units, strict=True)
        ]

    def _new_words(self, maps: list[Tensor]) -> list[Tensor]:
        """One feature (B, C) of each image of the global batch, for each level."""
        source = torch.Generator().manual_seed(int(self.draws) + len(self._met))  # equal in every process
        places = own_rows(torch.rand(world_size() * len(maps[0]), generator=source)).to(maps[0].device)
        return [gather(_pick(word_locations(found), places)) for found in maps]

    def _small(self, batch: ViewBatch) -> list[Tensor]:
        whole = [self.views - 1]
        return small_views(batch, self.small_crops, self.small_size, self.small_scale, self.normalise, whole)


class WordHead(nn.Module):
    """Weights of a classifier of words, computed from the words themselves, so that it follows the vocabulary.

    Unit words, linear, batch norm, ReLU, linear, and the logits κ x · w of unit weights w.

    Args:
        channels: size C of a word.
        dim: size D of a representation x; the hidden layer has twice as many.
        kappa: scale of the logits.
    """

    sees_global_batch = True  # the words are the same in every process

    def __init__(self, channels: int, dim: int, kappa: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, 2 * dim, bias=False), nn.BatchNorm1d(2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim)
        )
        self.kappa = kappa

    def forward(self, words: Tensor) -> Tensor:
        """Compute weights (K, D) of words (K, C)."""
        return self.layers(F.normalize(words, dim=1))

    def logits(self, embeddings: Tensor, weights: Tensor) -> Tensor:
        """Compute logits (B, K).

        Args:
            embeddings: (B, D) representations.
            weights: (K, D) of the words.
        """
        return word_logits(embeddings, weights, self.kappa)


def _vocabulary(words: int, channels: int) -> FeatureQueue:
    """A queue of words that starts from the positive part of Gaussian numbers, as features after a ReLU are."""
    queue = FeatureQueue(words, channels)
    queue.rows.normal_().clamp_(min=0)
    return queue


def _pick(features: Tensor, places: Tensor) -> Tensor:
    """The feature (B, C) of (B, L, C) at places (B,) in [0, 1)."""
    index = (places * features.shape[1]).long()
    return features[torch.arange(len(features), device=features.device), index]


def _spread(bags: Tensor) -> dict[str, Tensor]:
    """Perplexity of the bags of images and of the whole batch; both fall when the vocabulary collapses."""
    image, batch = all_reduce_mean(perplexity(bags).mean()), perplexity(all_reduce_mean(bags.mean(dim=0)))
    return {"words_of_image": image, "words_of_batch": batch}
