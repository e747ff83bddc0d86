"""Flow equivariant recurrent networks: velocity sets, cell, predictor, classifier, and checks of their equivariance."""

from equissl.encoders.recurrent.aggregator import RecurrentAggregator, RecurrentTokenAggregator
from equissl.encoders.recurrent.cell import (
    LearnedTransport,
    RecurrentCell,
    RecurrentState,
    pool_velocities,
    recurrent_cell,
)
from equissl.encoders.recurrent.checks import assert_flow_equivariant, equivariance_error
from equissl.encoders.recurrent.classifier import VideoClassifier, VideoCNN
from equissl.encoders.recurrent.planar_conv import CyclicConv, LiftConv, ProjectConv, RegularConv, steerable_basis
from equissl.encoders.recurrent.predictor import VideoPredictor, video_predictor
from equissl.encoders.recurrent.velocities import (
    CyclicVelocities,
    RotationVelocities,
    TranslationVelocities,
    Velocity,
    VelocitySet,
)

__all__ = [
    "CyclicConv",
    "CyclicVelocities",
    "LearnedTransport",
    "LiftConv",
    "ProjectConv",
    "RecurrentAggregator",
    "RecurrentCell",
    "RecurrentState",
    "RecurrentTokenAggregator",
    "RegularConv",
    "RotationVelocities",
    "TranslationVelocities",
    "Velocity",
    "VelocitySet",
    "VideoCNN",
    "VideoClassifier",
    "VideoPredictor",
    "assert_flow_equivariant",
    "equivariance_error",
    "pool_velocities",
    "recurrent_cell",
    "steerable_basis",
    "video_predictor",
]
