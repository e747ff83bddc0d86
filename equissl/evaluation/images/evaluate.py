"""Evaluation of a run on images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.hdf5 import declared_format
from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.formats import AUTO, open_images
from equissl.datasets.images.sources import ImagesError, ImageSource, ImageSubset
from equissl.datasets.images.whole import iterate_images
from equissl.datasets.views.store.format import FORMAT
from equissl.evaluation.decoding import SHOWN, shown_rows, write_decoded
from equissl.evaluation.diagnostics import collapse_scores
from equissl.evaluation.head import head_scores
from equissl.evaluation.images.classifiers import KNN, LINEAR, Logits, all_scores, probe_linear, vote_all
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.images.encoding import PIXELS, ImageEncoders, image_encoders, named
from equissl.evaluation.images.scores import label_scores
from equissl.evaluation.initial import run_label
from equissl.evaluation.relations import write_class_relations
from equissl.evaluation.views.evaluate import evaluate_views
from equissl.evaluation.views.features import FeatureSet
from equissl.methods.views.base import ViewMethod
from equissl.runs.checkpoint import read_saved
from equissl.runs.config import PretrainConfig
from equissl.runs.results import flat_config, result_folder, write_results
from equissl.util.device import choose_device
from equissl.util.files import atomic_path
from equissl.util.progress import Log

PREDICTIONS = "predictions.npz"
UNLABELLED = (
    "k-NN and linear evaluation need labels, and the images of {} have none: name a folder of labelled images "
    "(CLASS/FILE) with --store"
)


def evaluate_images(
    run_dir: str | Path,
    method: ViewMethod,
    training: PretrainConfig,
    options: ImageOptions | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Classify unseen images by frozen features, and write the results.

    Everything is measured for the trained encoder, for the same encoder before training and for raw pixels; of a method
    that learns from labels also its own classifier. k-NN and the linear probe learn from all training images, whatever
    the share of labels that the method learnt from. Beside the results, ``predictions.npz``: the class of every
    validation image, and those that k-NN and the linear probe name.
    Of images without labels collapse alone is measured. Of a method with a decoder, ``decoded.npz``: what it
    makes of a few validation images.

    Args:
        run_dir: folder that `pretrain` wrote.
        method, training: as `load_method` gives them.
        options: what to measure.
        store: folder of images to evaluate on, the run's own where None; or a view store of image sequences, which is
            measured like any view store.
        log: called with one line per stage.

    Returns:
        the flat results, as written.

    Raises:
        ImagesError: splits of different classes.
        ValueError: images of several sizes where no size was given, or features that are not finite.
    """
    run_dir, options, started = Path(run_dir), options or ImageOptions(), time.perf_counter()
    choose_device(options.device)  # one that is not there is an error before any work
    place = cast(ImagesData, training.data).root if store is None else store
    if str(place) and declared_format(Path(place)) == FORMAT:
        return evaluate_views(run_dir, method, training, options.views, place, log)
    train, val = open_splits(training, store)
    encoders = image_encoders(method, training, train, choose_size(training, train, options), options)
    log(f"features of {len(train)} training and {len(val)} validation images")
    known, asked = encoders.feature_set(train), encoders.feature_set(val)
    results = _meta(run_dir, method, training, train, val, encoders)
    for part, values in asked.parts.items():
        results |= {} if part == PIXELS else collapse_scores(values, part)
    if train.labelled:
        results |= _classified(known, asked, train, val, encoders, result_folder(run_dir, results), log)
    else:
        log(f"skipping k-NN and the linear probe: {UNLABELLED.format(train.path)}")
    shown = torch.cat(list(iterate_images(ImageSubset(val, shown_rows(len(val))), encoders.size, SHOWN)))
    write_decoded(result_folder(run_dir, results), encoders.trained, shown, options.seed)
    write_class_relations(result_folder(run_dir, results), method, train.classes, log)
    results["seconds"] = round(time.perf_counter() - started, 2)
    write_results(run_dir, results)
    return results


def _classified(
    known: FeatureSet,
    asked: FeatureSet,
    train: ImageSource,
    val: ImageSource,
    encoders: ImageEncoders,
    folder: Path,
    log: Log,
) -> dict[str, Any]:
    """Return accuracies of all classifiers, and write their predictions."""
    log(f"k-NN and linear probes of {named(asked.parts)}")
    classes = len(train.classes)
    scores = {
        LINEAR: probe_linear(known, asked, classes, encoders),
        **vote_all(known, asked, classes, encoders.options),
    }
    own = head_scores(encoders.trained, asked, classes)
    named_by = {name: scores[name]["all"] for name in (LINEAR, KNN)}
    write_predictions(folder / PREDICTIONS, val.labels, named_by, train.classes)
    return label_scores(train.labels, val.labels, classes) | all_scores(scores, val.labels, train.classes) | own


def open_splits(training: PretrainConfig, store: str | Path | None = None) -> tuple[ImageSource, ImageSource]:
    """Open the training and the validation images of a run, or of another folder, with or without labels.

    Args:
        training: config of the run.
        store: the folder; the run's own where None.

    Raises:
        ImagesError: no folder is named, or splits of different classes.
    """
    data = cast(ImagesData, training.data)
    root, form = (data.root, data.format) if store is None else (store, AUTO)
    if not str(root):
        raise ImagesError("the run names no images: say with --store which folder or view store to evaluate on")
    train, val = (open_images(root, split, form, data.val_fraction) for split in ("train", "val"))
    if train.classes != val.classes:
        raise ImagesError(f"expected the same classes in both splits of {root}, got {train.classes} and {val.classes}")
    return train, val


def open_labelled(training: PretrainConfig, store: str | Path | None = None) -> tuple[ImageSource, ImageSource]:
    """Open the labelled training and validation images of a run, or of another folder.

    Args:
        training: config of the run.
        store: the folder; the run's own where None.

    Raises:
        ImagesError: images without labels, or splits of different classes.
    """
    train, val = open_splits(training, store)
    if not train.labelled:
        raise ImagesError(UNLABELLED.format(train.path))
    return train, val


def choose_size(training: PretrainConfig, source: ImageSource, options: ImageOptions) -> int:
    """Side of the images that are encoded: the one asked for, that of training, or that of the images.

    Args:
        training: config of the run.
        source: of the images.
        options: of the evaluation.

    Raises:
        ValueError: none of them is known.
    """
    size = options.size or cast(ImagesData, training.data).size
    if size is None and source.size is None:
        raise ValueError(
            f"the images of {source.path} may be of several sizes: say with --size at which to encode them"
        )
    return size or source.size[0]  # type: ignore[index]


def write_predictions(path: Path, labels: Tensor, scores: Logits, classes: Sequence[str]) -> None:
    """Write the true and the named class of every validation image.

    Args:
        path: ``.npz`` file.
        labels: (M,) true classes.
        scores: (M, C) of each classifier.
        classes: names of the C classes.
    """
    arrays: dict[str, Any] = {name: found.argmax(1).numpy() for name, found in scores.items()}
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, labels=labels.numpy(), classes=np.array(classes), **arrays)


def _meta(
    run_dir: Path,
    method: ViewMethod,
    training: PretrainConfig,
    train: ImageSource,
    val: ImageSource,
    encoders: ImageEncoders,
) -> dict[str, Any]:
    steps, data = read_saved(run_dir)["step"], cast(ImagesData, training.data)
    return {
        "kind": training.data.kind,
        "method": type(method).__name__,
        "label": run_label(method, training),
        "run": run_dir.name,
        "store": str(train.path.parent if train.path.name == "train" else train.path),
        "seed": training.seed,
        "steps": steps,
        "images_seen": steps * training.trainer.accumulate * data.batch_size,
        "views": method.views,
        "reads_labels": method.reads_labels,
        "train_images": len(train),
        "val_images": len(val),
        "classes": len(train.classes),
        "image_size": encoders.size,
        "form": data.form,
        "policy": data.policy,
        "labels": data.labels,
        "label_seed": data.label_seed,
        **flat_config({key: value for key, value in asdict(encoders.options).items() if key != "views"}),
    }
