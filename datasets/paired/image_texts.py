"""Captioned images as paired data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from equissl.datasets.images.policies import PLAIN, POLICIES, Policy
from equissl.datasets.images.sequences.augmentations import AugmentationSequences
from equissl.datasets.paired.batch import PairedBatch
from equissl.datasets.paired.captioned import CaptionedImages
from equissl.datasets.paired.form import PairedForm, TextMaker
from equissl.datasets.paired.text_policies import TEXT_POLICIES, TextPolicy
from equissl.datasets.sampling import mix

Address = tuple[int, int]  # (epoch, index)
_CAPTION = 0xCA97104  # keeps the choice of captions apart from that of augmentations


class ImageTexts(Dataset):
    """Captioned images: V augmented views and T texts of each, nothing turns.

    Items are addressed by (epoch, index): the same address gives the same batch in any order, process and worker. Of an
    image with several captions each visit takes one.

    Args:
        images: with their captions.
        form: what the method asks for.
        split: which part of the images it is.
        seed: of all that is random.
        size: side of a view; None takes the images' height.
        policy: of the views.
        text_policy: of all texts but the first.
        clean_image: the first view is the image without augmentation.

    Raises:
        ValueError: a form with clouds.
    """

    items = "images"
    views = 1  # images that count as seen

    def __init__(
        self,
        images: CaptionedImages,
        form: PairedForm,
        split: str | None = "train",
        seed: int = 0,
        size: int | None = None,
        policy: Policy = POLICIES["simclr"],
        text_policy: TextPolicy = TEXT_POLICIES["words"],
        clean_image: bool = False,
    ) -> None:
        if form.clouds:
            raise ValueError(f"captioned images have no point clouds, and the method asks for {form.clouds} of each")
        self.store, self.captions, self.findings = images.source, images.captions, images.findings
        self.form, self.split, self.seed = form, split, seed
        self.made = AugmentationSequences(images.source, split, form.views, seed, size, policy)
        if clean_image:
            self.made.recipes = [PLAIN, *self.made.recipes[1:]]
        self.maker = TextMaker(form, text_policy, seed)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, address: Address) -> PairedBatch:
        """Return one item, as a batch of one."""
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[Address]) -> PairedBatch:
        """Return the batch of items at ``addresses``, a list of (epoch, index)."""
        epochs, indices = np.asarray(addresses, dtype=np.int64).T
        views = self.made.__getitems__(addresses)
        texts = self.maker.batch([self.caption(*address) for address in addresses], epochs, indices)
        assert views.objects is not None
        return PairedBatch(views, None, texts, views.labels, views.objects)

    def caption(self, epoch: int, index: int) -> str:
        """Return the caption that a visit takes.

        Args:
            epoch, index: address of the item.
        """
        drawn = int(mix(self.seed, _CAPTION, epoch, index) % np.uint64(self.captions.count(index)))
        return self.captions.read(index, drawn)
