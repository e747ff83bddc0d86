"""Scene flow between two sweeps: read from files, from poses, from boxes, or estimated without labels.

All providers keep the convention of :mod:`equissl.datasets.drives.sweep`: ``points + flow`` lies on the next sweep, in
its frame.
"""

from __future__ import annotations

from equissl.scene_flow.annotate import FlowReport, write_flow_store
from equissl.scene_flow.base import FlowError, FlowEstimate, FlowProvider, add_flow
from equissl.scene_flow.boxes import BoxFlow
from equissl.scene_flow.ego import EgoFlow
from equissl.scene_flow.file import FileFlow
from equissl.scene_flow.icp_cluster import ClusterFlow
from equissl.scene_flow.nsfp import NeuralPriorFlow
from equissl.scene_flow.registry import PROVIDERS, get_flow_provider

__all__ = [
    "PROVIDERS",
    "BoxFlow",
    "ClusterFlow",
    "EgoFlow",
    "FileFlow",
    "FlowError",
    "FlowEstimate",
    "FlowProvider",
    "FlowReport",
    "NeuralPriorFlow",
    "add_flow",
    "get_flow_provider",
    "write_flow_store",
]
