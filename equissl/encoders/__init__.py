"""Image encoders, projectors and capsules."""

from equissl.encoders.base import Encoder
from equissl.encoders.capsule import CapsuleProjector, SelfRouting
from equissl.encoders.create import ENCODERS, create_encoder
from equissl.encoders.projector import Projector, split_sizes
from equissl.encoders.resnet import ResNet, Stem, resnet18, resnet34, resnet50
from equissl.encoders.sync_batchnorm import SyncBatchNorm, convert_sync_batchnorm

__all__ = [
    "ENCODERS",
    "CapsuleProjector",
    "Encoder",
    "Projector",
    "ResNet",
    "SelfRouting",
    "Stem",
    "SyncBatchNorm",
    "convert_sync_batchnorm",
    "create_encoder",
    "resnet18",
    "resnet34",
    "resnet50",
    "split_sizes",
]
