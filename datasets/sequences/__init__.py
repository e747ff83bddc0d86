"""Sequences of views of natural images: augmentations and saccades."""

from equissl.datasets.sequences.augmentations import AugmentationSequences, Recipe
from equissl.datasets.sequences.base import ImageSequences
from equissl.datasets.sequences.create import KINDS, open_sequences, write_sequences
from equissl.datasets.sequences.images import ImagesError, ImageSource, read_images
from equissl.datasets.sequences.saccades import SaccadeSequences
from equissl.datasets.sequences.saliency import CentreBias, Precomputed, Saliency, SpectralResidual, Uniform

__all__ = [
    "KINDS",
    "AugmentationSequences",
    "CentreBias",
    "ImageSequences",
    "ImageSource",
    "ImagesError",
    "Precomputed",
    "Recipe",
    "SaccadeSequences",
    "Saliency",
    "SpectralResidual",
    "Uniform",
    "open_sequences",
    "read_images",
    "write_sequences",
]
