"""Self-supervised methods, one file each. A new one subclasses `Method` and is named in `METHODS`."""

from equissl.methods.base import EncoderConfig, Method, StepOutput, normalize_images
from equissl.methods.drives import ESSL3D, CellContrast, DriveMethod, Occupancy, SweepInvariant
from equissl.methods.videos.fernn import FERNN, VideoClassification
from equissl.methods.views.aug_self import AugSelf
from equissl.methods.views.capsie import CapsIE
from equissl.methods.views.composed import Composed
from equissl.methods.views.conv_jepa import ConvJEPA
from equissl.methods.views.equicaps import EquiCaps
from equissl.methods.views.group_equivariant import GroupEquivariant
from equissl.methods.views.invariant import Invariant
from equissl.methods.views.seq_jepa import SeqJEPA
from equissl.methods.views.sie import SIE
from equissl.methods.views.simclr import SimCLR
from equissl.methods.views.supervised import Supervised
from equissl.methods.views.vicreg import VICReg

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
        VideoClassification,
        ESSL3D,
        CellContrast,
        SweepInvariant,
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
    "DriveMethod",
    "EncoderConfig",
    "EquiCaps",
    "GroupEquivariant",
    "Invariant",
    "Method",
    "Occupancy",
    "SeqJEPA",
    "SimCLR",
    "StepOutput",
    "Supervised",
    "SweepInvariant",
    "VICReg",
    "VideoClassification",
    "normalize_images",
]
