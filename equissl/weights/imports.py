"""Import of published checkpoints as run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from equissl.geometry import QuaternionSign
from equissl.objectives import Objective
from equissl.runs.config import PretrainConfig
from equissl.runs.configfile import build_method, resolve_config, save_config
from equissl.util.configtree import merge
from equissl.util.runfolder import CONFIG_FILE, LAST
from equissl.weights.detectors import import_openpcdet
from equissl.weights.imported import ImportReport, save_imported
from equissl.weights.layouts import Family, Layout, find_layout, rename
from equissl.weights.reading import StoredWeights, WeightsError, read_weights
from equissl.weights.script import Script, read_params

Dataset = Literal["3diebench", "cifar100", "tinyimagenet", "stl10", "imagenet"]
LatentType = Literal["rot", "rotcolor", "all", "aug", "crop", "colorjitter", "blur", "position"]


def import_weights(
    family: Family | Literal["openpcdet"],
    file: str | Path,
    out: str | Path,
    option: str | None = None,
    store: str | Path | None = None,
    params: str | Path | None = None,
    sign: QuaternionSign | None = None,
    frame: Literal["object", "base"] | None = None,
    equi: int | None = None,
    dataset: Dataset | None = None,
    latent_type: LatentType | None = None,
    num_heads: int | None = None,
    views: int | None = None,
    no_blur: bool | None = None,
    config: str = "detection/kitti_second",
    backbone_only: bool = False,
) -> ImportReport:
    """Read a checkpoint of SIE's, EquiCaps' or seq-JEPA's authors, or of OpenPCDet, into a run folder to evaluate.

    Which of their models it is follows from names and shapes. What these do not tell is read from ``params.json``,
    which the training scripts of SIE and EquiCaps write beside the checkpoint, or said by a flag that has the name of
    the script's own. What had to be assumed is reported, and what has no likely value is an error that names the flag.
    Nothing in the file is executed. The run holds no optimiser, so it cannot be trained further.

    Args:
        family: whose checkpoint it is: ``sie``, ``equicaps``, ``seqjepa``, or ``openpcdet`` for a detector.
        file: the checkpoint.
        out: run folder to write.
        option: the authors' name of the model (``SimCLR``), for models that differ in nothing but their loss.
        store: data to evaluate on: a view store, or a folder of images; can be given to ``evaluate`` instead.
        params: the script's ``params.json``, where it does not lie beside the file.
        sign: sign of the quaternions that a predictor was trained with: ``legacy`` for SciPy 1.11 and later,
            ``legacy_negated`` for SciPy 1.10 and earlier. The former where nobody says.
        frame: of the translations that 4 × 4 poses were trained with; ``object`` where nobody says.
        equi: of VICRegPartInv: dimensions of the embedding that need not agree.
        dataset: that a model of seq-JEPA was trained on, which fixes the statistics of its pixels.
        latent_type: what a model of seq-JEPA was told about the change between views.
        num_heads: attention heads of a model of seq-JEPA; 4 where nobody says.
        views: of a sequence of seq-JEPA, the predicted one included; 4, or 5 saccades, where nobody says.
        no_blur: whether a model of seq-JEPA was trained on CIFAR-100 without blur.
        config, backbone_only: of an OpenPCDet detector, see :func:`equissl.weights.detectors.import_openpcdet`.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: a file of another kind, weights that are missing, left over or of another shape, a flag that is
            needed or that the weights contradict, or a run folder that already holds a run.
    """
    flags = {
        "option": option, "sign": sign, "frame": frame, "equi": equi, "dataset": dataset, "latent_type": latent_type,
        "num_heads": num_heads, "views": views, "no_blur": no_blur,
    }  # fmt: skip
    if family == "openpcdet":
        Script(flags | {"params": params}).check_flags(family)
        return import_openpcdet(file, out, config, store, backbone_only)
    out = Path(out)
    if out.is_file() or (out / LAST).exists():
        raise WeightsError(f"{out} is not free: expected a new run folder for --out")
    stored = read_weights(file)
    script = Script(flags, {"run_id": stored.run_id, **read_params(stored.file, params)})
    try:
        layout = find_layout(family, stored.tensors, script)
        script.check_flags(family)
        return _write_run(family, stored, layout, script, out, store)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error


def _write_run(
    family: Family, stored: StoredWeights, layout: Layout, script: Script, out: Path, store: str | Path | None
) -> ImportReport:
    resolved = filled_config(layout, stored, store)
    method = filled_method(stored, layout, resolved)
    (out / LAST).parent.mkdir(parents=True, exist_ok=True)
    save_config(resolved, out / CONFIG_FILE)
    save_imported(out / LAST, method, resolved.to_dict(), _provenance(family, layout, stored, script))
    parameters = sum(parameter.numel() for parameter in method.parameters())
    return ImportReport(out, layout.option, type(method).__name__, parameters, _messages(layout, stored, script))


def filled_config(layout: Layout, stored: StoredWeights, store: str | Path | None) -> PretrainConfig:
    """Create our config: the method, and what is known of the training behind the weights.

    Args:
        layout: of the weights.
        stored: weights.
        store: data to evaluate on, if any.
    """
    place = "root" if layout.config.get("data", {}).get("kind") == "images" else "store"
    tree = {
        "method": {"class_path": layout.class_path, "init_args": layout.init_args},
        "data": {place: "" if store is None else str(Path(store).resolve())},
        "trainer": {"max_epochs": 1},
    }
    trained = {"trainer": {"max_epochs": stored.epoch}} if stored.epoch else {}
    return resolve_config(merge(merge(tree, layout.config), trained), origin=str(stored.file))


def filled_method(stored: StoredWeights, layout: Layout, config: PretrainConfig) -> Any:
    """Build our method with the authors' weights.

    Args:
        stored: weights.
        layout: of them.
        config: of the run.

    Raises:
        WeightsError: weights that do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        method = build_method(config.method)
    method.load_state_dict(rename(stored.tensors, layout, method.state_dict(), bookkeeping(method)))
    return method


def bookkeeping(method: nn.Module) -> set[str]:
    """Return the names in the state dict that objectives keep for themselves and published models do not have."""
    return {
        f"{name}.{key}"
        for name, module in method.named_modules()
        if isinstance(module, Objective)
        for key in module.state_dict()
    }


def _provenance(family: str, layout: Layout, stored: StoredWeights, script: Script) -> dict[str, Any]:
    return {
        "family": family,
        "option": layout.option,
        "file": stored.file.name,
        "sha256": stored.sha256,
        "epoch": stored.epoch,
        "assumed": "; ".join(script.assumed),
    }


def _messages(layout: Layout, stored: StoredWeights, script: Script) -> tuple[str, ...]:
    found: dict[str, list[str]] = {}
    for prefix, reason in layout.dropped.items():
        if any(key.startswith(prefix) for key in stored.tensors):
            found.setdefault(reason, []).append(prefix.rstrip("."))
    dropped = tuple(f"left out: {', '.join(names)} ({reason})" for reason, names in found.items())
    given = script.flags.get("sign")
    sign = (f"quaternion sign {given}, as --sign says",) if given is not None else ()
    return (*dropped, *layout.notes, *sign, *(f"assumed: {note}" for note in script.assumed))
