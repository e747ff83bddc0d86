"""Simulated LiDAR drives: a procedural street, moving road users, ray-cast sweeps and exact scene flow."""

from __future__ import annotations

from equissl.datasets.drives.simulated.drive import SimulatedDrive, simulated_drive
from equissl.datasets.drives.simulated.options import CATEGORIES, DriveOptions, SimulationError

__all__ = ["CATEGORIES", "DriveOptions", "SimulatedDrive", "SimulationError", "simulated_drive"]
