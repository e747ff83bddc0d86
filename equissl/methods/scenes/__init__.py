"""Self-supervised methods on pairs of LiDAR sweeps, one file each."""

from equissl.methods.scenes.base import SceneMethod
from equissl.methods.scenes.cell_contrast import CellContrast
from equissl.methods.scenes.contrast import ContrastConfig
from equissl.methods.scenes.e_ssl3d import ESSL3D
from equissl.methods.scenes.flow_equivariance import FlowConfig
from equissl.methods.scenes.occupancy import Occupancy
from equissl.methods.scenes.scene_invariant import SceneInvariant

__all__ = [
    "ESSL3D",
    "CellContrast",
    "ContrastConfig",
    "FlowConfig",
    "Occupancy",
    "SceneInvariant",
    "SceneMethod",
]
