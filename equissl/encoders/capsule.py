"""Capsules: the non-iterative self-routing layer and the projector that EquiCaps builds on it.

Hahn et al. 2019 (self-routing capsule networks), as used by EquiCaps (arXiv 2506.09895).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from equissl.losses import full_precision

# Numbers that one temporary of the pose contraction may hold (64 MiB in float32) before it is done in pieces.
_TEMPORARY_NUMEL = 2**24
# Below this the sum of the routed activations counts as none: a capsule nobody routes to has a zero pose, not NaN.
_EPS = 1e-8


def route(activations: Tensor, poses: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the output activations, and the weight of each input capsule in each output capsule.

    Args:
        activations: (b, N) non-negative.
        poses: (b, N, C).
        weight: (N, J, C) routing weights W2.
        bias: (N, J).

    Returns:
        Activations (b, J), non-negative with sum 1, and coefficients (b, N, J) with sum 1 over N.
    """
    routing = torch.softmax(torch.einsum("bnc,njc->bnj", poses, weight) + bias, dim=-1)
    routed = activations.unsqueeze(-1) * routing
    received = routed.sum(dim=1)
    total = activations.sum(dim=1, keepdim=True).clamp_min(_EPS)
    return received / total, routed / received.clamp_min(_EPS).unsqueeze(1)


def weighted_votes(coefficients: Tensor, poses: Tensor, weight: Tensor) -> Tensor:
    """Compute the output poses Σ_i coefficient_ij · (W1_ij u_i), without the (b, N, J, D) votes.

    Output capsules are independent, so they are done in groups small enough for one temporary; what a group needs for
    its gradient is computed again in the backward pass.

    Args:
        coefficients: (b, N, J).
        poses: u, (b, N, C).
        weight: W1, (N, J·D, C).

    Returns:
        (b, J, D).
    """
    batch, inputs, outputs = coefficients.shape
    weights = weight.view(inputs, outputs, -1, weight.shape[-1])
    group = max(1, _TEMPORARY_NUMEL // max(1, batch * inputs * weight.shape[-1]))
    if group >= outputs:
        return _votes_of_group(coefficients, poses, weights)
    pieces = zip(coefficients.split(group, dim=2), weights.split(group, dim=1), strict=True)
    return torch.cat(
        [checkpoint(_votes_of_group, c, poses, w, use_reentrant=False, preserve_rng_state=False) for c, w in pieces],
        dim=1,
    )


def _votes_of_group(coefficients: Tensor, poses: Tensor, weights: Tensor) -> Tensor:
    scaled = coefficients.permute(2, 0, 1).unsqueeze(-1) * poses  # (j, b, N, C)
    matrices = weights.permute(1, 0, 3, 2).flatten(1, 2)  # (j, N·C, D)
    return torch.bmm(scaled.flatten(2), matrices).transpose(0, 1)


class SelfRouting(nn.Module):
    """Self-routing of A input capsules to J output capsules over k × k patches, without padding, stride 1.

    Each input capsule at each kernel position votes with its own linear map and chooses where to vote with its own
    routing weights, which start at zero: routing is uniform at first. Full precision, also under autocast.

    Args:
        in_capsules: A.
        out_capsules: J.
        in_pose: numbers C in an input pose.
        out_pose: numbers D in an output pose.
        kernel: k; the layer has N = k²·A input capsules a patch.
    """

    def __init__(self, in_capsules: int, out_capsules: int, in_pose: int, out_pose: int, kernel: int) -> None:
        super().__init__()
        self.in_capsules, self.out_capsules, self.kernel = in_capsules, out_capsules, kernel
        self.in_pose, self.out_pose = in_pose, out_pose
        inputs = kernel**2 * in_capsules
        self.W1 = nn.Parameter(torch.empty(inputs, out_capsules * out_pose, in_pose))
        self.W2 = nn.Parameter(torch.zeros(inputs, out_capsules, in_pose))
        self.b2 = nn.Parameter(torch.zeros(1, 1, inputs, out_capsules))
        nn.init.normal_(self.W1, std=(2 / (out_capsules * out_pose * in_pose)) ** 0.5)

    @full_precision
    def forward(self, activations: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Route input capsules to output capsules.

        Args:
            activations: (b, A, h, w), non-negative.
            poses: (b, A·C, h, w), channel = capsule · C + component.

        Returns:
            Activations (b, J, h', w') and poses (b, J·D, h', w'), with h' = h − k + 1.

        Raises:
            ValueError: if the map is smaller than the kernel or the channels are not A and A·C.
        """
        self._check(activations, poses)
        batch, height, width = poses.shape[0], poses.shape[2] - self.kernel + 1, poses.shape[3] - self.kernel + 1
        u = self._patches(poses, self.in_pose)
        a = self._patches(activations, 1).squeeze(-1)
        out, coefficients = route(a, u, self.W2, self.b2[0, 0])
        votes = weighted_votes(coefficients, u, self.W1).flatten(1)
        out, votes = (x.view(batch, height, width, -1).permute(0, 3, 1, 2) for x in (out, votes))
        return out, votes

    def _patches(self, x: Tensor, components: int) -> Tensor:
        """(b, A·components, h, w) to (b·positions, N, components), input index = kernel position · A + capsule."""
        batch = x.shape[0]
        x = x.flatten(2).unsqueeze(-1) if x.shape[2] == x.shape[3] == self.kernel else F.unfold(x, self.kernel)
        x = x.view(batch, self.in_capsules, components, self.kernel**2, -1)
        return x.permute(0, 4, 3, 1, 2).reshape(-1, self.kernel**2 * self.in_capsules, components)

    def _check(self, activations: Tensor, poses: Tensor) -> None:
        channels = (self.in_capsules, self.in_capsules * self.in_pose)
        got = (activations.shape[1], poses.shape[1])
        if got != channels:
            raise ValueError(f"expected {channels} activation and pose channels, got {got}")
        if min(poses.shape[2:]) < self.kernel:
            raise ValueError(f"expected a map of at least {self.kernel} x {self.kernel}, got {tuple(poses.shape[2:])}")


class CapsuleProjector(nn.Module):
    """Feature map to K capsules, each an activation and a pose: the projector of EquiCaps.

    Args:
        in_channels: channels of the feature map.
        capsules: K.
        pose_dim: numbers P in a pose: 9 for 3 × 3, 16 for 4 × 4 matrices.
        map_size: side s of the feature map, all of which the routing layer covers; for the reference ResNet it is
            image size / 32.
    """

    def __init__(self, in_channels: int, capsules: int, pose_dim: int, map_size: int) -> None:
        super().__init__()
        self.map_size = map_size
        self.conv_a = nn.Conv2d(in_channels, capsules, 3, padding=1, bias=False)
        self.conv_pose = nn.Conv2d(in_channels, capsules * pose_dim, 3, padding=1, bias=False)
        self.bn_a = nn.BatchNorm2d(capsules)
        self.bn_pose = nn.BatchNorm2d(capsules * pose_dim)
        self.fc = SelfRouting(capsules, capsules, pose_dim, pose_dim, map_size)

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Map (b, in_channels, s, s) to activations (b, K), a distribution, and poses (b, K·P).

        Raises:
            ValueError: if the map's side is not the one the projector was built for.
        """
        size = tuple(feature_map.shape[2:])
        if size != (self.map_size, self.map_size):
            raise ValueError(
                f"the capsule projector was built for feature maps of {self.map_size} x {self.map_size}, got {size}: "
                "images must have the image_size that the method was built with"
            )
        activations = torch.sigmoid(self.bn_a(self.conv_a(feature_map)))
        poses = self.bn_pose(self.conv_pose(feature_map))
        activations, poses = self.fc(activations, poses)
        return activations.flatten(1), poses.flatten(1)
