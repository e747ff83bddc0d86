"""Simulated LiDAR drives: a procedural street, moving road users, ray-cast sweeps and exact scene flow."""

from __future__ import annotations

from equissl.datasets.lidar.simulated.drive import SimulatedDrive, simulated_sequence
from equissl.datasets.lidar.simulated.options import CATEGORIES, DriveOptions, SimulationError

__all__ = ["CATEGORIES", "DriveOptions", "SimulatedDrive", "SimulationError", "simulated_sequence"]
