"""Scores on captioned images that were never trained on: retrieval between images and captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from equissl.datasets.paired.captioned import open_captioned
from equissl.datasets.paired.config import PairedData
from equissl.evaluation.diagnostics import collapse_scores
from equissl.evaluation.images.encoding import encode_images
from equissl.evaluation.paired.config import PairedOptions
from equissl.evaluation.paired.encoding import embed_rows, encode_texts
from equissl.evaluation.paired.scores import class_embeddings, retrieval_scores, same_text, zero_shot_scores
from equissl.runs.config import PretrainConfig
from equissl.util.progress import Log

if TYPE_CHECKING:
    from equissl.methods.paired.base import PairedMethod


def captioned_scores(
    method: PairedMethod, training: PretrainConfig, place: str, run_dir: Path, config: PairedOptions, log: Log
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compute all scores on captioned images, of each image its first caption; there are no examples for pages.

    Args:
        method: with an encoder of texts, in eval mode, where it computes.
        training: config of the run.
        place: caption file, folder or tar shards.
        run_dir: folder of the run; not read.
        config: settings.
        log: called with one line per stage.

    Raises:
        ValueError: a method without an encoder of texts, images of several sizes where the run names none, or values
            that are not finite.
        CaptionError: no validation images.
    """
    data = cast(PairedData, training.data)
    if method.text is None:
        raise ValueError(f"expected a method that reads texts for captioned images, {method.label} reads none")
    seed = training.seed if data.seed is None else data.seed  # of the split
    val = open_captioned(place, "val", data.val_fraction, seed)
    size = data.size or (val.source.size or (None,))[0]
    if size is None:
        raise ValueError(f"the images of {place} may be of several sizes: expected data.size in the run's config")
    log(f"retrieval among {len(val.source)} captioned images")
    images = encode_images(method, val.source, size, batch_size=config.batch_size)
    texts = [val.captions.read(row, 0) for row in range(len(val.source))]
    embedded = {
        "image": embed_rows(method, "image", images),
        "text": embed_rows(method, "text", encode_texts(method, texts, config.batch_size)),
    }
    said = same_text(texts)
    results: dict[str, Any] = {"val_images": len(texts), "retrieval/distinct_captions": int(said.max()) + 1}
    results |= retrieval_scores(embedded, {"image": said, "text": said}, config.at)
    results |= collapse_scores(images[:, None], "all")
    if val.source.wholly_labelled:
        names = [name.replace("_", " ") for name in val.source.classes]
        sentences = [template.format(name) for name in names for template in config.templates]
        rows = embed_rows(method, "text", encode_texts(method, sentences, config.batch_size))
        classes = class_embeddings(rows.unflatten(0, (len(names), -1)))
        results |= zero_shot_scores(
            {"image": embedded["image"]}, {"image": torch.as_tensor(val.source.labels)}, classes
        )[0]
    return results, []
