"""From the section ``data`` of a run on paired modalities to its data set."""

from __future__ import annotations

import logging
from pathlib import Path

from equissl.datasets.hdf5 import declared_format
from equissl.datasets.images.sequences import choose_policy
from equissl.datasets.paired.captioned import EXPECTED, CaptionedImages, open_captioned
from equissl.datasets.paired.captions import Findings, read_captions
from equissl.datasets.paired.config import PairedData
from equissl.datasets.paired.form import PairedForm
from equissl.datasets.paired.image_texts import ImageTexts
from equissl.datasets.paired.paired_views import PairedViews
from equissl.datasets.paired.text_policies import TEXT_POLICIES, TextPolicy
from equissl.datasets.paired.words import Grammar
from equissl.datasets.views.store.format import FORMAT
from equissl.datasets.views.store.index import is_index
from equissl.datasets.views.store.store import ViewStore

logger = logging.getLogger(__name__)
_LOOKED_AT = 256  # captions that are looked at for their length

STORE_ONLY = ("captions", "objects", "labels", "words", "points", "cloud_frame")
IMAGES_ONLY = ("val_fraction", "size", "policy", "strength", "policy_options", "clean_image")


def open_paired(data: PairedData, form: PairedForm, split: str | None, seed: int) -> PairedViews | ImageTexts:
    """Open the data that a section of the config names. What was left out of captions is logged as warnings.

    Args:
        data: section of the config.
        form: what the method asks for.
        split: ``train``, ``val``, or None for all.
        seed: of all that is random.

    Raises:
        ValueError: settings of another sort of data, or that do not fit the data.
        StoreError, CaptionError, ImagesError: data that cannot be read; all are ValueErrors.
    """
    dataset = _open(data, form, split, seed)
    if form.texts:
        _warn_cut(dataset, data.store)
    return dataset


def _open(data: PairedData, form: PairedForm, split: str | None, seed: int) -> PairedViews | ImageTexts:
    if not data.store:
        raise ValueError(f"expected data.store to be a view store, or {EXPECTED}")
    path = Path(data.store)
    if is_view_store(path):
        _refuse(data, IMAGES_ONLY, f"{path} is a view store")
        return _open_store(data, form, split, seed)
    if not path.exists():
        raise ValueError(f"expected data.store to be a view store, or {EXPECTED}; found nothing at {path}")
    _refuse(data, STORE_ONLY, f"{path} is no view store")
    return _open_images(data, open_captioned(path, split, data.val_fraction, seed), form, split, seed)


def is_view_store(path: Path) -> bool:
    """Return True for a view store, or an index of several."""
    return declared_format(path) == FORMAT or (path.exists() and is_index(path))


def choose_text_policy(data: PairedData) -> TextPolicy:
    """Return the text policy of a section of the config.

    Raises:
        ValueError: an unknown policy or option, or a chance out of range.
    """
    return TEXT_POLICIES[data.text_policy].altered(data.text_policy_options)


def _open_store(data: PairedData, form: PairedForm, split: str | None, seed: int) -> PairedViews:
    store = ViewStore(data.store)
    table = read_captions(data.captions) if data.captions else None
    if table is not None:
        if data.words is not None:
            raise ValueError(
                "expected data.words without data.captions: the captions of the file are taken as they are"
            )
        _warn(data.captions, table.findings)
    # an evaluation knows all objects of its split
    learnt = {name: getattr(data, name) for name in ("objects", "labels", "label_seed")} if split == "train" else {}
    return PairedViews(
        store,
        form,
        split,
        seed,
        grammar=Grammar(store.classes, store.schema, data.words, seed),
        captions=table,
        text_policy=choose_text_policy(data),
        points=data.points,
        cloud_frame=data.cloud_frame,
        **learnt,
    )


def _open_images(
    data: PairedData, images: CaptionedImages, form: PairedForm, split: str | None, seed: int
) -> ImageTexts:
    if data.size is None and images.source.size is None:
        raise ValueError(f"the images of {images.source.path} may be of several sizes: expected data.size, the views'")
    _warn(data.store, images.findings)
    policy = choose_policy(data.policy, data.policy_options, data.strength)
    text_policy = choose_text_policy(data)
    return ImageTexts(images, form, split, seed, data.size, policy, text_policy, data.clean_image)


def _refuse(data: PairedData, names: tuple[str, ...], why: str) -> None:
    """Raise ValueError for settings that would change nothing."""
    plain = PairedData()
    changed = [f"data.{name}" for name in names if getattr(data, name) != getattr(plain, name)]
    if changed:
        raise ValueError(f"{why}: {', '.join(changed)} would change nothing there")


def _warn_cut(dataset: PairedViews | ImageTexts, place: str) -> None:
    """Warn of captions whose end no encoder will see, by those of the first items."""
    captions = [dataset.caption(0, index) for index in range(min(len(dataset), _LOOKED_AT))]
    if cut := dataset.maker.count_cut(captions):
        length = dataset.form.length
        logger.warning("%s: %d of %d captions are cut to %d tokens", place, cut, len(captions), length)


def _warn(place: str, findings: Findings) -> None:
    for line in findings.lines():
        logger.warning("%s: %s", place, line)
