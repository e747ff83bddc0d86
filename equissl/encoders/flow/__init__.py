"""Flow equivariant recurrent networks: velocity sets, cell, predictor, classifier, and checks of their equivariance."""

from equissl.encoders.flow.aggregator import FlowAggregator, FlowTokenAggregator
from equissl.encoders.flow.cell import FlowCell, FlowState, LearnedTransport, flow_cell, pool_velocities
from equissl.encoders.flow.checks import assert_flow_equivariant, equivariance_error
from equissl.encoders.flow.classifier import FlowClassifier, VideoCNN
from equissl.encoders.flow.flows import CyclicFlow, Flow, RotationFlow, TranslationFlow, Velocity
from equissl.encoders.flow.planar_conv import CyclicConv, LiftConv, ProjectConv, RegularConv, steerable_basis
from equissl.encoders.flow.predictor import FlowPredictor, flow_predictor

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
