"""Self-supervised methods, one file each. A new one subclasses `Method` and is named in `METHODS`."""

from equissl.methods.aug_self import AugSelf
from equissl.methods.base import EncoderConfig, Method, StepOutput, normalize_images
from equissl.methods.capsie import CapsIE
from equissl.methods.composed import Composed
from equissl.methods.conv_jepa import ConvJEPA
from equissl.methods.equicaps import EquiCaps
from equissl.methods.fernn import FERNN, FlowClassification
from equissl.methods.group_equivariant import GroupEquivariant
from equissl.methods.invariant import Invariant
from equissl.methods.scenes import ESSL3D, CellContrast, Occupancy, SceneInvariant, SceneMethod
from equissl.methods.seq_jepa import SeqJEPA
from equissl.methods.sie import SIE
from equissl.methods.simclr import SimCLR
from equissl.methods.supervised import Supervised
from equissl.methods.vicreg import VICReg

METHODS: dict[str, type[Method]] = {
    method.__name__: method
    for method in (
        VICReg,
        SimCLR,
        Invariant,
        AugSelf,
        Composed,
        ConvJEPA,
        SIE,
        EquiCaps,
        CapsIE,
        GroupEquivariant,
        SeqJEPA,
        Supervised,
        FERNN,
        FlowClassification,
        ESSL3D,
        CellContrast,
        SceneInvariant,
        Occupancy,
    )
}

__all__ = [
    "ESSL3D",
    "FERNN",
    "METHODS",
    "SIE",
    "AugSelf",
    "CapsIE",
    "CellContrast",
    "Composed",
    "ConvJEPA",
    "EncoderConfig",
    "EquiCaps",
    "FlowClassification",
    "GroupEquivariant",
    "Invariant",
    "Method",
    "Occupancy",
    "SceneInvariant",
    "SceneMethod",
    "SeqJEPA",
    "SimCLR",
    "StepOutput",
    "Supervised",
    "VICReg",
    "normalize_images",
]
