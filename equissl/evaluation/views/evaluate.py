"""Evaluation of a run on views."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from equissl.datasets.views.config import ViewsData
from equissl.datasets.views.live.spec import LiveSpec
from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.decoding import shown_rows, write_decoded
from equissl.evaluation.diagnostics import predictor_scores
from equissl.evaluation.head import head_group_scores, head_scores
from equissl.evaluation.initial import run_label
from equissl.evaluation.relations import write_class_relations
from equissl.evaluation.views.cached import feature_sets, with_embeddings
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.features import FeatureSet, has_euler_latents
from equissl.evaluation.views.ood import ood_features, ood_scores
from equissl.evaluation.views.preference import check_preference, preference_scores
from equissl.evaluation.views.probing import choose_parts, probe_all
from equissl.evaluation.views.retrieval import retrieval_scores, why_no_retrieval
from equissl.evaluation.views.subject import subject_scores, why_no_subject
from equissl.evaluation.views.tasks import (
    PREFERENCE,
    RETRIEVAL,
    SUBJECT,
    TRAIN_MODE,
    TRANSLATION,
    asked_for,
    wanted_tasks,
)
from equissl.evaluation.views.train_mode import train_mode_scores, train_mode_tasks
from equissl.evaluation.views.translation import check_translation, translation_scores
from equissl.evaluation.views.world_model import choose_sequence_protocols, world_model_scores
from equissl.geometry import QuaternionSign
from equissl.runs.checkpoint import read_saved
from equissl.runs.config import PretrainConfig
from equissl.runs.results import flat_config, result_folder, write_results
from equissl.util.device import choose_device, choose_precision
from equissl.util.files import atomic_path
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod

ERRORS = "eval.npz"
SKIPPING = "skipping "  # beginning of the line about a protocol left out
SKIPPED = "skipped"  # key of the protocols left out, each with its reason


def evaluate_views(
    run_dir: str | Path,
    method: ViewMethod,
    training: PretrainConfig,
    options: EvaluateConfig | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Probe the frozen backbone of a run on objects it has never seen, and write the results.

    Beside them ``eval.npz``: the geodesic error of every validation pair, per part and for the constant predictor. Of a
    method with a decoder, ``decoded.npz``: what it makes of a few validation views.
    What was asked for and is impossible is an error before any head is trained.

    Args:
        run_dir: folder written by `pretrain`.
        method, training: as `load_method` gives them.
        options: probes and settings.
        store: view store to evaluate on; the one the run was trained on where None.
        log: called with one line per stage.

    Returns:
        The flat results, as written.

    Raises:
        ValueError: a store without validation or training objects, an unknown protocol or part, a protocol asked for
            that store or method do not allow, or features that are not finite.
    """
    run_dir, config, started = Path(run_dir), options or EvaluateConfig(), time.perf_counter()
    device = choose_device(config.device)
    config = _settle_precision(config, device)
    views = ViewStore(_store(store, training))
    _compare_with_live(views, training, log)
    sign, classes = target_sign(config, views), len(views.classes)
    log = skipped = _Skipped(log)
    wanted_tasks(classes, sign, config)  # a fault shows before features are computed
    if asked_for(PREFERENCE, config):
        check_preference(config.preference, views.schema)
    if asked_for(TRANSLATION, config):
        check_translation(method, config)
    protocols = choose_sequence_protocols(method, config, log)
    train, val = feature_sets(method, views, run_dir, config, device, log)
    other = None if config.ood_store is None else ood_features(method, views, run_dir, config, device, log)
    if asked_for(TRAIN_MODE, config):
        train_mode_tasks(train, val, classes, sign, config)
    if asked_for(SUBJECT, config) and (reason := why_no_subject(val)) is not None:
        raise ValueError(f"protocol {SUBJECT!r} is not possible here: {reason}")
    retrieve = _retrieves(method, val, config, log)
    train, val = with_embeddings(method, train, val, retrieve, run_dir, views, config, device)
    results, errors = probe_all(train, val, classes, sign, config, device, log)
    results |= head_scores(method, val, classes)
    if asked_for("worst_group", config):
        results |= head_group_scores(method, val, classes, config.group)
    if asked_for(SUBJECT, config):
        results |= subject_scores(val, choose_parts(val, config), device)
    if retrieve:
        log("looking up predicted embeddings")
        results |= retrieval_scores(method, train, val, config.retrieval, device, config.seed)
    if protocols:
        results |= world_model_scores(method, train, val, classes, config, protocols, device, log)
    if other is not None:
        results |= ood_scores(method, train, other, views, sign, protocols, config, device, log)
    if asked_for(TRAIN_MODE, config):
        results |= train_mode_scores(method, views, train, val, sign, config, device, log)
    if asked_for(PREFERENCE, config):
        results |= preference_scores(method, training, views, train, val, config, device, log)
    if asked_for(TRANSLATION, config):
        results |= translation_scores(cast(Any, method), views, train, config, device, log)
    results |= predictor_scores(
        method, views, batches=config.diagnostic_batches, batch_size=config.batch_size, seed=config.seed, device=device
    )
    results |= _meta(method, training, views, train, val, config, run_dir) | {SKIPPED: skipped.reasons}
    shown = views.read_images(val.objects[shown_rows(len(val.objects))] * views.num_views)  # the first view of each
    write_decoded(result_folder(run_dir, results), method, shown, config.seed)
    write_class_relations(result_folder(run_dir, results), method, views.classes, log)
    results["seconds"] = round(time.perf_counter() - started, 2)
    if errors:
        _write_errors(result_folder(run_dir, results) / ERRORS, errors)
    write_results(run_dir, results)
    return results


class _Skipped:
    """Log that keeps the reasons of what is skipped.

    Attributes:
        reasons: ``PROTOCOL: reason``, in order.
    """

    def __init__(self, log: Log) -> None:
        self.log, self.reasons = log, list[str]()

    def __call__(self, message: str) -> None:
        start, found = message[: len(SKIPPING)], message[len(SKIPPING) :]
        self.reasons += [found] if start == SKIPPING and found not in self.reasons else []
        self.log(message)


def _store(store: str | Path | None, training: PretrainConfig) -> str | Path:
    chosen, live = cast(ViewsData, training.data).store if store is None else store, _live(training)
    if live is not None and store is None and not (str(chosen) and Path(chosen).exists()):
        raise ValueError(
            "the run was trained on views rendered while training, and there is no store to evaluate on: render the "
            f"same objects with `{live.render_command()}` and name that file with --store"
        )
    if not str(chosen):
        raise ValueError("imported weights name no view store: say with --store FILE.h5 which one to evaluate on")
    return chosen


def _live(training: PretrainConfig) -> LiveSpec | None:
    """Return the rendering settings of views made while training; None for stored views, and for runs on images."""
    return training.data.live if isinstance(training.data, ViewsData) else None


def _compare_with_live(views: ViewStore, training: PretrainConfig, log: Log) -> None:
    """Log a warning where objects held out here may have been trained on."""
    live = _live(training)
    if live is None:
        return
    if differences := live.differences(views.attributes.get("build", {})):
        log(
            f"warning: objects held out in {views.path} may have been trained on, since its objects were chosen "
            "otherwise than those of the run's live views:\n  " + "\n  ".join(differences)
        )


def target_sign(config: EvaluateConfig, store: ViewStore) -> QuaternionSign:
    """Return the sign policy that the configuration means on this store.

    Args:
        config: its ``rotation.sign`` may be ``auto``.
        store: ``legacy`` needs Euler angles among its latents.
    """
    sign = config.rotation.sign
    if sign == "auto":
        return "legacy" if has_euler_latents(store) else "canonical"
    if sign == "legacy" and not has_euler_latents(store):
        raise ValueError(f"sign=legacy needs Euler latents, but {store.path} holds {list(store.schema.names)}")
    return sign


def _retrieves(method: ViewMethod, val: FeatureSet, config: EvaluateConfig, log: Log) -> bool:
    """Return True where retrieval is asked for, or possible and not ruled out."""
    asked = asked_for(RETRIEVAL, config)
    if asked is False:
        return False
    reason = why_no_retrieval(method, val.num_views, val.parts)
    if reason is not None and asked:
        raise ValueError(f"protocol {RETRIEVAL!r} is not possible here: {reason}")
    if reason is not None:
        log(f"skipping {RETRIEVAL}: {reason}")
    return reason is None


def _meta(
    method: ViewMethod,
    training: PretrainConfig,
    store: ViewStore,
    train: FeatureSet,
    val: FeatureSet,
    config: EvaluateConfig,
    run_dir: Path,
) -> dict[str, Any]:
    saved = read_saved(run_dir)
    imported = saved.get("imported") or {}
    # of published weights nobody knows how long they were trained
    steps = None if imported else saved["step"]
    batch = training.trainer.accumulate * training.data.batch_size * method.views
    return {
        "kind": type(method).kind,  # of the store; image sequences are trained on as images
        "method": type(method).__name__,
        "label": run_label(method, training),
        "run": run_dir.name,
        "store": str(store.path),
        "seed": training.seed,
        "steps": steps,
        "views_seen": None if steps is None else steps * batch,
        **{f"imported/{key}": value for key, value in imported.items()},
        "train_objects": len(train.objects),
        "val_objects": len(val.objects),
        "views_per_object": val.num_views,
        "classes": len(store.classes),
        "rotation/sign": target_sign(config, store),
        **flat_config(asdict(config)),
    }


def _settle_precision(config: EvaluateConfig, device: torch.device) -> EvaluateConfig:
    """Replace ``auto`` by the precision that this device computes in, so that the results and the cache name it."""
    kind = "cpu" if device.type == "cpu" else "gpu"
    chosen: Any = [choose_precision(name, kind) for name in (config.precision, config.probe_precision)]
    return replace(config, precision=chosen[0], probe_precision=chosen[1])


def _write_errors(path: Path, errors: dict[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = {part: values.astype(np.float32) for part, values in errors.items()}
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
