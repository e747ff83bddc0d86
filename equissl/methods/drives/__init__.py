"""Self-supervised methods on pairs of LiDAR sweeps, one file each."""

from equissl.methods.drives.base import DriveMethod
from equissl.methods.drives.cell_contrast import CellContrast
from equissl.methods.drives.contrast import ContrastConfig
from equissl.methods.drives.e_ssl3d import ESSL3D
from equissl.methods.drives.occupancy import Occupancy
from equissl.methods.drives.scene_flow_equivariance import FlowConfig
from equissl.methods.drives.sweep_invariant import SweepInvariant

__all__ = [
    "ESSL3D",
    "CellContrast",
    "ContrastConfig",
    "DriveMethod",
    "FlowConfig",
    "Occupancy",
    "SweepInvariant",
]
