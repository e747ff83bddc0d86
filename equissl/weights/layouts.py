"""Published models, recognised by the names and shapes of their weights, and their counterparts here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from equissl.util.registry import Registry
from equissl.weights.reading import WeightsError
from equissl.weights.shapes import (
    Tensors,
    predictor_config,
    projector_sizes,
    reference_encoder,
    regressor_config,
    shape_of,
    torchvision_encoder,
    whole_sizes,
)

Family = Literal["sie", "equicaps", "seqjepa"]
BACKBONE = "equissl.weights.backbone.Backbone"
EVALUATOR = "evaluator."
_SEQJEPA_HEADS = ("agg_token", "target_encoder.", "action_proj.", "predictor.", "transformer_encoder.")
_SEQJEPA_PROBES = ("online_linprobe.", "online_equiprobe.")
_SEQJEPA_VIEWS = 4
_SEQJEPA_ACTIONS = {
    4: "quaternion", 6: "quaternion+hue", 8: "quaternion+scene", 9: "crop+jitter+blur", 2: "position", 1: "blur"
}  # fmt: skip
_NT_XENT = {"name": "nt_xent", "options": {"temperature": 0.1}}
_VICREG = {"name": "vicreg", "options": {"sim": 10.0, "std": 10.0, "cov": 1.0}}
_PREDICTED_WEIGHTS: dict[str, Any] = {"sim": 10.0, "std": 10.0, "cov": 1.0}
_PREDICTED = {"name": "vicreg_prediction", "options": _PREDICTED_WEIGHTS}


@dataclass(frozen=True)
class Settings:
    """Settings that a file's names and shapes do not tell.

    Attributes:
        option: the authors' name of the model, or None to find out.
        sign: quaternion sign that the predictor was trained with.
        frame: of the translations that 4 × 4 poses were trained with.
        params: the ``params.json`` that SIE's and EquiCaps' scripts write beside a checkpoint, or nothing.
    """

    option: str | None = None
    sign: str = "legacy"
    frame: str = "object"
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A published model and its counterpart here.

    Attributes:
        option: the authors' name of the model.
        class_path: of our method.
        init_args: of our method.
        names: pairs (prefix of our names, prefix of theirs), the first that fits counts.
        dropped: what is left out of the run on purpose: prefix of their names, and the reason.
        notes: for whoever imports it.
    """

    option: str
    class_path: str
    init_args: dict[str, Any]
    names: tuple[tuple[str, str], ...] = (("encoder.", "backbone."), ("", ""))
    dropped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_layout(family: Family, tensors: Tensors, settings: Settings | None = None) -> Layout:
    """Find the published model that these weights are of.

    Args:
        family: whose code wrote them.
        tensors: weights by the authors' names, without wrappers (:func:`equissl.weights.read_weights`).
        settings: what cannot be read off.

    Raises:
        WeightsError: for weights of no known model, or of another than ``settings.option``.
    """
    return FAMILIES[family](tensors, settings or Settings())


def rename(tensors: Tensors, layout: Layout, own: dict[str, Tensor], bookkeeping: set[str]) -> Tensors:
    """Rename weights to our names, after making sure that each is there once and has the right shape.

    Args:
        tensors: by the authors' names.
        layout: from :func:`find_layout`.
        own: state dict of our method, for names and shapes.
        bookkeeping: names in it that published models do not have; they keep their fresh values.

    Raises:
        WeightsError: naming the first weights that are missing, left over, of another shape, or not finite.
    """
    theirs = {key: _their_name(key, layout) for key in own if key not in bookkeeping}
    kept = {key: value for key, value in tensors.items() if not key.startswith(tuple(layout.dropped))}
    problems = [f"missing {name}" for name in theirs.values() if name not in kept]
    known = set(theirs.values())
    problems += [f"unexpected {name}" for name in kept if name not in known]
    for key, name in theirs.items():
        if name in kept and (problem := _misfit(kept[name], own[key])):
            problems.append(f"{name}: {problem}")
    if problems:
        more = f"\n  … and {len(problems) - 8} more" if len(problems) > 8 else ""
        listed = "\n  ".join(problems[:8]) + more
        raise WeightsError(f"the weights do not fit {layout.option}:\n  {listed}")
    fresh = {key: own[key] for key in bookkeeping}
    return {**{key: kept[name] for key, name in theirs.items()}, **fresh}


def _their_name(key: str, layout: Layout) -> str:
    ours, theirs = next(pair for pair in layout.names if key.startswith(pair[0]))
    return theirs + key.removeprefix(ours)


def _misfit(found: Tensor, own: Tensor) -> str | None:
    if found.shape != own.shape:
        return f"expected shape {tuple(own.shape)}, found {tuple(found.shape)}"
    if found.is_floating_point() != own.is_floating_point():
        return f"expected {own.dtype}, found {found.dtype}"
    if found.is_floating_point() and not bool(found.isfinite().all()):
        return "holds values that are NaN or infinite"
    return None


def _sie(tensors: Tensors, settings: Settings) -> Layout:
    if bare := _bare_backbone(tensors, "SIE"):
        return bare
    encoder, dim = reference_encoder(tensors, "backbone.")
    parts = {key.partition(".")[0] for key in tensors}
    if "projector_inv" in parts:
        inv, equi = (projector_sizes(tensors, f"projector_{part}") for part in ("inv", "equi"))
        layout = _split if inv[0] < dim else _equimod
        return layout(tensors, settings, encoder, inv, equi)
    _, sizes = projector_sizes(tensors, "projector")
    common = {"encoder": encoder, "projector": sizes}
    if "predictor.0.weight" in tensors:
        regressor = regressor_config(tensors)
        option = _choose(settings, ["SimCLRAugSelfRotColor" if "hue" in regressor["action"] else "SimCLRAugSelf"])
        args = {**common, **regressor, "objective": _NT_XENT, "sign": settings.sign}
        return _layout(option, "AugSelf", args, {"regressor.": "predictor."}, settings)
    if "predictor" in parts:
        return _only_equi(tensors, settings, common)
    return _invariant(tensors, settings, common)


def _split(
    tensors: Tensors,
    settings: Settings,
    encoder: dict[str, Any],
    inv: tuple[int, list[int]],
    equi: tuple[int, list[int]],
) -> Layout:
    predictor = predictor_config(tensors, equi[1][-1], settings.params)
    hue = "hue" in predictor["action"]
    option = _choose(settings, ["SIERotColor"] if hue else ["SIE", "SIENoVar"])
    args = {
        "encoder": encoder,
        "projector": whole_sizes(inv[1], equi[1], inv[0], equi[0]),
        "equi_dim": equi[0],
        "variance_on_predictor": option != "SIENoVar",
        "sign": settings.sign,
        **_weights(settings, sim="sim_coeff", equi="equi_factor", std="std_coeff", cov="cov_coeff"),
    }
    return _layout(option, "SIE", {**args, **_arguments(predictor)}, _predictor_names(predictor), settings)


def _equimod(
    tensors: Tensors,
    settings: Settings,
    encoder: dict[str, Any],
    inv: tuple[int, list[int]],
    equi: tuple[int, list[int]],
) -> Layout:
    predictor = predictor_config(tensors, equi[1][-1], settings.params)
    if inv[1] != equi[1]:
        raise WeightsError(f"expected projector_inv and projector_equi of equal sizes, found {inv[1]} and {equi[1]}")
    hue = "hue" in predictor["action"]
    option = _choose(settings, ["SimCLREquiModRotColor"] if hue else ["SimCLREquiMod", "VICRegEquiMod"])
    vicreg = option.startswith("VICReg")
    args = {
        "encoder": encoder,
        "projector": inv[1],
        "invariant": _VICREG if vicreg else _NT_XENT,
        "equivariant": _PREDICTED if vicreg else _NT_XENT,
        "sign": settings.sign,
        **({} if hue else _weights(settings, equi="equi_factor")),  # the published code ignores it with colours
    }
    return _layout(option, "Composed", {**args, **_arguments(predictor)}, _predictor_names(predictor), settings)


def _only_equi(tensors: Tensors, settings: Settings, common: dict[str, Any]) -> Layout:
    predictor = predictor_config(tensors, common["projector"][-1], settings.params)
    hue = "hue" in predictor["action"]
    option = _choose(settings, ["SimCLROnlyEquiRotColor"] if hue else ["SimCLROnlyEqui", "SIEOnlyEqui"])
    predicted = {"name": "vicreg_prediction", "options": {**_PREDICTED_WEIGHTS, "variance_on_predictor": True}}
    objective = predicted if option == "SIEOnlyEqui" else _NT_XENT
    args = {**common, "invariant": None, "equivariant": objective, "sign": settings.sign, **_arguments(predictor)}
    names = {"projector_equi.": "projector.", **_predictor_names(predictor)}
    return _layout(option, "Composed", args, names, settings)


def _invariant(tensors: Tensors, settings: Settings, common: dict[str, Any]) -> Layout:
    probe, width = tensors.get(f"{EVALUATOR}classifier_inv_emb.weight"), common["projector"][-1]
    part = probe is not None and probe.shape[-1] < width
    option = _choose(settings, ["VICRegPartInv"] if part else ["VICReg", "SimCLR", "VICRegPartInv"])
    if option == "SimCLR":
        return _layout(option, "SimCLR", {**common, **_weights(settings, temperature="simclr_temp")}, {}, settings)
    args = {**common, **_weights(settings, sim="sim_coeff", std="std_coeff", cov="cov_coeff")}
    if option == "VICRegPartInv":  # where the probe does not tell, all but the default 256 dimensions
        args["inv_dim"] = probe.shape[-1] if probe is not None and part else max(1, width - 256)
    return _layout(option, "VICReg", args, {}, settings)


def _equicaps(tensors: Tensors, settings: Settings) -> Layout:
    if bare := _bare_backbone(tensors, "EquiCaps"):
        return bare
    encoder, _ = reference_encoder(tensors, "backbone.")
    capsules = shape_of(tensors, "projector.conv_a.weight", 4, "how many capsules there are")[0]
    channels = shape_of(tensors, "projector.conv_pose.weight", 4, "how large poses are")[0]
    if channels not in (9 * capsules, 16 * capsules):
        raise WeightsError(
            f"projector.conv_pose.weight: expected {9 * capsules} or {16 * capsules} channels, poses of 3 x 3 or 4 x 4 "
            f"for {capsules} capsules, found {channels}"
        )
    inputs = shape_of(tensors, "projector.fc.W2", 3, "how large the feature map is")[0]
    side = math.isqrt(inputs // capsules)
    if side**2 * capsules != inputs:
        raise WeightsError(f"projector.fc.W2: expected {capsules} inputs at each place of a square map, found {inputs}")
    rigid = channels == 16 * capsules
    option = _choose(settings, ["EquiCaps_4x4" if rigid else "EquiCaps_3x3"])
    args: dict[str, Any] = {"encoder": encoder, "image_size": 32 * side, "capsules": capsules}
    if not rigid:
        return _layout(option, "EquiCaps", {**args, "pose": "rotation"}, {}, settings)
    notes = (f"translations are taken in the {settings.frame} frame, which the file does not say: see --frame",)
    return _layout(option, "EquiCaps", {**args, "pose": "rigid", "frame": settings.frame}, {}, settings, notes)


def _seqjepa(tensors: Tensors, settings: Settings) -> Layout:
    encoder = torchvision_encoder(tensors, "encoder.")
    option = _choose(settings, ["seqjepa"])
    known = ("encoder.", *_SEQJEPA_HEADS, *_SEQJEPA_PROBES)
    held = [prefix for prefix in _SEQJEPA_HEADS if any(key.startswith(prefix) for key in tensors)]
    if "transformer_encoder." not in held or not all(key.startswith(known) for key in tensors):
        odd = [key for key in tensors if not key.startswith(known)][:5] or "no transformer_encoder"
        raise WeightsError(f"expected the weights of a seq-JEPA model ({', '.join(known)}), found {odd}")
    dim, hidden = shape_of(tensors, "predictor.3.weight", 2, "how wide the predictor is")
    layers = {key.split(".")[3] for key in tensors if key.startswith("transformer_encoder.transformer_encoder.layers.")}
    args: dict[str, Any] = {"encoder": encoder, "views": _SEQJEPA_VIEWS, "layers": len(layers), "hidden": hidden}
    args["target"] = "teacher" if "target_encoder." in held else "online"
    args |= _seqjepa_actions(tensors, dim, settings)
    names = (
        ("encoder.model.", "encoder."),
        ("teacher.networks.encoder.model.", "target_encoder."),
        ("aggregator.token", "agg_token"),
        ("aggregator.encoder.norm.", "transformer_encoder.norm."),
        ("aggregator.encoder.", "transformer_encoder.transformer_encoder."),
        ("action_projector.", "action_proj."),
        ("", ""),
    )
    dropped = dict.fromkeys(_SEQJEPA_PROBES, "online probes of the authors' training script")
    notes = (
        "evaluated with 3DIEBench's pixel statistics, as seq-JEPA was trained on it",
        f"taken for {_SEQJEPA_VIEWS - 1} observed views, which the file does not say and only training needs to know",
    )
    return Layout(option, "SeqJEPA", args, names, dropped, notes)


def _seqjepa_actions(tensors: Tensors, dim: int, settings: Settings) -> dict[str, Any]:
    """Return the arguments that state the actions that the model gets."""
    if shape_of(tensors, "agg_token", 3, "how wide the transformer is")[2] == dim:
        return {"action": None}
    size, inputs = shape_of(tensors, "action_proj.0.weight", 2, "what the model is told")
    if inputs not in _SEQJEPA_ACTIONS:
        raise WeightsError(f"expected actions of {', '.join(map(str, _SEQJEPA_ACTIONS))} numbers, found {inputs}")
    return {"action": _SEQJEPA_ACTIONS[inputs], "action_dim": size, "sign": settings.sign}


FAMILIES: Registry[Callable[[Tensors, Settings], Layout]] = Registry(
    "family of weights",
    {"sie": _sie, "equicaps": _equicaps, "seqjepa": _seqjepa},
    group="equissl.weights",
    error=WeightsError,
)


def _bare_backbone(tensors: Tensors, whose: str) -> Layout | None:
    """Return the layout of a backbone alone, which SIE's scripts save at their end."""
    prefix = "" if "conv1.weight" in tensors else "backbone."
    if any(not key.startswith((prefix, EVALUATOR)) for key in tensors):
        return None
    encoder, _ = reference_encoder(tensors, prefix)
    dropped = {EVALUATOR: "online evaluator of the authors' training script"}
    note = "the file holds the backbone alone: there is no projector or predictor to evaluate"
    return Layout(f"backbone of {whose}", BACKBONE, {"encoder": encoder}, (("encoder.", prefix),), dropped, (note,))


def _layout(
    option: str,
    class_path: str,
    init_args: dict[str, Any],
    names: dict[str, str],
    settings: Settings,
    notes: tuple[str, ...] = (),
) -> Layout:
    renamed = (("encoder.", "backbone."), *names.items(), ("", ""))
    dropped = {EVALUATOR: "online evaluator of the authors' training script"}
    twins = _TWINS.get(option, ())
    if twins and _wanted(settings) is None:
        notes += (f"{', '.join(twins)} have the same weights: taken for {option}; --option says otherwise",)
    return Layout(option, class_path, init_args, renamed, dropped, notes)


# Models that differ in their loss only; nothing in the weights tells them apart.
_TWINS = {
    "SIE": ("SIE", "SIENoVar"),
    "SimCLREquiMod": ("SimCLREquiMod", "VICRegEquiMod"),
    "SimCLROnlyEqui": ("SimCLROnlyEqui", "SIEOnlyEqui"),
    "VICReg": ("VICReg", "SimCLR"),
}


def _wanted(settings: Settings) -> str | None:
    return settings.option or settings.params.get("experience")


def _choose(settings: Settings, candidates: list[str]) -> str:
    wanted = _wanted(settings)
    if wanted is None or (settings.option is None and len(candidates) == 1):
        return candidates[0]
    if wanted not in candidates:
        raise WeightsError(f"the weights are those of {' or '.join(candidates)}, not of {wanted!r}")
    return wanted


def _weights(settings: Settings, **names: str) -> dict[str, float]:
    """Return the loss weights that the authors' ``params.json`` states; left to the defaults where it does not."""
    return {ours: float(settings.params[key]) for ours, key in names.items() if key in settings.params}


def _arguments(predictor: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in predictor.items() if key != "prefix"}


def _predictor_names(predictor: dict[str, Any]) -> dict[str, str]:
    return {"predictor.": f"predictor.{predictor['prefix']}"}
