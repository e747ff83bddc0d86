"""Sequences of views of natural images: augmentations and saccades."""

from equissl.datasets.images.sequences.augmentations import AugmentationSequences, SmallCrops
from equissl.datasets.images.sequences.base import ImageSequences, MadeViews
from equissl.datasets.images.sequences.create import FORMS, choose_policy, open_sequences, write_sequences
from equissl.datasets.images.sequences.saccades import SaccadeSequences
from equissl.datasets.images.sequences.saliency import CentreBias, Precomputed, Saliency, SpectralResidual, Uniform

__all__ = [
    "FORMS",
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
