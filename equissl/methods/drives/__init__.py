"""Self-supervised methods on pairs of LiDAR sweeps, one file each."""

from equissl.methods.drives.base import SceneMethod
from equissl.methods.drives.cell_contrast import CellContrast
from equissl.methods.drives.contrast import ContrastConfig
from equissl.methods.drives.e_ssl3d import ESSL3D
from equissl.methods.drives.flow_equivariance import FlowConfig
from equissl.methods.drives.occupancy import Occupancy
from equissl.methods.drives.scene_invariant import SceneInvariant

__all__ = [
    "ESSL3D",
    "CellContrast",
    "ContrastConfig",
    "FlowConfig",
    "Occupancy",
    "SceneInvariant",
    "SceneMethod",
]
