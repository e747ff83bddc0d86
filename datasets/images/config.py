"""Section ``data`` of runs on images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from equissl.datasets.config import DataConfig
from equissl.datasets.images.formats import AUTO
from equissl.datasets.views.live.spec import LiveSpec


@dataclass(kw_only=True)
class ImagesData(DataConfig):
    """Ordinary images, and the views that are made of them while training.

    Attributes:
        root: folder of the images, or a view store.
        format: ``folder``, ``cifar10``, ``cifar100``, ``stl10``, ``mnist``, ``views``, an import path, or ``auto``,
            which recognises it; see `equissl.datasets.images.formats.FORMATS`.
        split: images to train on; ``unlabeled`` are STL-10's, or those of a folder of that name.
        val_fraction: share of each class that is held out where the images come without a validation split.
        labels: share of the training images of each class that is learnt from, chosen by ``label_seed``; a larger share
            holds the images of a smaller one. At least one image of each class.
        label_seed: of the share.
        size: side of a view in pixels; None takes that of the images, which then must be of one size.
        generated: folder of generated images, or a view store of rendered ones, all of which are trained on beside the
            real ones of ``root``; evaluation does not see them. Empty for none.
        live: render the generated images while training instead, one view of each training object in an epoch and
            another one in the next, see `LiveViews`.
        replicate: copies of the real images in an epoch, at least 1 (AdaInf's data inflation; see
            `equissl.datasets.samplers.Inflated`). Without generated images it makes an epoch that much longer.
        real_share: share of an epoch's images that are real, in place of ``replicate``.
        form: ``augmentations``, or ``saccades`` (fixations, told the eye's movements).
        policy: of augmentations: ``simclr``, ``asymmetric`` (BYOL, VICReg), ``multi_crop``, ``centre_suppressed``,
            ``obow``, each also as ``…_cifar``, ``seq_jepa``, ``none``, or an import path; see
            `equissl.datasets.images.policies`.
        strength: of the policy's crops and colours: 1 is the policy, 0.5 makes of ``simclr`` AdaInf's weak
            augmentation, 0 leaves neither; see `equissl.datasets.images.policies.Recipe.scaled`.
        policy_options: values in place of the policy's, ``{flip: 0}``; those below ``last`` are of the last view alone.
        form_options: further arguments of the form, such as ``patch`` and ``saliency`` of saccades.
    """

    root: str = ""
    format: str = AUTO
    split: Literal["train", "unlabeled"] = "train"
    val_fraction: float = 0.1
    labels: float = 1.0
    label_seed: int = 0
    size: int | None = None
    generated: str = ""
    live: LiveSpec | None = None
    replicate: float = 1.0
    real_share: float | None = None
    form: str = "augmentations"
    policy: str = "simclr"
    strength: float = 1.0
    policy_options: dict[str, Any] = field(default_factory=dict)
    form_options: dict[str, Any] = field(default_factory=dict)
