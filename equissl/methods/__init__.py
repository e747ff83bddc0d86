"""Methods by name, one file each: a new one subclasses `ViewMethod`, `DriveMethod`, … and takes one line here.

Those of other packages are found through entry points in the group ``equissl.methods``, or by import path.
"""

from typing import Any

from equissl.methods.base import Method, Phase, StepOutput
from equissl.util.registry import Registry

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "VICReg": "equissl.methods.views.vicreg:VICReg",
        "SimCLR": "equissl.methods.views.simclr:SimCLR",
        "Invariant": "equissl.methods.views.invariant:Invariant",
        "Concatenated": "equissl.methods.views.concatenated:Concatenated",
        "AugSelf": "equissl.methods.views.aug_self:AugSelf",
        "Composed": "equissl.methods.views.composed:Composed",
        "ConvJEPA": "equissl.methods.views.conv_jepa:ConvJEPA",
        "CMIM": "equissl.methods.views.cmim:CMIM",
        "MAE": "equissl.methods.views.mae:MAE",
        "MixedAE": "equissl.methods.views.mixed_ae:MixedAE",
        "SIRL": "equissl.methods.views.sirl:SIRL",
        "Translator": "equissl.methods.views.translator:Translator",
        "CDvG": "equissl.methods.views.cdvg:CDvG",
        "SIE": "equissl.methods.views.sie:SIE",
        "EquiCaps": "equissl.methods.views.equicaps:EquiCaps",
        "CapsIE": "equissl.methods.views.capsie:CapsIE",
        "GroupEquivariant": "equissl.methods.views.group_equivariant:GroupEquivariant",
        "CustomContrast": "equissl.methods.views.custom_contrast:CustomContrast",
        "OBoW": "equissl.methods.views.obow:OBoW",
        "SeqJEPA": "equissl.methods.views.seq_jepa:SeqJEPA",
        "Classifier": "equissl.methods.views.classifier:Classifier",
        "CoreTuning": "equissl.methods.views.core_tuning:CoreTuning",
        "Supervised": "equissl.methods.views.supervised:Supervised",
        "CrossModal": "equissl.methods.paired.cross_modal:CrossModal",
        "M3CoL": "equissl.methods.paired.m3col:M3CoL",
        "TCL": "equissl.methods.paired.tcl:TCL",
        "PairedEquivariant": "equissl.methods.paired.equivariant:PairedEquivariant",
        "FERNN": "equissl.methods.videos.fernn:FERNN",
        "VideoClassification": "equissl.methods.videos.fernn:VideoClassification",
        "SASRec": "equissl.methods.interactions.sasrec:SASRec",
        "MCLRec": "equissl.methods.interactions.mclrec:MCLRec",
        "ESSL3D": "equissl.methods.drives.e_ssl3d:ESSL3D",
        "CellContrast": "equissl.methods.drives.cell_contrast:CellContrast",
        "SweepInvariant": "equissl.methods.drives.sweep_invariant:SweepInvariant",
        "Occupancy": "equissl.methods.drives.occupancy:Occupancy",
        "SECOND": "equissl.detection.second:SECOND",
        "CenterPoint": "equissl.detection.center_point:CenterPoint",
        "VoxelRCNN": "equissl.detection.voxel_rcnn:VoxelRCNN",
    },
    group="equissl.methods",
    base=Method,
)

__all__ = ["METHODS", "Method", "Phase", "StepOutput"]


def __getattr__(name: str) -> Any:
    """Import any registered method when it is asked for, as in ``from equissl.methods import SIE``."""
    if name in METHODS:
        return METHODS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
