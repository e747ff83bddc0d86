"""Representations of clouds and of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.views.features import check_finite
from equissl.util.progress import staged

if TYPE_CHECKING:
    from equissl.methods.paired.base import PairedMethod


@torch.inference_mode()
def encode_clouds(
    method: PairedMethod, store: ViewStore, objects: np.ndarray, points: int | None, batch_size: int
) -> Tensor:
    """Encode the cloud of each object in its own reference frame, (N, D).

    Args:
        method: with an encoder of clouds, in eval mode, where it computes.
        store: with clouds.
        objects: (N,) indices in the store.
        points: of a cloud, the first of those stored, which lie in no order; None takes all.
        batch_size: clouds encoded at a time.

    Raises:
        ValueError: for representations that are not finite.
    """
    assert method.cloud is not None
    device, found = next(method.parameters()).device, []
    starts = range(0, len(objects), batch_size)
    for start in staged(starts, "clouds", "batches", len(starts)):
        clouds = store.clouds(objects[start : start + batch_size])
        read = (values[:, :points].float().to(device) for values in (clouds.points, clouds.normals, clouds.colours))
        found.append(method.cloud(*read).float().cpu())
    rows = torch.cat(found)
    check_finite({"cloud": rows})
    return rows


@torch.inference_mode()
def encode_texts(method: PairedMethod, texts: Sequence[str], batch_size: int) -> Tensor:
    """Encode texts, (N, D); equal ones are encoded once.

    Args:
        method: with an encoder of texts, in eval mode, where it computes.
        texts: N of them.
        batch_size: texts encoded at a time.

    Raises:
        ValueError: for an empty text, or representations that are not finite.
    """
    assert method.text is not None
    device, places = next(method.parameters()).device, {text: n for n, text in enumerate(dict.fromkeys(texts))}
    distinct, found = list(places), []
    starts = range(0, len(distinct), batch_size)
    for start in staged(starts, "texts", "batches", len(starts)):
        tokens, lengths = method.text.tokenizer.encode(distinct[start : start + batch_size], method.text_length)
        found.append(method.text(tokens.to(device), lengths.to(device)).float().cpu())
    rows = torch.cat(found)
    check_finite({"text": rows})
    return rows[[places[text] for text in texts]]


@torch.inference_mode()
def embed_rows(method: PairedMethod, modality: str, representations: Tensor, rows: int = 2048) -> Tensor:
    """Embed representations (N, D) of a modality in the common space, (N, E) on the CPU.

    Args:
        method: in eval mode.
        modality: of the representations.
        representations: of the modality's encoder.
        rows: embedded at a time.
    """
    device = next(method.parameters()).device
    return torch.cat([method.embed(modality, part.to(device)).cpu() for part in representations.split(rows)])
