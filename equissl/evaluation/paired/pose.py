"""Pose of an object in an image, found by matching the image's irreps with those of the object's cloud."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.evaluation.paired.config import PoseOptions
from equissl.geometry import geodesic_angle
from equissl.metrics.pose_matching import Shapes, refined_matching_errors


@dataclass(frozen=True)
class PoseTask:
    """Images, their objects' clouds and rotations, and the rotations that training views have.

    Attributes:
        image, cloud: (N, E) irreps, clouds in the object's own reference frame.
        shapes: copies and degree of each term.
        rotations: (N, 3, 3) of the objects in the images.
        known: (M, 3, 3) rotations of training views, which candidates are drawn from.
    """

    image: Tensor
    cloud: Tensor
    shapes: Shapes
    rotations: Tensor
    known: Tensor


def pose_errors(task: PoseTask, options: PoseOptions, seed: int = 0) -> Tensor:
    """Match each image with its object's cloud, and compute the angles (N,) between the found and the true rotations.

    Args:
        task: what to match.
        options: candidates and refinement.
        seed: of the choice of candidates.

    Returns:
        degrees, float64 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    candidates = task.known[torch.randperm(len(task.known), generator=generator)[: options.candidates]]
    return refined_matching_errors(
        task.image,
        task.cloud,
        task.shapes,
        candidates.to(task.image),
        task.rotations,
        options.refinements,
        spacing(candidates),
    )


def spacing(rotations: Tensor, most: int = 512) -> float:
    """Median angle from a rotation to the nearest other one, in radians.

    Args:
        rotations: (C, 3, 3).
        most: rotations that are looked at.
    """
    if len(rotations) < 2:
        return 1.0
    some = rotations[:most]
    angles = geodesic_angle(some[:, None], rotations[None])
    angles[torch.arange(len(some)), torch.arange(len(some))] = torch.inf
    return max(float(angles.amin(dim=1).median()), 1e-3)


def constant_errors(rotations: Tensor, known: Tensor) -> Tensor:
    """Compute the angles (N,) in degrees between rotations and the best constant answer, training views' mean rotation.

    Args:
        rotations: (N, 3, 3) true ones.
        known: (M, 3, 3) of training views.
    """
    left, _, right = torch.linalg.svd(known.double().mean(dim=0))
    turn = torch.diag(torch.tensor([1.0, 1.0, float(torch.det(left @ right).sign())], dtype=torch.float64))
    return geodesic_angle((left @ turn @ right).expand(len(rotations), 3, 3), rotations.double()).rad2deg()
