"""The models of seq-JEPA's training scripts (Ghaemi et al. 2025, arXiv 2505.03176), recognised by their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equissl.weights.layouts import Layout, choose
from equissl.weights.reading import WeightsError
from equissl.weights.script import Script
from equissl.weights.seqjepa_baselines import baseline_layout
from equissl.weights.seqjepa_data import (
    AUGMENTATIONS,
    DATASETS,
    PROBES,
    data_config,
    encoder_config,
    find_action,
    find_dataset,
    sequence_views,
)
from equissl.weights.shapes import Tensors, shape_of, torchvision_encoder

OPTION = "seqjepa"
HEADS = ("agg_token", "target_encoder.", "action_proj.", "predictor.", "transformer_encoder.")
LAYERS = "transformer_encoder.transformer_encoder.layers."
DROPPED = dict.fromkeys(PROBES, "online probes of the authors' training script")
UNUSED = "never used: the model was trained without action conditioning"
NAMES = (
    ("encoder.model.", "encoder."),
    ("teacher.networks.encoder.model.", "target_encoder."),
    ("aggregator.token", "agg_token"),
    ("aggregator.encoder.norm.", "transformer_encoder.norm."),
    ("aggregator.encoder.", "transformer_encoder.transformer_encoder."),
    ("action_projector.", "action_proj."),
    ("", ""),
)


@dataclass(frozen=True)
class _Widths:
    """Sizes read off the weights.

    Attributes:
        features: of a representation.
        told: of what a token holds beside it; 0 for a model that is told nothing.
        actions: numbers that an action may have.
        embedded: whether actions have a projector.
        hidden: width of the predictor, 0 for a linear one.
    """

    features: int
    told: int
    actions: set[int]
    embedded: bool
    hidden: int


def seqjepa_layout(tensors: Tensors, script: Script) -> Layout:
    """Find the model of seq-JEPA's repository that these weights are of.

    Args:
        tensors: by the authors' names.
        script: what is known of the training script.
    """
    if not any(key.startswith(LAYERS) for key in tensors):
        return baseline_layout(tensors, script)
    torchvision_encoder(tensors, "encoder.")
    _check_names(tensors)
    widths = _widths(tensors)
    choose(script, [OPTION], name="method")
    name = find_dataset(tensors, script, widths.actions)
    dataset, encoder = DATASETS[name], encoder_config(tensors, name)
    layers = {key.removeprefix(LAYERS).partition(".")[0] for key in tensors if key.startswith(LAYERS)}
    args: dict[str, Any] = {"encoder": encoder, "layers": len(layers), "hidden": widths.hidden}
    args |= {"views": sequence_views(script, dataset.form), "heads": _heads(script, widths)}
    args["target"] = "teacher" if any(key.startswith("target_encoder.") for key in tensors) else "online"
    told, narrowed = _told(widths, name, script)
    dropped = dict(DROPPED) if widths.told else DROPPED | {"action_proj.": UNUSED}
    config = {"data": data_config(name, script, told["action"])}
    return Layout(OPTION, "SeqJEPA", args | told, NAMES, dropped, narrowed, config=config)


def _check_names(tensors: Tensors) -> None:
    known = ("encoder.", *HEADS, *PROBES)
    odd = [key for key in tensors if not key.startswith(known)][:5]
    if odd:
        raise WeightsError(f"expected the weights of a seq-JEPA model ({', '.join(known)}), found {odd}")


def _widths(tensors: Tensors) -> _Widths:
    deep = "predictor.3.weight" in tensors
    features, hidden = shape_of(
        tensors, "predictor.3.weight" if deep else "predictor.0.weight", 2, "how wide the predictor is"
    )
    told = shape_of(tensors, "agg_token", 3, "how wide the transformer is")[2] - features
    if not told:
        return _Widths(features, 0, set(), False, hidden if deep else 0)
    embedded = "action_proj.0.weight" in tensors
    if embedded:
        actions = {shape_of(tensors, "action_proj.0.weight", 2, "what the model is told")[1]}
    elif probe := next(
        (f"online_equiprobe.{i}.weight" for i in (4, 0) if f"online_equiprobe.{i}.weight" in tensors), ""
    ):
        actions = {tensors[probe].shape[0]}
    else:  # without a projector, zeros may stand behind the action
        actions = set(range(1, told + 1))
    return _Widths(features, told, actions, embedded, hidden if deep else 0)


def _heads(script: Script, widths: _Widths) -> int:
    heads = int(script.assume("num_heads", 4))
    width = widths.features + widths.told
    if heads < 1 or width % heads:
        raise WeightsError(f"expected num_heads to divide the transformer's {width} channels, got {heads}")
    return heads


def _told(widths: _Widths, name: str, script: Script) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the arguments that say what the model is told, and the predictor's columns that are taken."""
    if not widths.told:
        return {"action": None}, {}
    changed = DATASETS[name].form == AUGMENTATIONS
    args: dict[str, Any] = {"action": find_action(name, script, _possible(widths, script))}
    if "quaternion" in args["action"]:
        args["sign"] = script.assume("sign", "legacy")
    if changed:
        args["over_views"] = True
    if widths.embedded:
        return args | {"action_dim": widths.told}, {}
    # Without a projector, augmentations are told as they are; of rotations the predictor only ever got zeros.
    if changed:
        return args | {"action_dim": 0, "told": "states"}, {}
    return args | {"action_dim": 0, "condition": "aggregator"}, {"predictor.0.weight": widths.features + widths.told}


def _possible(widths: _Widths, script: Script) -> set[int]:
    """Return the numbers that an action may have, as zeros behind it fill the heads."""
    if widths.embedded:
        return widths.actions
    heads = int(script.get("num_heads") or 4)
    return {size for size in widths.actions if size + -(widths.features + size) % heads == widths.told}
