"""Section ``data`` of runs on paired modalities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from equissl.datasets.config import DataConfig

CloudFrame = Literal["object", "view", "random"]


@dataclass(kw_only=True)
class PairedData(DataConfig):
    """The same objects as images, point clouds and texts.

    Attributes:
        store: view store, with clouds where the method asks for them (`equissl render --points`); or captioned images:
            a CSV file, a folder with ``captions.csv``, or tar shards, see `equissl.datasets.paired.captioned`.
        captions: caption file of the objects of a view store, by their names, in place of generated captions.
        objects: train on so many of the training objects of a view store; None takes all.
        labels: share of the training objects of each class that is learnt from, of a view store.
        label_seed: of the share.
        words: attributes that generated captions speak of, in this order, see `equissl.datasets.paired.words`; None
            takes all that the store holds.
        text_policy: of all texts but the first: ``words``, ``synonyms``, ``none``, or an import path; see
            `equissl.datasets.paired.text_policies`.
        text_policy_options: chances in place of the policy's, ``{deletion: 0.2}``.
        points: P, points of a cloud, other ones of those stored at each visit; None takes all that are stored.
        cloud_frame: reference frame of the clouds: ``object``, the object's own; ``view``, cloud c in that of view c;
            ``random``, turned by a rotation drawn uniformly from SO(3) at each visit.
        val_fraction: share of captioned images of each class that is held out where they have no split of their own.
        size: side of a view of captioned images in pixels.
        policy: of augmentations of captioned images, see `equissl.datasets.images.policies`.
        strength: of the policy's crops and colours.
        policy_options: values in place of the policy's.
        clean_image: the first view of a captioned image is the image without augmentation, as the first text is.
    """

    store: str = ""
    captions: str = ""
    objects: int | None = None
    labels: float = 1.0
    label_seed: int = 0
    words: list[str] | None = None
    text_policy: str = "words"
    text_policy_options: dict[str, Any] = field(default_factory=dict)
    points: int | None = None
    cloud_frame: CloudFrame = "object"
    val_fraction: float = 0.1
    size: int | None = None
    policy: str = "simclr"
    strength: float = 1.0
    policy_options: dict[str, Any] = field(default_factory=dict)
    clean_image: bool = False
