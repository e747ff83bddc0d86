"""Rates of a translator: how often it keeps the class, and how often it moves the bias.

CDvG (arXiv 2112.01021) rests on a translator that changes the bias and keeps the label; both rates are measured by
networks that learned from labels: one from an unbiased store, which knows the class whatever the bias, and one from
the biased store, which reads the bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet, read_ahead
from equissl.evaluation.views.scores import Scores, per_object_means, standard_error
from equissl.evaluation.views.tasks import TRANSLATION
from equissl.runs import load_method
from equissl.util.progress import Log, staged

if TYPE_CHECKING:
    from equissl.methods import Supervised, Translator


def check_translation(method: Any, config: EvaluateConfig) -> None:
    """Raise ValueError for a method that does not translate, or without a run that knows the class.

    Args:
        method: of the run.
        config: runs of the references.
    """
    if not hasattr(method, "translate"):
        raise ValueError(f"protocol {TRANSLATION!r} is not possible here: {type(method).__name__} does not translate")
    if config.translation.reference is None:
        raise ValueError(
            f"protocol {TRANSLATION!r} needs a run of Supervised on an unbiased store: --translation.reference RUN"
        )


@torch.inference_mode()
def translation_scores(
    method: Translator,
    store: ViewStore,
    train: FeatureSet,
    config: EvaluateConfig,
    device: torch.device | str = "cpu",
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Compute the rates on views of training objects, which are those that a translator is used on.

    Each view is translated to one random class other than its own. ``translation/label_kept/all``: of the views whose
    class the reference tells, the share of which it tells the same class after translation.
    ``translation/bias_moved/all``: the share that the follower calls the target; ``…/before`` is the same of the views
    as they were. Views of the biased store mostly follow the bias.

    Args:
        method: the translator.
        store: biased.
        train: names its training objects.
        config: runs of the references, and how many views.
        device: to compute on.
        log: called with lines on progress.

    Raises:
        ValueError: a reference of other classes, or of another method than `Supervised`.
    """
    settings, method = config.translation, method.eval().to(device)
    assert settings.reference is not None
    judges = {"label_kept": _judge(settings.reference, method, device)}
    if settings.follower is not None:
        judges["bias_moved"] = _judge(settings.follower, method, device)
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 3]))
    total = len(train.objects) * store.num_views
    rows = np.sort(rng.permutation(total)[: settings.images])
    owners, labels = rows // store.num_views, train.labels[rows // store.num_views]
    targets = (labels + torch.from_numpy(rng.integers(1, method.num_classes, len(rows)))) % method.num_classes
    log(f"translating {len(rows)} training views")
    flat = np.asarray(train.objects)[owners] * store.num_views + rows % store.num_views
    chunks = np.array_split(flat, max(1, len(flat) // config.batch_size))
    before: dict[str, list[Tensor]] = {name: [] for name in judges}
    after: dict[str, list[Tensor]] = {name: [] for name in judges}
    start = 0
    for images in staged(read_ahead(store, chunks, 0), "translating", "batches", len(chunks)):
        part = slice(start, start := start + len(images))
        plain = method.normalise(images.to(device))
        moved = method.translate(plain, labels[part].to(device), targets[part].to(device))
        for name, judge in judges.items():
            before[name].append(_answers(judge, plain))
            after[name].append(_answers(judge, moved))
    told, moved_to = ({name: torch.cat(x) for name, x in of.items()} for of in (before, after))
    return _rates(told, moved_to, labels, targets, owners)


def _rates(
    before: dict[str, Tensor], after: dict[str, Tensor], labels: Tensor, targets: Tensor, owners: np.ndarray
) -> Scores:
    known = (before["label_kept"] == labels).numpy()
    kept = (after["label_kept"] == labels).double().numpy()[known]
    name = f"{TRANSLATION}/label_kept"
    scores: Scores = {
        f"{name}/all": float(kept.mean()) if kept.size else None,
        f"{name}_se/all": standard_error(per_object_means(kept, owners[known])) if kept.size else None,
        f"{name}/told_before": float(known.mean()),
    }
    if "bias_moved" in after:
        name = f"{TRANSLATION}/bias_moved"
        moved = (after["bias_moved"] == targets).double().numpy()
        scores |= {
            f"{name}/all": float(moved.mean()),
            f"{name}_se/all": standard_error(per_object_means(moved, owners)),
            f"{name}/before": float((before["bias_moved"] == targets).double().mean()),
        }
    return scores


def _judge(run: str, method: Translator, device: torch.device | str) -> Supervised:
    found, _ = load_method(run)
    classifier = getattr(found, "classifier", None)
    if classifier is None or getattr(classifier, "out_features", None) != method.num_classes:
        raise ValueError(f"expected {run} to hold a classifier of {method.num_classes} classes, such as Supervised has")
    if (found.pixel_mean, found.pixel_std) != (method.pixel_mean, method.pixel_std):
        raise ValueError(f"expected {run} to normalise pixels as the translator does")
    return found.to(device)


def _answers(judge: Supervised, images: Tensor) -> Tensor:
    return judge.classifier(judge.encoder(images)).argmax(1).cpu()
