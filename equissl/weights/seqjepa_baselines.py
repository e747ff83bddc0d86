"""The baselines of seq-JEPA's training scripts (Ghaemi et al. 2025, arXiv 2505.03176), recognised by their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from equissl.weights.layouts import Layout, choose
from equissl.weights.reading import WeightsError
from equissl.weights.script import Script
from equissl.weights.seqjepa_data import (
    AUGMENTATIONS,
    DATASETS,
    PROBES,
    SACCADES,
    data_config,
    encoder_config,
    find_action,
    find_dataset,
    sequence_views,
)
from equissl.weights.shapes import Tensors, projector_sizes, shape_of, torchvision_encoder, whole_sizes

DROPPED = dict.fromkeys(PROBES, "online probes of the authors' training script")
ENCODER = ("encoder.model.", "encoder.")
TEACHER = ("teacher.networks.encoder.model.", "target_encoder.")
EMBEDDED = (("predictor.action_projector.", "action_proj."), ("predictor.layers.", "predictor."))
VICREG = {"sim": ("inv_coeff", 25.0), "std": ("var_coeff", 25.0), "cov": ("cov_coeff", 1.0)}
TEMPERATURE = {"temperature": ("temp", 0.5)}
Found = tuple[str, dict[str, Any], tuple[tuple[str, str], ...]]  # our method, its arguments, names


def baseline_layout(tensors: Tensors, script: Script) -> Layout:
    """Find the baseline that these weights are of.

    Args:
        tensors: by the authors' names.
        script: what is known of the training script.

    Raises:
        WeightsError: weights of none of them.
    """
    torchvision_encoder(tensors, "encoder.")
    parts = {key.partition(".")[0] for key in tensors} - {probe.rstrip(".") for probe in PROBES}
    option = choose(script, _candidates(tensors, parts), name="method")
    size = _action_size(tensors)
    name = find_dataset(tensors, script, {size} if size else set())
    class_path, args, names = _MODELS[option](tensors, script)
    told = {"action": None} if not size else _action(name, script, size)
    args |= {"encoder": encoder_config(tensors, name)} | (told if size else {})
    notes = (_OVER_VIEWS,) if told.get("over_views") else ()
    config = {"data": data_config(name, script, told["action"])}
    return Layout(option, class_path, args, (ENCODER, *names, ("", "")), DROPPED, notes=notes, config=config)


_OVER_VIEWS = (
    "the script divides parameters of augmentations by their norm over all views of its sequence, of which this method "
    "sees two: actions have the scale of --seq-len 1"
)


def _candidates(tensors: Tensors, parts: set[str]) -> list[str]:
    """Return the names of the baselines with these parts, as the script's ``method`` has them."""
    ended = [key for key in tensors if key.startswith("projector.") and key.endswith("running_mean")]
    found = {
        frozenset({"encoder", "projector"}): ["simclr"] if len(ended) == 3 else ["vicreg", "vicreg-traj"],
        frozenset({"encoder", "projector_inv", "projector_equi", "predictor"}): (
            ["sie"] if "predictor.hypernet.net.0.weight" in tensors else ["simclr-equimod"]
        ),
        frozenset({"encoder", "projector_equi", "predictor"}): ["sen"],
        frozenset({"encoder", "projector", "predictor", "target_encoder", "target_projector"}): (
            ["conv-ijepa"] if "online_res_probe.0.weight" in tensors else ["byol-cond", "conv-ijepa"]
        ),
        frozenset({"encoder", "projector", "predictor"}): ["conv-ijepa"],
    }.get(frozenset(parts - {"action_proj"}))
    if found is None:
        raise WeightsError(
            f"expected the weights of a model of seq-JEPA's scripts, with a transformer_encoder or those of a baseline "
            f"({', '.join(_MODELS)}), found parts {', '.join(sorted(parts))}"
        )
    if found[0] == "byol-cond" and "action_proj" not in parts:
        raise WeightsError("missing action_proj.0.weight: BYOL without actions is no model of the released script")
    return found


def _action_size(tensors: Tensors) -> int:
    """Return how many numbers an action has; 0 for a model that is told nothing."""
    for key in ("action_proj.0.weight", "predictor.hypernet.net.0.weight"):
        if key in tensors:
            return shape_of(tensors, key, 2, "what the model is told")[1]
    if "predictor.0.weight" not in tensors:
        return 0
    out, inputs = shape_of(tensors, "predictor.0.weight", 2, "what the model is told")
    return inputs - out  # without a projector of actions


def _action(name: str, script: Script, size: int) -> dict[str, Any]:
    args: dict[str, Any] = {"action": find_action(name, script, {size})}
    if "quaternion" in args["action"]:
        args["sign"] = script.assume("sign", "legacy")
    return args | ({"over_views": True} if DATASETS[name].form == AUGMENTATIONS else {})


def _simclr(tensors: Tensors, script: Script) -> Found:
    sizes = projector_sizes(tensors, "projector")[1]
    return "SimCLR", {"projector": sizes, "projector_norm": True, **script.weights(**TEMPERATURE)}, ()


def _vicreg(tensors: Tensors, script: Script) -> Found:
    return "VICReg", {"projector": projector_sizes(tensors, "projector")[1], **script.weights(**VICREG)}, ()


def _trajectory(tensors: Tensors, script: Script) -> Found:
    options = {**script.weights(straight=("alpha", 1.0), **VICREG), "unit_centre": False}
    objective = {"name": "vicreg_trajectory", "options": options}
    sizes = projector_sizes(tensors, "projector")[1]
    return "Invariant", {"projector": sizes, "objective": objective, "views": 3}, ()


def _sie(tensors: Tensors, script: Script) -> Found:
    inv, equi = (projector_sizes(tensors, f"projector_{part}") for part in ("inv", "equi"))
    sizes = {"projector": whole_sizes(inv[1], equi[1], inv[0], equi[0]), "equi_dim": equi[0]}
    weights = script.weights(equi=("equi_factor", 1.0), **VICREG)
    return "SIE", {**sizes, **weights}, (("predictor.", "predictor.hypernet."),)


def _equimod(tensors: Tensors, script: Script) -> Found:
    args = _predicted(tensors, "projector_equi") | script.weights(equi=("equi_factor", 1.0))
    objective = {"name": "nt_xent", "options": script.weights(**TEMPERATURE)}
    return "Composed", {**args, "invariant": objective, "equivariant": objective}, EMBEDDED


def _sen(tensors: Tensors, script: Script) -> Found:
    objective = {"name": "nt_xent", "options": script.weights(**TEMPERATURE)}
    return "Composed", {**_predicted(tensors, "projector_equi"), "invariant": None, "equivariant": objective}, EMBEDDED


def _conditional_byol(tensors: Tensors, script: Script) -> Found:
    args = {"invariant": None, "equivariant": {"name": "cosine_prediction"}, "target": "teacher"}
    teacher = (TEACHER, ("teacher.networks.projector_equi.", "target_projector."), ("projector_equi.", "projector."))
    return "Composed", {**_predicted(tensors, "projector"), **args}, (*teacher, *EMBEDDED)


def _predicted(tensors: Tensors, projector: str) -> dict[str, Any]:
    """Return the arguments of `Composed` for a projector that ends in a norm, and a predictor of embedded actions."""
    sizes, hidden = projector_sizes(tensors, projector)[1], "predictor.3.weight" in tensors
    size = tensors["action_proj.0.weight"].shape[0] if "action_proj.0.weight" in tensors else 0
    width = tensors["predictor.0.weight"].shape[0] if hidden else 0
    options = {"size": size, "hidden": width}
    return {"projector": sizes, "projector_norm": True, "predictor": "embedded_action", "predictor_options": options}


def _conv_jepa(tensors: Tensors, script: Script) -> Found:
    size = shape_of(tensors, "action_proj.0.weight", 2, "how wide embedded actions are")[0]
    hidden = shape_of(tensors, "predictor.0.weight", 2, "how wide the predictor is")[0]
    taught = any(key.startswith("target_encoder.") for key in tensors)
    args = {
        "projector": projector_sizes(tensors, "projector")[1],
        "action_dim": size,
        "hidden": hidden,
        "target": "teacher" if taught else "online",
        "reduction": "mean",
        "views": sequence_views(script, SACCADES),
    }
    teacher = (TEACHER, ("teacher.networks.projector.", "target_projector."))
    return "ConvJEPA", args, (*teacher, ("action_projector.", "action_proj."))


_MODELS: dict[str, Callable[[dict[str, Tensor], Script], Found]] = {
    "simclr": _simclr,
    "vicreg": _vicreg,
    "vicreg-traj": _trajectory,
    "sie": _sie,
    "simclr-equimod": _equimod,
    "sen": _sen,
    "byol-cond": _conditional_byol,
    "conv-ijepa": _conv_jepa,
}
