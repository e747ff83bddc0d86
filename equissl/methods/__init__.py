"""Self-supervised methods, one file each. A new one subclasses `Method` and is named in `METHODS`."""

from equissl.methods.base import EncoderConfig, Method, StepOutput, normalize_images
from equissl.methods.equicaps import EquiCaps
from equissl.methods.sie import SIE
from equissl.methods.simclr import SimCLR
from equissl.methods.supervised import Supervised
from equissl.methods.vicreg import VICReg

METHODS: dict[str, type[Method]] = {method.__name__: method for method in (VICReg, SimCLR, SIE, EquiCaps, Supervised)}

__all__ = [
    "METHODS",
    "SIE",
    "EncoderConfig",
    "EquiCaps",
    "Method",
    "SimCLR",
    "StepOutput",
    "Supervised",
    "VICReg",
    "normalize_images",
]
