"""Predictors of one view's embedding from that of another and an action."""

from equissl.predictors.action_predictor import ActionPredictor
from equissl.predictors.create import PREDICTORS, create_predictor
from equissl.predictors.embedded_action import ActionProjector, EmbeddedActionPredictor
from equissl.predictors.group_representation import GroupRepresentation
from equissl.predictors.hypernetwork import HypernetworkInit, LinearHypernetwork
from equissl.predictors.mlp import MLPPredictor
from equissl.predictors.pose_action import pose_action

__all__ = [
    "PREDICTORS",
    "ActionPredictor",
    "ActionProjector",
    "EmbeddedActionPredictor",
    "GroupRepresentation",
    "HypernetworkInit",
    "LinearHypernetwork",
    "MLPPredictor",
    "create_predictor",
    "pose_action",
]
