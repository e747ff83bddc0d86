"""Sequences of views of natural images: augmentations and saccades."""

from equissl.datasets.images.sequences.augmentations import AugmentationSequences, Recipe
from equissl.datasets.images.sequences.base import ImageSequences
from equissl.datasets.images.sequences.create import IMAGE_SEQUENCES, open_sequences, write_sequences
from equissl.datasets.images.sequences.saccades import SaccadeSequences
from equissl.datasets.images.sequences.saliency import CentreBias, Precomputed, Saliency, SpectralResidual, Uniform
from equissl.datasets.images.sources import ImagesError, ImageSource, read_images

__all__ = [
    "IMAGE_SEQUENCES",
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
