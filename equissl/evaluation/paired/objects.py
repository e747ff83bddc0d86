"""Scores on the objects of a view store that were never trained on: images, clouds and captions of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.paired.config import PairedData
from equissl.datasets.paired.words import ATTRIBUTES, Grammar
from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.paired.config import PairedOptions
from equissl.evaluation.paired.encoding import embed_rows, encode_clouds, encode_texts
from equissl.evaluation.paired.pose import PoseTask, constant_errors, pose_errors
from equissl.evaluation.paired.scores import (
    Scores,
    class_embeddings,
    retrieval_scores,
    same_text,
    sentence_choice,
    zero_shot_scores,
)
from equissl.evaluation.paired.strips import examples
from equissl.evaluation.views.cached import feature_sets
from equissl.evaluation.views.evaluate import target_sign
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.probing import probe_all
from equissl.evaluation.views.scores import per_object_means, standard_error
from equissl.runs.config import PretrainConfig
from equissl.util.device import choose_device
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods.paired.base import PairedMethod


@dataclass(frozen=True)
class Unseen:
    """Validation objects, N of them with V views each.

    Attributes:
        store: their store.
        images: representations and labels of their views, (N, V, D).
        grammar: of the captions.
        clouds: (N, D) representations, or None.
    """

    store: ViewStore
    images: FeatureSet
    grammar: Grammar
    clouds: Tensor | None

    @property
    def labels(self) -> Tensor:
        """(N · V,) class of each view."""
        return self.images.labels.repeat_interleave(self.images.num_views)

    @property
    def numbers(self) -> Tensor:
        """(N · V,) object of each view."""
        return torch.arange(len(self.images.objects)).repeat_interleave(self.images.num_views)

    def values(self) -> list[dict[str, str]]:
        """Return the value of each attribute of each view, as captions say them."""
        latents = self.store.latents[self.images.objects]
        return [self.grammar.values(view) for views in latents for view in views]

    def captions(self) -> list[str]:
        """Return one caption of each view."""
        objects, latents = self.images.objects, self.store.latents[self.images.objects]
        return [
            self.grammar.caption(int(self.store.labels[number]), latents[place, view], 0, int(number), view)
            for place, number in enumerate(objects)
            for view in range(self.images.num_views)
        ]


def object_scores(
    method: PairedMethod, training: PretrainConfig, place: str, run_dir: Path, config: PairedOptions, log: Log
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compute all scores on a view store, and examples of retrieval.

    Args:
        method: in eval mode, where it computes.
        training: config of the run.
        place: the view store.
        run_dir: folder of the run, which keeps the features of images.
        config: settings, whose probes have their device and precision.
        log: called with one line per stage.

    Raises:
        StoreError: a store without clouds, for a method that reads them.
        ValueError: values that are not finite.
    """
    store, device, data = ViewStore(place), choose_device(config.device), cast(PairedData, training.data)
    train, val = feature_sets(method, store, run_dir, config.views, device, log)
    clouds = _clouds(method, data, store, train, val, config)
    unseen = Unseen(store, val, Grammar(store.classes, store.schema, data.words, config.seed), clouds and clouds[1])
    results: dict[str, Any] = {"train_objects": len(train.objects), "val_objects": len(val.objects)}
    results |= {"views_per_object": store.num_views, "classes": len(store.classes)}
    log("retrieval across modalities")
    embedded = embed_all(method, unseen, config)
    results |= retrieval(embedded, unseen, config)
    shown = examples(embedded, torch.as_tensor(val.objects), val.labels, unseen.captions())
    if method.text is not None:
        log("classes and attributes named by sentences")
        results |= named_classes(method, embedded, unseen, config)
        results |= named_attributes(method, embedded["image"], unseen, config)
    if unseen.clouds is not None and hasattr(method, "pose_embeddings"):
        log("poses by matching images with clouds")
        results |= poses(method, train, unseen, config)
    sign, classes = target_sign(config.views, store), len(store.classes)
    results |= probe_all(train, val, classes, sign, config.views, device, log)[0]
    if clouds is not None:
        first, second = (_one_view(found, split, "cloud") for found, split in zip(clouds, (train, val), strict=True))
        alone = replace(config.views, protocols=["classification"], parts=None)
        found = probe_all(first, second, classes, sign, alone, device, log)[0]
        results |= {key: value for key, value in found.items() if "/cloud/" in key}
    return results, shown


def _clouds(
    method: PairedMethod, data: PairedData, store: ViewStore, train: FeatureSet, val: FeatureSet, config: PairedOptions
) -> tuple[Tensor, Tensor] | None:
    """Representations (N, D) of the clouds of training and of validation objects."""
    if method.cloud is None:
        return None
    first, second = (encode_clouds(method, store, s.objects, data.points, config.batch_size) for s in (train, val))
    return first, second


def _one_view(representations: Tensor, split: FeatureSet, name: str) -> FeatureSet:
    return FeatureSet({name: representations[:, None]}, split.objects, split.labels, split.quats[:, :1])


def embed_all(method: PairedMethod, unseen: Unseen, config: PairedOptions) -> dict[str, Tensor]:
    """Embed images (N · V, E), clouds (N, E) and captions (N · V, E) in the common space.

    Args:
        method: in eval mode.
        unseen: objects.
        config: settings.
    """
    found = {"image": embed_rows(method, "image", unseen.images.parts["all"].flatten(0, 1).float())}
    if unseen.clouds is not None:
        found["cloud"] = embed_rows(method, "cloud", unseen.clouds)
    if method.text is not None:
        found["text"] = embed_rows(method, "text", encode_texts(method, unseen.captions(), config.batch_size))
    return found


def retrieval(embedded: dict[str, Tensor], unseen: Unseen, config: PairedOptions) -> Scores:
    """Compute R@k between images and clouds of one object, and images and captions that say the same of a view.

    Args:
        embedded: see `embed_all`.
        unseen: objects.
        config: settings.
    """
    results: Scores = {}
    if "cloud" in embedded:
        numbers = {"image": unseen.numbers, "cloud": torch.arange(len(embedded["cloud"]))}
        results |= retrieval_scores({name: embedded[name] for name in numbers}, numbers, config.at)
    if "text" in embedded:
        plain = [unseen.grammar.plain(int(c), v) for c, v in zip(unseen.labels, unseen.values(), strict=True)]
        said = same_text(plain)
        results |= retrieval_scores(
            {n: embedded[n] for n in ("image", "text")}, {"image": said, "text": said}, config.at
        )
        results["retrieval/distinct_captions"] = int(said.max()) + 1
    return results


def named_classes(
    method: PairedMethod, embedded: dict[str, Tensor], unseen: Unseen, config: PairedOptions
) -> dict[str, Any]:
    """Compute zero-shot top-1 of images and of clouds: the class whose sentences are nearest.

    Args:
        method: with an encoder of texts.
        embedded: see `embed_all`.
        unseen: objects.
        config: templates of the sentences.
    """
    nouns, templates = [of[0] for of in unseen.grammar.nouns], config.templates
    sentences = [template.format(noun) for noun in nouns for template in templates]
    rows = embed_rows(method, "text", encode_texts(method, sentences, config.batch_size))
    labels = {"image": unseen.labels, "cloud": unseen.images.labels}
    asked = {name: embedded[name] for name in labels if name in embedded}
    return zero_shot_scores(asked, labels, class_embeddings(rows.unflatten(0, (len(nouns), len(templates)))))[0]


def named_attributes(method: PairedMethod, images: Tensor, unseen: Unseen, config: PairedOptions) -> Scores:
    """Compute how often the right one of the captions that differ in one attribute is nearest to an image.

    The captions name the image's own class and one value of the attribute; the majority is that of the images' values.

    Args:
        method: with an encoder of texts.
        images: (N · V, E) embeddings.
        unseen: objects.
        config: settings.
    """
    results: Scores = {}
    held = unseen.values()
    for name in unseen.grammar.about:
        values = list(ATTRIBUTES[name].phrases)
        wanted = torch.tensor([values.index(view[name]) for view in held])
        asked = [unseen.grammar.plain(c, {name: value}) for c in range(len(unseen.store.classes)) for value in values]
        rows = embed_rows(method, "text", encode_texts(method, asked, config.batch_size))
        chosen = sentence_choice(images, rows.unflatten(0, (-1, len(values)))[unseen.labels])
        results[f"attribute/{name}/top1"] = float((chosen == wanted).double().mean())
        results[f"attribute/{name}/majority"] = float(wanted.bincount().max()) / len(wanted)
    return results


@torch.inference_mode()
def poses(method: Any, train: FeatureSet, unseen: Unseen, config: PairedOptions) -> Scores:
    """Compute the degrees between the rotation that matches an image with its object's cloud and the true one.

    Args:
        method: with irreps of images and of clouds.
        train: training views, whose rotations are the candidates.
        unseen: objects.
        config: settings.
    """
    device, images = next(method.parameters()).device, unseen.images
    assert unseen.clouds is not None
    rotations = unseen.store.rotations()
    known, wanted = (rotations[torch.as_tensor(s.objects)].flatten(0, 1) for s in (train, images))
    irreps = [
        torch.cat([method.pose_embeddings(name, part.to(device)) for part in rows.split(2048)])
        for name, rows in (("image", images.parts["all"].flatten(0, 1).float()), ("cloud", unseen.clouds))
    ]
    cloud = irreps[1].repeat_interleave(images.num_views, dim=0)
    shapes = [(copies, ir.l) for copies, ir in method.predictor.irreps]
    errors = pose_errors(PoseTask(irreps[0], cloud, shapes, wanted, known), config.pose, config.seed)
    constant = constant_errors(wanted, known)
    owners = np.repeat(np.arange(len(images.objects)), images.num_views)
    return {
        "pose/mean_deg": float(errors.mean()),
        "pose/mean_deg_se": standard_error(per_object_means(errors.numpy(), owners)),
        "pose/median_deg": float(errors.median()),
        "pose/constant_deg": float(constant.mean()),
    }
