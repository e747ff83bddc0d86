"""Run folders of weights that were trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equissl.runs.checkpoint import METHOD_PREFIX, OURS
from equissl.runs.versions import versions
from equissl.util.files import atomic_path


@dataclass(frozen=True)
class ImportReport:
    """Summary of an import.

    Attributes:
        run: the run folder.
        option: the authors' name of the model.
        method: ours.
        parameters: number of parameters that were imported.
        messages: what was left out on purpose, and what had to be assumed.
    """

    run: Path
    option: str
    method: str
    parameters: int
    messages: tuple[str, ...]


def save_imported(file: Path, method: nn.Module, config: dict[str, Any], imported: dict[str, Any]) -> None:
    """Write a checkpoint without optimiser or data order.

    Args:
        file: to write.
        method: with the imported weights.
        config: resolved, as plain data.
        imported: where the weights are from.
    """
    ours = {"config": config, "step": 0, "views": 0, "seconds": 0.0, "versions": versions(), "imported": imported}
    weights: dict[str, Tensor] = {METHOD_PREFIX + key: value for key, value in method.state_dict().items()}
    with atomic_path(file) as temporary:
        torch.save({"state_dict": weights, OURS: ours}, temporary)
