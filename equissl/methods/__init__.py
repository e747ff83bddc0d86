"""Self-supervised methods, one file each. A new one subclasses `Method` and is named in `METHODS`."""

from equissl.methods.aug_self import AugSelf
from equissl.methods.base import EncoderConfig, Method, StepOutput, normalize_images
from equissl.methods.capsie import CapsIE
from equissl.methods.composed import Composed
from equissl.methods.equicaps import EquiCaps
from equissl.methods.group_equivariant import GroupEquivariant
from equissl.methods.invariant import Invariant
from equissl.methods.sie import SIE
from equissl.methods.simclr import SimCLR
from equissl.methods.supervised import Supervised
from equissl.methods.vicreg import VICReg

METHODS: dict[str, type[Method]] = {
    method.__name__: method
    for method in (VICReg, SimCLR, Invariant, AugSelf, Composed, SIE, EquiCaps, CapsIE, GroupEquivariant, Supervised)
}

__all__ = [
    "METHODS",
    "SIE",
    "AugSelf",
    "CapsIE",
    "Composed",
    "EncoderConfig",
    "EquiCaps",
    "GroupEquivariant",
    "Invariant",
    "Method",
    "SimCLR",
    "StepOutput",
    "Supervised",
    "VICReg",
    "normalize_images",
]
