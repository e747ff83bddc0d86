"""The models of EquiCaps' training script (arXiv 2506.09895), recognised by their weights."""

from __future__ import annotations

import math
from typing import Any

from equissl.weights.layouts import Layout, choose
from equissl.weights.reading import WeightsError
from equissl.weights.script import Script
from equissl.weights.shapes import Tensors, reference_encoder, shape_of
from equissl.weights.sie import DROPPED, bare_backbone, check_architecture, training_config

WEIGHTS = {
    "sim": ("sim_coeff", 0.1), "equi": ("equi_factor", 5.0), "std": ("std_coeff", 10.0), "cov": ("cov_coeff", 1.0)
}  # fmt: skip


def equicaps_layout(tensors: Tensors, script: Script) -> Layout:
    """Find the model of EquiCaps' repository that these weights are of.

    Args:
        tensors: by the authors' names.
        script: what is known of the training script.
    """
    if bare := bare_backbone(tensors, "EquiCaps", script):
        return bare
    encoder, _ = reference_encoder(tensors, "backbone.")
    check_architecture(script, encoder["name"])
    capsules = shape_of(tensors, "projector.conv_a.weight", 4, "how many capsules there are")[0]
    channels = shape_of(tensors, "projector.conv_pose.weight", 4, "how large poses are")[0]
    if channels not in (9 * capsules, 16 * capsules):
        raise WeightsError(
            f"projector.conv_pose.weight: expected {9 * capsules} or {16 * capsules} channels, poses of 3 x 3 or 4 x 4 "
            f"for {capsules} capsules, found {channels}"
        )
    rigid = channels == 16 * capsules
    option = choose(script, ["EquiCaps_4x4" if rigid else "EquiCaps_3x3"])
    pose = {"pose": "rigid", "frame": _frame(script)} if rigid else {"pose": "rotation"}
    size = {"image_size": _image_size(tensors, capsules, script), "capsules": capsules}
    args: dict[str, Any] = {"encoder": encoder, **size, **pose, **script.weights(**WEIGHTS)}
    return Layout(option, "EquiCaps", args, dropped=DROPPED, config=training_config(script))


def _frame(script: Script) -> str:
    """Return the frame of translations: the flag's, or the script's."""
    base = script.get("base_frame")
    if script.flags.get("frame") is None and base is not None:
        return "base" if base else "object"
    return str(script.assume("frame", "object"))


def _image_size(tensors: Tensors, capsules: int, script: Script) -> int:
    inputs = shape_of(tensors, "projector.fc.W2", 3, "how large the feature map is")[0]
    side = math.isqrt(inputs // capsules)
    if side**2 * capsules != inputs:
        raise WeightsError(f"projector.fc.W2: expected {capsules} inputs at each place of a square map, found {inputs}")
    said = script.number("resolution")
    if said is not None and -(-int(said) // 32) != side:
        raise WeightsError(f"expected images of {32 * side} pixels for a {side} x {side} map, got resolution {said:g}")
    return 32 * side if said is None else int(said)
