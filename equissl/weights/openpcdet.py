"""Conversion of voxel backbones' weights to and from OpenPCDet's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from equissl.util.files import atomic_path
from equissl.weights.reading import WeightsError, read_weights

PREFIX = "backbone_3d."
# Axes of (out, kz, ky, kx, in) in the order in which each version of spconv stores them.
LAYOUTS = {
    "krsc": (0, 1, 2, 3, 4),  # 2.2 and later
    "rskc": (1, 2, 3, 0, 4),  # 2.0 and 2.1
    "rsck": (1, 2, 3, 4, 0),  # 1.x
}


def to_openpcdet(backbone: nn.Module, prefix: str = PREFIX, layout: str = "krsc") -> dict[str, Tensor]:
    """Return the state dict under OpenPCDet's names, on the CPU.

    Args:
        backbone: `VoxelBackBone8x` or `VoxelResBackBone8x`.
        prefix: of every name.
        layout: of the convolutions' weights, one of `LAYOUTS`.

    Raises:
        ValueError: for an unknown layout.
    """
    axes = _axes(layout)
    state = {name: value.detach().cpu() for name, value in backbone.state_dict().items()}
    return {
        prefix + name: (value.permute(axes) if value.ndim == 5 else value).clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }


def write_openpcdet(state: Mapping[str, Tensor], file: Path | str) -> Path:
    """Write weights under OpenPCDet's names as a checkpoint of it: tensors only, under ``model_state``.

    Args:
        state: weights under OpenPCDet's names.
        file: to write.
    """
    file = Path(file)
    # an open file: PyTorch would write the name of a path, here the temporary one, into the archive
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        torch.save({"model_state": dict(state), "version": "equissl", "epoch": 0, "it": 0}, stream)
    return file


def load_openpcdet(
    backbone: nn.Module,
    checkpoint: Path | str | Mapping[str, Tensor],
    prefix: str = PREFIX,
    layout: str | None = None,
) -> str:
    """Fill a backbone with the weights of an OpenPCDet checkpoint; every name and shape must fit.

    Other parts of the detector are left aside.

    Args:
        backbone: `VoxelBackBone8x` or `VoxelResBackBone8x`, of the checkpoint's input columns.
        checkpoint: file, or the state dict of a detector.
        prefix: of the backbone's names in it.
        layout: of the convolutions' weights; by default the one that the shapes tell.

    Returns:
        the layout.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: for a file that cannot be read, names or shapes that do not fit, or shapes that fit two layouts.
        ValueError: for an unknown layout.
    """
    state = checkpoint if isinstance(checkpoint, Mapping) else read_weights(checkpoint).tensors
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    wanted = backbone.state_dict()
    _check_names(found, wanted, prefix)
    layout = layout or _detect(found, wanted)
    axes = _axes(layout)
    back = sorted(range(5), key=lambda axis: axes[axis])
    found = {name: value.permute(back) if value.ndim == 5 else value for name, value in found.items()}
    wrong = [
        f"{k}: {tuple(found[k].shape)} for {tuple(v.shape)}" for k, v in wanted.items() if found[k].shape != v.shape
    ]
    if wrong:
        raise WeightsError(f"shapes that do not fit, in the layout {layout}: {'; '.join(wrong[:4])}")
    backbone.load_state_dict(found)
    return layout


def _axes(layout: str) -> tuple[int, ...]:
    if layout not in LAYOUTS:
        raise ValueError(f"expected a layout of {', '.join(LAYOUTS)}, got {layout!r}")
    return LAYOUTS[layout]


def _check_names(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str) -> None:
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unexpected:
        raise WeightsError(
            f"expected the {len(wanted)} names of the backbone under {prefix!r}, got {len(found)}: "
            f"missing {missing[:4]}, unexpected {unexpected[:4]}"
        )


def _detect(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Detect the only layout in which all convolutions fit; layers of as many inputs as outputs alone cannot tell."""
    convolutions = [name for name, value in wanted.items() if value.ndim == 5]
    fits = [
        layout
        for layout, axes in LAYOUTS.items()
        if all(found[name].shape == wanted[name].permute(axes).shape for name in convolutions)
    ]
    if len(fits) != 1:
        first = ", ".join(f"{name} {tuple(found[name].shape)}" for name in convolutions[:2])
        raise WeightsError(f"expected the shapes of one layout of {', '.join(LAYOUTS)}, got {fits or 'none'}: {first}")
    return fits[0]
