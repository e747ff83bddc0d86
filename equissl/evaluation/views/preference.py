"""Preference heads on frozen features, by the number of answers that they learn from.

The evaluation of SIRL (Bobu et al. 2023, arXiv 2301.00810), reconstructed: the representation is frozen, and a small
head learns a person's reward from answers about which of two things is preferred. Ours: simulated people whose rewards
are random linear functions of an attribute of views, a linear head, and pairs of views of unseen objects to score it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.views.attributes import attribute_points
from equissl.datasets.views.schema import LatentSchema
from equissl.datasets.views.store.store import ViewStore
from equissl.encoders.calibrate import calibrate
from equissl.evaluation.initial import initial_method
from equissl.evaluation.probes import moments
from equissl.evaluation.views.config import EvaluateConfig, PreferenceConfig
from equissl.evaluation.views.features import FeatureSet, extract_features
from equissl.evaluation.views.probing import choose_parts
from equissl.evaluation.views.scores import Scores, standard_error
from equissl.evaluation.views.tasks import PREFERENCE
from equissl.runs.config import PretrainConfig
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod

INITIAL, ATTRIBUTE = "initial", "attribute"  # parts beside those of the method
STEPS, TOLERANCE = 2000, 1e-6
CALIBRATION = 512  # views that the statistics of the untrained encoder's batch norm are taken from


@dataclass(frozen=True)
class Choices:
    """Pairs of views, and which of the two each person prefers.

    Attributes:
        first, second: (P,) positions among all views of a split.
        prefer: (P, U) 1 where person u prefers the first view, −1 where the second.
    """

    first: Tensor
    second: Tensor
    prefer: Tensor

    def __getitem__(self, rows: slice) -> Choices:
        return Choices(self.first[rows], self.second[rows], self.prefer[rows])

    def differences(self, features: Tensor) -> Tensor:
        """Return (P, D), first minus second.

        Args:
            features: (N·V, D).
        """
        return features[self.first] - features[self.second]


def preference_scores(
    method: ViewMethod,
    training: PretrainConfig,
    store: ViewStore,
    train: FeatureSet,
    val: FeatureSet,
    config: EvaluateConfig,
    device: torch.device | str = "cpu",
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Compute ``preference_N/PART/top1``, the share of unseen pairs on which heads of N answers agree with the people.

    Parts are those of the method, ``initial`` (the encoder before training) and ``attribute`` (what the rewards are
    made of: the ceiling of N answers).

    Args:
        method: the frozen method.
        training: config of the run, for the encoder before training.
        store: of the views.
        train, val: features.
        config: parts, and what the people care about.
        device: of the encoder before training.
        log: called with lines on progress.

    Raises:
        ValueError: an unknown attribute, or one that the store does not hold.
    """
    settings = config.preference
    sides = (train, val)
    points = [_points(side, settings.about) for side in sides]
    people = draw_people(settings.people, points[0].shape[-1], config.seed)
    most = max(settings.queries)
    counts = zip(points, (most, settings.pairs), (1, 2), strict=True)
    choices = [draw_choices(at, people, count, (config.seed, stream)) for at, count, stream in counts]
    parts = {part: (train.parts[part], val.parts[part]) for part in choose_parts(train, config)}
    parts[ATTRIBUTE] = (points[0][:, None], points[1][:, None])
    if settings.initial:
        log("features of the encoder before training")
        parts[INITIAL] = _initial_features(training, store, train, val, config, device)
    log(f"preferences about {settings.about} on {', '.join(parts)}")
    results: Scores = {}
    for part, (learn, score) in parts.items():
        scaled = scale_together(learn, score)
        for count in settings.queries:
            head = fit_rewards(choices[0][:count].differences(scaled[0]), choices[0].prefer[:count], settings.penalty)
            right = (choices[1].differences(scaled[1]) @ head) * choices[1].prefer > 0
            each = right.double().mean(0).numpy()
            group = f"{PREFERENCE}_{count}"
            results |= {f"{group}/{part}/top1": float(each.mean()), f"{group}/{part}/top1_se": standard_error(each)}
    return results | {f"{PREFERENCE}_{count}/chance": 0.5 for count in settings.queries}


def check_preference(settings: PreferenceConfig, schema: LatentSchema) -> None:
    """Raise ValueError for numbers that no evaluation can have, and for an attribute that the views do not have.

    Args:
        settings: of the evaluation.
        schema: latents of the views.
    """
    attribute_points(torch.zeros(1, len(schema)), schema, settings.about)
    if not settings.queries or min(settings.queries) < 1 or min(settings.people, settings.pairs) < 1:
        given = f"queries={list(settings.queries)}, people={settings.people}, pairs={settings.pairs}"
        raise ValueError(f"expected preference.queries, people and pairs of at least 1, got {given}")
    if not settings.penalty > 0:
        raise ValueError(f"expected preference.penalty above 0, got {settings.penalty}")


def draw_people(count: int, dim: int, seed: int) -> Tensor:
    """Draw the weights (dim, U) of the rewards of U people, each of a normal distribution.

    Args:
        count: U.
        dim: numbers that an attribute has.
        seed: of the draw.
    """
    return torch.from_numpy(np.random.default_rng(np.random.SeedSequence([seed, 0])).standard_normal((dim, count)))


def draw_choices(points: Tensor, people: Tensor, count: int, seed: tuple[int, int]) -> Choices:
    """Draw pairs of views, and let people choose the one of the higher reward; more pairs keep the first ones.

    Args:
        points: (N·V, F) attribute of every view.
        people: (F, U) weights of their rewards.
        count: P, how many pairs.
        seed: of the draw.
    """
    rows = np.random.default_rng(np.random.SeedSequence(seed)).random((count, 2)) * [len(points), len(points) - 1]
    first, second = torch.from_numpy(rows.astype(np.int64)).unbind(1)
    second = second + (second >= first)  # skips the pair of a view with itself
    better = (points[first] - points[second]) @ people
    return Choices(first, second, torch.where(better > 0, 1.0, -1.0).double())


def fit_rewards(differences: Tensor, prefer: Tensor, penalty: float) -> Tensor:
    """Fit the linear rewards (D, U) of U people to their choices: Bradley and Terry's model with a penalty on weights.

    Minimises Σ log(1 + exp(−c wᵀ(x1 − x2))) + penalty/2 |w|² for each person; convex, with one minimum, which Newton's
    steps with the bound of the logistic's curvature, 1/4, reach from zero.

    Args:
        differences: (P, D) of the features of the two views.
        prefer: (P, U) 1 for the first, −1 for the second.
        penalty: above 0.
    """
    weights = differences.new_zeros(differences.shape[1], prefer.shape[1])
    identity = torch.eye(len(weights), dtype=weights.dtype)
    curvature = torch.linalg.cholesky(differences.T @ differences / 4 + penalty * identity)
    for _ in range(STEPS):
        slope = -prefer * torch.sigmoid(-prefer * (differences @ weights))
        step = torch.cholesky_solve(differences.T @ slope + penalty * weights, curvature)
        weights = weights - step
        if step.abs().max() <= TOLERANCE * weights.abs().max():
            break
    return weights


def scale_together(train: Tensor, val: Tensor) -> tuple[Tensor, Tensor]:
    """Centre features and divide them by one number, so that a view's mean squared length is 1: (N·V, D) float64 each.

    One number for all dimensions keeps the distances that a representation was trained for; a penalty on the weights
    of a head then means the same for every width.

    Args:
        train: (N, V, D), gives mean and scale.
        val: (M, V, D), scaled alike.
    """
    mean, deviation = moments(train)
    length = deviation.square().sum().sqrt().clamp_min(1e-12)
    scaled = [(side.double() - mean).div(length).flatten(0, 1) for side in (train, val)]
    return scaled[0], scaled[1]


def _points(side: FeatureSet, about: str) -> Tensor:
    if side.latents is None or side.schema is None:
        raise ValueError("expected the latents of the views, this feature set has none")
    return attribute_points(side.latents, side.schema, about).flatten(0, 1)


def _initial_features(
    training: PretrainConfig,
    store: ViewStore,
    train: FeatureSet,
    val: FeatureSet,
    config: EvaluateConfig,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Representations of the encoder before training, with statistics of batch norm from training views."""
    method = initial_method(training).to(device)
    rows = (np.asarray(train.objects)[:, None] * store.num_views + np.arange(store.num_views)).ravel()
    spread = rows[np.linspace(0, len(rows) - 1, min(CALIBRATION, len(rows))).round().astype(np.int64)]
    calibrate(method.encoder, method.normalise(store.read_images(spread).to(device)), config.batch_size)
    how: dict[str, Any] = {"batch_size": config.batch_size, "device": device, "precision": config.precision}
    found = [extract_features(method, store, side.objects, **how)["all"] for side in (train, val)]
    return found[0], found[1]
