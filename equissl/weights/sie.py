"""The 14 models of SIE's training script (Garrido et al. 2023, arXiv 2302.10283), recognised by their weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from equissl.weights.layouts import Layout, choose
from equissl.weights.reading import WeightsError
from equissl.weights.script import Script
from equissl.weights.shapes import (
    Tensors,
    predictor_config,
    projector_sizes,
    reference_encoder,
    regressor_config,
    whole_sizes,
)

BACKBONE = "equissl.weights.backbone.Backbone"
EVALUATOR = "evaluator."
DROPPED = {EVALUATOR: "online evaluator of the authors' training script"}
# The script's backbones that compute what their shapes say; resnet18_no_relu, for one, looks like resnet18.
ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet50w2", "resnet50w4", "resnet50w5")
# Ours, the script's argument, and its value in the published run, or else its default.
VICREG = {"sim": ("sim_coeff", 10.0), "std": ("std_coeff", 10.0), "cov": ("cov_coeff", 1.0)}
TEMPERATURE = {"temperature": ("simclr_temp", 0.1)}
Sizes = tuple[int, list[int]]


def sie_layout(tensors: Tensors, script: Script) -> Layout:
    """Find the model of SIE's repository that these weights are of.

    Args:
        tensors: by the authors' names.
        script: what is known of the training script.
    """
    if bare := bare_backbone(tensors, "SIE", script):
        return bare
    encoder, dim = reference_encoder(tensors, "backbone.")
    check_architecture(script, encoder["name"])
    layout = _of_parts(tensors, script, encoder, dim)
    sign = {"sign": script.assume("sign", "legacy")} if "action" in layout.init_args else {}
    return replace(layout, init_args={**layout.init_args, **sign}, dropped=DROPPED, config=training_config(script))


def _of_parts(tensors: Tensors, script: Script, encoder: dict[str, Any], dim: int) -> Layout:
    parts = {key.partition(".")[0] for key in tensors}
    if "projector_equi" in parts:
        equi = projector_sizes(tensors, "projector_equi")
        if "projector_inv" not in parts:
            return _only_equi(tensors, script, encoder, equi)
        inv = projector_sizes(tensors, "projector_inv")
        find = _split if inv[0] < dim else _equimod
        return find(tensors, script, encoder, inv, equi)
    args = {"encoder": encoder, "projector": projector_sizes(tensors, "projector")[1]}
    if "predictor" in parts:
        return _aug_self(tensors, script, args)
    return _invariant(tensors, script, args)


def _split(tensors: Tensors, script: Script, encoder: dict[str, Any], inv: Sizes, equi: Sizes) -> Layout:
    predictor, names = predictor_config(tensors, equi[1][-1], script)
    option = choose(script, ["SIERotColor"] if "hue" in predictor["action"] else ["SIE", "SIENoVar"])
    args = {
        "encoder": encoder,
        "projector": whole_sizes(inv[1], equi[1], inv[0], equi[0]),
        "equi_dim": equi[0],
        "variance_on_predictor": option != "SIENoVar",
        **script.weights(equi=("equi_factor", 0.45), **VICREG),
    }
    return _layout(option, "SIE", {**args, **predictor}, names)


def _equimod(tensors: Tensors, script: Script, encoder: dict[str, Any], inv: Sizes, equi: Sizes) -> Layout:
    predictor, names = predictor_config(tensors, equi[1][-1], script)
    if inv[1] != equi[1]:
        raise WeightsError(f"expected projector_inv and projector_equi of equal sizes, found {inv[1]} and {equi[1]}")
    hue = "hue" in predictor["action"]
    option = choose(script, ["SimCLREquiModRotColor"] if hue else ["SimCLREquiMod", "VICRegEquiMod"])
    vicreg = option.startswith("VICReg")
    options = script.weights(**(VICREG if vicreg else TEMPERATURE))
    # the published code ignores the factor with colours
    equi_weight = {"equi": 1.0} if hue else script.weights(equi=("equi_factor", 4.5))
    args = {
        "encoder": encoder,
        "projector": inv[1],
        "invariant": {"name": "vicreg" if vicreg else "nt_xent", "options": options},
        "equivariant": {"name": "vicreg_prediction" if vicreg else "nt_xent", "options": options},
    }
    return _layout(option, "Composed", {**args, **equi_weight, **predictor}, names)


def _only_equi(tensors: Tensors, script: Script, encoder: dict[str, Any], equi: Sizes) -> Layout:
    predictor, names = predictor_config(tensors, equi[1][-1], script)
    hue = "hue" in predictor["action"]
    option = choose(script, ["SimCLROnlyEquiRotColor"] if hue else ["SimCLROnlyEqui", "SIEOnlyEqui"])
    objective: dict[str, Any] = {"name": "nt_xent", "options": {}}
    if option == "SIEOnlyEqui":
        objective = {"name": "vicreg_prediction", "options": {"variance_on_predictor": True}}
    objective["options"] |= script.weights(**(VICREG if option == "SIEOnlyEqui" else TEMPERATURE))
    args = {"encoder": encoder, "projector": equi[1], "invariant": None, "equivariant": objective}
    return _layout(option, "Composed", {**args, **predictor}, names)


def _aug_self(tensors: Tensors, script: Script, args: dict[str, Any]) -> Layout:
    regressor = regressor_config(tensors)
    option = choose(script, ["SimCLRAugSelfRotColor" if "hue" in regressor["action"] else "SimCLRAugSelf"])
    objective = {"objective": {"name": "nt_xent", "options": script.weights(**TEMPERATURE)}}
    weight = script.weights(weight=("ec_weight", 1.0))
    return _layout(option, "AugSelf", {**args, **regressor, **objective, **weight}, (("regressor.", "predictor."),))


def _invariant(tensors: Tensors, script: Script, args: dict[str, Any]) -> Layout:
    probe, width = tensors.get(f"{EVALUATOR}classifier_inv_emb.weight"), args["projector"][-1]
    if probe is not None and probe.shape[-1] < width:
        candidates = ["VICRegPartInv"]
    else:
        candidates = ["VICReg", "SimCLR"] if probe is not None else ["VICReg", "SimCLR", "VICRegPartInv"]
    option = choose(script, candidates)
    if option == "SimCLR":
        return _layout(option, "SimCLR", {**args, **script.weights(**TEMPERATURE)})
    part = {"inv_dim": _invariant_size(script, probe, width)} if option == "VICRegPartInv" else {}
    return _layout(option, "VICReg", {**args, **part, **script.weights(**VICREG)})


def _invariant_size(script: Script, probe: Any, width: int) -> int:
    """Return how many dimensions of the embedding have to agree: from the online evaluator, or the script's word."""
    if probe is not None:
        return int(probe.shape[-1])
    free = script.number("equi")
    if free is None:
        raise WeightsError(
            f"VICRegPartInv without its online evaluator does not tell how many of the {width} dimensions of the "
            "embedding need not agree: expected the script's argument as --equi, or in a params.json"
        )
    if not 0 < free < width:
        raise WeightsError(f"expected equi between 1 and {width - 1}, for an embedding of {width}, got {free:g}")
    return width - int(free)


def bare_backbone(tensors: Tensors, whose: str, script: Script) -> Layout | None:
    """Return the layout of a backbone alone, which SIE's scripts save at their end; None for anything else.

    Args:
        tensors: by the authors' names.
        whose: repository.
        script: what is known of the training script.
    """
    prefix = "" if "conv1.weight" in tensors else "backbone."
    if any(not key.startswith((prefix, EVALUATOR)) for key in tensors):
        return None
    encoder, _ = reference_encoder(tensors, prefix)
    check_architecture(script, encoder["name"])
    note = "the file holds the backbone alone: there is no projector or predictor to evaluate"
    return Layout(
        f"backbone of {whose}", BACKBONE, {"encoder": encoder}, (("encoder.", prefix),), DROPPED, notes=(note,)
    )


def check_architecture(script: Script, name: str) -> None:
    """Raise WeightsError for a backbone that computes something else than the one that its shapes look like.

    Args:
        script: that may name the backbone.
        name: of the one that the shapes look like.
    """
    arch = script.assume("arch", name, flag="params")
    if arch not in ARCHITECTURES:
        raise WeightsError(
            f"expected one of {', '.join(ARCHITECTURES)} as arch of the training script, got {arch!r}: its shapes are "
            f"those of {name}, but it computes something else"
        )


def training_config(script: Script) -> dict[str, Any]:
    """Return the sections of our config that the script's arguments fill."""
    numbers = {
        ("data", "batch_size"): script.number("batch_size"),
        ("optim", "lr"): script.number("base_lr"),
        ("optim", "weight_decay"): script.number("wd"),
        ("trainer", "max_epochs"): script.number("epochs"),
    }
    config: dict[str, Any] = {}
    for (section, key), value in numbers.items():
        if value is not None:
            config.setdefault(section, {})[key] = int(value) if key in ("batch_size", "max_epochs") else value
    if (full := script.get("no_amp")) is not None:
        config.setdefault("trainer", {})["precision"] = "32" if full else "16"
    return config


def _layout(option: str, class_path: str, init_args: dict[str, Any], names: tuple[tuple[str, str], ...] = ()) -> Layout:
    return Layout(option, class_path, init_args, (("encoder.", "backbone."), *names, ("", "")))
