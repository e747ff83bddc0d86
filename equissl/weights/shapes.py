"""Encoder, projector or predictor of a set of weights, recognised by names and shapes."""

from __future__ import annotations

import itertools
import re
from typing import Any

from torch import Tensor

from equissl.weights.reading import WeightsError
from equissl.weights.script import Script

Tensors = dict[str, Tensor]
# True for bottleneck blocks, and the number of blocks in each stage.
_DEPTHS = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
}
_ACTIONS = {4: "quaternion", 6: "quaternion+hue"}


def shape_of(tensors: Tensors, key: str, dims: int, what: str) -> tuple[int, ...]:
    """Return the shape of a weight.

    Args:
        tensors: weights by name.
        key: name of the weight.
        dims: number of dimensions expected.
        what: what its shape tells, for the error.

    Raises:
        WeightsError: if it is not there, or has another number of dimensions.
    """
    if key not in tensors:
        raise WeightsError(f"missing {key}, which says {what}")
    shape = tuple(tensors[key].shape)
    if len(shape) != dims:
        raise WeightsError(f"{key}: expected {dims} dimensions, found shape {shape}")
    return shape


def reference_encoder(tensors: Tensors, prefix: str) -> tuple[dict[str, Any], int]:
    """Return the config of the papers' ResNet under ``prefix``, and the size of its vector.

    Args:
        tensors: weights by name.
        prefix: of the encoder's names.
    """
    width, _, kernel, _ = shape_of(tensors, f"{prefix}conv1.weight", 4, "how wide the backbone is")
    if f"{prefix}layer1.0.downsample.0.weight" not in tensors:
        raise WeightsError(
            f"{prefix}layer1.0 has no projection shortcut: the backbone of SIE and EquiCaps has one in every stage"
        )
    name, expansion = _resnet_name(tensors, prefix)
    stem = "reference" if kernel == 7 else "small"
    return {"name": name, "width": width, "stem": stem}, 8 * width * expansion


def torchvision_encoder(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """Return the config of the torchvision ResNet under ``prefix``.

    Args:
        tensors: weights by name.
        prefix: of the encoder's names.
    """
    kernel = shape_of(tensors, f"{prefix}conv1.weight", 4, "which stem the encoder has")[2]
    if kernel not in (3, 7):
        raise WeightsError(f"{prefix}conv1.weight: expected a 7x7 or 3x3 kernel, found {kernel}x{kernel}")
    name = f"torchvision/{_resnet_name(tensors, prefix)[0]}"
    return {"name": name} if kernel == 7 else {"name": name, "stem": "small"}


def _resnet_name(tensors: Tensors, prefix: str) -> tuple[str, int]:
    pattern = re.compile(re.escape(prefix) + r"layer(\d)\.(\d+)\.conv1\.weight")
    blocks = [match.groups() for match in map(pattern.fullmatch, tensors) if match]
    depths = tuple(sum(stage == str(number) for stage, _ in blocks) for number in (1, 2, 3, 4))
    bottleneck = f"{prefix}layer1.0.conv3.weight" in tensors
    if (bottleneck, depths) not in _DEPTHS:
        kind = "bottleneck" if bottleneck else "basic"
        raise WeightsError(
            f"expected the blocks of a ResNet-18, 34 or 50 under {prefix!r}, found {depths} {kind} blocks"
        )
    return _DEPTHS[bottleneck, depths], 4 if bottleneck else 1


def projector_sizes(tensors: Tensors, name: str) -> tuple[int, list[int]]:
    """Return input size and layer sizes of the projector called ``name``.

    Args:
        tensors: weights by name.
        name: of the projector.
    """
    shape_of(tensors, f"{name}.0.weight", 2, f"how wide {name} is")
    pattern = re.compile(re.escape(name) + r"\.(\d+)\.weight")
    layers = sorted(
        (int(match[1]), tuple(value.shape))
        for key, value in tensors.items()
        if (match := pattern.fullmatch(key)) and value.ndim == 2
    )
    return layers[0][1][1], [shape[0] for _, shape in layers]


def whole_sizes(inv: list[int], equi: list[int], inv_dim: int, equi_dim: int) -> list[int]:
    """Return the projector sizes for the whole representation whose shares are the sizes of both parts.

    Args:
        inv: layer sizes of the invariant part's projector.
        equi: layer sizes of the equivariant part's projector.
        inv_dim: size of the invariant part.
        equi_dim: size of the equivariant part.
    """
    whole, sizes = inv_dim + equi_dim, []
    for a, b in zip(inv, equi, strict=False):
        near = [a + b, *range(max(1, (a + b) - whole), a + b + whole)]
        fits = [s for s in near if round(s * inv_dim / whole) == a and round(s * equi_dim / whole) == b]
        if not fits:
            raise WeightsError(f"projector layers of {a} and {b} are not the shares {inv_dim} : {equi_dim} of one size")
        sizes.append(fits[0])
    if len(inv) != len(equi):
        raise WeightsError(f"expected projectors of equal depth, found {len(inv)} and {len(equi)} layers")
    return sizes


Names = tuple[tuple[str, str], ...]


def predictor_config(tensors: Tensors, dim: int, script: Script) -> tuple[dict[str, Any], Names]:
    """Return constructor arguments of the predictor, and the pair of our prefix and the file's.

    Args:
        tensors: weights by name.
        dim: size of the embedding predicted.
        script: what is known of the training script.
    """
    if any(key.startswith("predictor.pred.") for key in tensors):
        return _mlp(tensors, dim), (("predictor.", "predictor.pred."),)
    prefix = "predictor.hypernet.net."
    layers = sorted({int(key.removeprefix(prefix).partition(".")[0]) for key in tensors if key.startswith(prefix)})
    last = f"{prefix}{layers[-1] if layers else 0}"
    written, inputs = shape_of(tensors, f"{last}.weight", 2, "what the predictor is told")
    options = _target_network(written, dim, script)
    options |= {"hyper_bias": True} if f"{last}.bias" in tensors else {}
    options |= {"deep": True} if len(layers) > 1 else {}
    args = {"predictor": "hypernetwork", "predictor_options": options, "action": _action(inputs)}
    return args, (("predictor.", "predictor.hypernet."),)


def _target_network(written: int, dim: int, script: Script) -> dict[str, Any]:
    """Return the options of the network that the hypernetwork writes so many numbers for."""
    stated = script.get("predictor")
    hidden = [int(size) for size in str(stated or "").split("-") if size]
    sizes = [dim, *hidden, dim]
    plain = sum(a * b for a, b in itertools.pairwise(sizes))
    if written not in (plain, plain + sum(sizes[1:])):
        raise WeightsError(
            f"the hypernetwork writes {written} numbers: a target network of layers {sizes} has {plain}, or "
            f"{plain + sum(sizes[1:])} with biases. Hidden layers are read from the `predictor` entry of params.json"
        )
    if stated is None:  # two layers of half the width have as many numbers as one
        script.assumed.append("predictor with a single layer, which the file does not say: see --params")
    options: dict[str, Any] = {"hidden": hidden, "activation": bool(script.get("predictor_relu"))} if hidden else {}
    return options | ({"target_bias": True} if written != plain else {})


def _mlp(tensors: Tensors, dim: int) -> dict[str, Any]:
    inputs = shape_of(tensors, "predictor.pred.0.weight", 2, "what the predictor is told")[1] - dim
    layers = sum(key.startswith("predictor.pred.") and key.endswith(".weight") for key in tensors)
    return {"predictor": "mlp", "predictor_options": {"layers": layers}, "action": _action(inputs)}


def _action(size: int) -> str:
    if size not in _ACTIONS:
        raise WeightsError(f"expected a predictor of actions with 4 (rotation) or 6 (and hues) numbers, found {size}")
    return _ACTIONS[size]


def regressor_config(tensors: Tensors) -> dict[str, Any]:
    """Return the constructor arguments that give AugSelf's regressor."""
    hidden = shape_of(tensors, "predictor.0.weight", 2, "how wide the regressor is")[0]
    return {"hidden": hidden, "action": _action(shape_of(tensors, "predictor.4.weight", 2, "what is regressed")[0])}
