"""Kind ``images``: ordinary images, with views that augmentations or fixations make of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from equissl.datasets.hdf5 import declared_format
from equissl.datasets.images.config import ImagesData
from equissl.datasets.images.formats import find_format
from equissl.datasets.images.formats.mnist import Mnist
from equissl.datasets.images.open import inflate, open_form, open_source
from equissl.datasets.images.sequences import ImageSequences, SmallCrops
from equissl.datasets.images.sources import ImagesError, ImageSource
from equissl.datasets.samplers import Inflated
from equissl.datasets.views.store.format import FORMAT
from equissl.datasets.views.store.index import is_index
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.images.encoding import encode_images
from equissl.evaluation.images.evaluate import choose_size, evaluate_images
from equissl.kinds.image_kind import ImageKind
from equissl.methods import Method
from equissl.reporting.images.page import page
from equissl.reporting.images.table import baselines, columns
from equissl.runs.config import ConfigError, PretrainConfig
from equissl.util.listing import holds
from equissl.weights.images import image_card


class Images(ImageKind):
    """Folders of images, and data sets in their original formats."""

    name = "images"
    data, options = ImagesData, ImageOptions
    source = "a folder of images, a view store, or CIFAR's, STL-10's or MNIST's files"
    place = "root"
    evaluate = staticmethod(evaluate_images)
    columns, baselines, page = staticmethod(columns), staticmethod(baselines), staticmethod(page)

    def recognises(self, path: Path) -> bool:
        if not path.is_dir() or is_index(path) or holds(path, "*.h5"):  # stores may have pictures beside them
            return False
        try:
            return not isinstance(find_format(path), Mnist)  # videos are made of MNIST too
        except ImagesError:
            return False

    def resolve(self, data: ImagesData) -> ImagesData:
        data = super().resolve(data)
        if data.generated:
            data = replace(data, generated=str(Path(data.generated).resolve()))
        return data if data.live is None else replace(data, live=data.live.resolved())

    def accepts(self, path: Path) -> bool:
        return self.recognises(path) or declared_format(path) == FORMAT

    def open(self, config: PretrainConfig, method: Method, split: str | None = "train") -> ImageSequences:
        data = cast(ImagesData, config.data)
        if method.learns_from_queries:
            raise ConfigError(
                f"{type(method).__name__} learns from queries about rendered views: expected data.kind views"
            )
        if not data.root:
            raise ConfigError(f"expected data.root to be {self.source}")
        try:
            source, sampler = self._images(config, split)
            dataset = open_form(data, source, method.views, config.seed, small_crops(method))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        dataset.sampler = sampler
        if not source.wholly_labelled and method.objective is not None and "labels" in method.objective.needs:
            raise ConfigError(f"the objective needs labels, and not all images of {source.path} have one")
        self.check_classes(method, dataset)
        return dataset

    def represent(self, config: PretrainConfig, method: Any, part: str) -> Tensor:
        try:
            source = self._images(config, "train")[0]
            return encode_images(method, source, choose_size(config, source, ImageOptions()), part)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _images(self, config: PretrainConfig, split: str | None) -> tuple[ImageSource, Inflated | None]:
        """Open the images of a split, with the order of their epochs where it is not the usual one."""
        data = cast(ImagesData, config.data)
        source = open_source(data, split)
        # generated images are there to learn from alone
        return inflate(data, source, config.seed) if split in ("train", None) else (source, None)

    def card(self, method: Any, config: PretrainConfig) -> dict[str, Any]:
        card = image_card(method, config)
        return card | {"image_size": card["image_size"] or cast(ImagesData, config.data).size}


def small_crops(method: Any) -> SmallCrops | None:
    """The small crops that a method asks for; None for one without."""
    count = getattr(method, "small_crops", 0)
    return SmallCrops(count, method.small_size, tuple(method.small_scale)) if count else None


IMAGES = Images()
