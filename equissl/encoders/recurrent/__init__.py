"""Flow equivariant recurrent networks: velocity sets, cell, predictor, classifier, and checks of their equivariance."""

from equissl.encoders.recurrent.aggregator import FlowAggregator, FlowTokenAggregator
from equissl.encoders.recurrent.cell import FlowCell, FlowState, LearnedTransport, flow_cell, pool_velocities
from equissl.encoders.recurrent.checks import assert_flow_equivariant, equivariance_error
from equissl.encoders.recurrent.classifier import FlowClassifier, VideoCNN
from equissl.encoders.recurrent.planar_conv import CyclicConv, LiftConv, ProjectConv, RegularConv, steerable_basis
from equissl.encoders.recurrent.predictor import FlowPredictor, flow_predictor
from equissl.encoders.recurrent.velocities import CyclicFlow, Flow, RotationFlow, TranslationFlow, Velocity

__all__ = [
    "CyclicConv",
    "CyclicFlow",
    "Flow",
    "FlowAggregator",
    "FlowCell",
    "FlowClassifier",
    "FlowPredictor",
    "FlowState",
    "FlowTokenAggregator",
    "LearnedTransport",
    "LiftConv",
    "ProjectConv",
    "RegularConv",
    "RotationFlow",
    "TranslationFlow",
    "Velocity",
    "VideoCNN",
    "assert_flow_equivariant",
    "equivariance_error",
    "flow_cell",
    "flow_predictor",
    "pool_velocities",
    "steerable_basis",
]
