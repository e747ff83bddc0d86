"""Sequences of views of natural images: augmentations and saccades."""

from equissl.datasets.images.sequences.augmentations import AugmentationSequences, SmallCrops
from equissl.datasets.images.sequences.base import ImageSequences, MadeViews
from equissl.datasets.images.sequences.create import IMAGE_SEQUENCES, choose_policy, open_sequences, write_sequences
from equissl.datasets.images.sequences.saccades import SaccadeSequences
from equissl.datasets.images.sequences.saliency import CentreBias, Precomputed, Saliency, SpectralResidual, Uniform

__all__ = [
    "IMAGE_SEQUENCES",
    "AugmentationSequences",
    "CentreBias",
    "ImageSequences",
    "MadeViews",
    "Precomputed",
    "SaccadeSequences",
    "Saliency",
    "SmallCrops",
    "SpectralResidual",
    "Uniform",
    "choose_policy",
    "open_sequences",
    "write_sequences",
]
