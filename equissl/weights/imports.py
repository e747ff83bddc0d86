"""Import of published checkpoints as run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from equissl.geometry import QuaternionSign
from equissl.objectives import Objective
from equissl.runs.checkpoint import LAST
from equissl.runs.configfile import build_method, resolve_config, save_config
from equissl.weights.detectors import import_openpcdet
from equissl.weights.imported import ImportReport, save_imported
from equissl.weights.layouts import Family, Layout, Settings, find_layout, rename
from equissl.weights.reading import StoredWeights, WeightsError, read_weights

PARAMS = "params.json"


def import_weights(
    family: Family | Literal["openpcdet"],
    file: str | Path,
    out: str | Path,
    option: str | None = None,
    store: str | Path | None = None,
    sign: QuaternionSign = "legacy",
    frame: Literal["object", "base"] = "object",
    config: str = "detection/kitti_second",
    backbone_only: bool = False,
) -> ImportReport:
    """Read a checkpoint of SIE's, EquiCaps' or seq-JEPA's authors, or of OpenPCDet, into a run folder to evaluate.

    Which of their models it is follows from names and shapes. ``params.json`` beside the file, which the training
    scripts of SIE and EquiCaps write, is read for the model's name and loss weights. Nothing in the file is executed.
    The run holds no optimiser, so it cannot be trained further.

    Args:
        family: whose checkpoint it is: ``sie``, ``equicaps``, ``seqjepa``, or ``openpcdet`` for a detector.
        file: the checkpoint.
        out: run folder to write.
        option: the authors' name of the model (``SimCLR``), for models that differ in nothing but their loss.
        store: view store to evaluate on; can be given to ``evaluate`` instead.
        sign: sign of the quaternions that a predictor was trained with: ``legacy`` for SciPy 1.11 and later,
            ``legacy_negated`` for SciPy 1.10 and earlier.
        frame: of the translations that 4 × 4 poses were trained with.
        config, backbone_only: of an OpenPCDet detector, see :func:`equissl.weights.detectors.import_openpcdet`.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: a file of another kind, weights that are missing, left over or of another shape, or a run folder
            that already holds a run.
    """
    if family == "openpcdet":
        return import_openpcdet(file, out, config, store, backbone_only)
    out = Path(out)
    if out.is_file() or (out / LAST).exists():
        raise WeightsError(f"{out} is not free: expected a new run folder for --out")
    stored = read_weights(file)
    layout = find_layout(family, stored.tensors, Settings(option, sign, frame, _params(stored.file)))
    resolved = resolve_config(_tree(layout, stored, store), origin=str(file))
    with torch.random.fork_rng(devices=[]):
        method = build_method(resolved.method)
    try:
        state = rename(stored.tensors, layout, method.state_dict(), bookkeeping(method))
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    method.load_state_dict(state)
    (out / LAST).parent.mkdir(parents=True, exist_ok=True)
    save_config(resolved, out / "config.yaml")
    save_imported(out / LAST, method, resolved.to_dict(), _provenance(family, layout, stored))
    parameters = sum(parameter.numel() for parameter in method.parameters())
    return ImportReport(out, layout.option, type(method).__name__, parameters, _messages(layout, stored))


def bookkeeping(method: nn.Module) -> set[str]:
    """Return the names in the state dict that objectives keep for themselves and published models do not have."""
    return {
        f"{name}.{key}"
        for name, module in method.named_modules()
        if isinstance(module, Objective)
        for key in module.state_dict()
    }


def _params(file: Path) -> dict[str, Any]:
    beside = file.with_name(PARAMS)
    if not beside.is_file():
        return {}
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{beside}: expected the JSON file of the training script: {error}") from error
    return found if isinstance(found, dict) else {}


def _tree(layout: Layout, stored: StoredWeights, store: str | Path | None) -> dict[str, Any]:
    """Create our config; of the training behind the weights it can only say how long it was."""
    return {
        "method": {"class_path": layout.class_path, "init_args": layout.init_args},
        "data": {"store": "" if store is None else str(Path(store).resolve())},
        "trainer": {"max_epochs": max(1, stored.epoch or 1)},
    }


def _provenance(family: str, layout: Layout, stored: StoredWeights) -> dict[str, Any]:
    return {
        "family": family,
        "option": layout.option,
        "file": stored.file.name,
        "sha256": stored.sha256,
        "epoch": stored.epoch,
    }


def _messages(layout: Layout, stored: StoredWeights) -> tuple[str, ...]:
    found: dict[str, list[str]] = {}
    for prefix, reason in layout.dropped.items():
        if any(key.startswith(prefix) for key in stored.tensors):
            found.setdefault(reason, []).append(prefix.rstrip("."))
    dropped = tuple(f"left out: {', '.join(names)} ({reason})" for reason, names in found.items())
    signed = "sign" in layout.init_args
    sign = (f"quaternion sign {layout.init_args['sign']}, which the file does not say: see --sign",) if signed else ()
    return (*dropped, *layout.notes, *sign)
