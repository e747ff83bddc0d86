"""Scene flow between two sweeps: read from files, from poses, from boxes, or estimated without labels.

All providers keep the convention of :mod:`equissl.datasets.lidar.sweep`: ``points + flow`` lies on the next sweep, in
its frame.
"""

from __future__ import annotations

from equissl.flow.annotate import FlowReport, write_flow_store
from equissl.flow.base import FlowError, FlowEstimate, FlowProvider, add_flow
from equissl.flow.boxes import BoxFlow
from equissl.flow.ego import EgoFlow
from equissl.flow.file import FileFlow, write_flow_file
from equissl.flow.icp_cluster import ClusterFlow
from equissl.flow.nsfp import NeuralPriorFlow
from equissl.flow.registry import PROVIDERS, get_flow_provider
from equissl.flow.score import score_flow

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
    "score_flow",
    "write_flow_file",
    "write_flow_store",
]
