"""Data sets and actions of seq-JEPA's training scripts (Ghaemi et al. 2025, arXiv 2505.03176)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from equissl.encoders.config import PIXEL_MEAN, PIXEL_STD
from equissl.weights.reading import WeightsError
from equissl.weights.script import Script
from equissl.weights.shapes import Tensors, torchvision_encoder

Three = tuple[float, float, float]
VIEWS, AUGMENTATIONS, SACCADES = "views", "augmentations", "saccades"
# Probes that the scripts train beside the model; their outputs count classes, and numbers in an action.
PROBES = ("online_linprobe.", "online_res_probe.", "online_agg_probe.", "online_equiprobe.")


@dataclass(frozen=True)
class TrainedOn:
    """A data set that a script trains on.

    Attributes:
        classes: number of them.
        form: how a sequence of views comes about: rendered ``views``, ``augmentations``, or ``saccades``.
        actions: ours that may be meant, by the script's ``latent_type``.
        mean, std: of pixels, as the script has them.
        data: section of our config.
    """

    classes: int
    form: str
    actions: Mapping[str, tuple[str, ...]]
    mean: Three
    std: Three
    data: dict[str, Any] = field(default_factory=dict)


_ROTATIONS = {"rot": ("quaternion",), "rotcolor": ("quaternion+hue",), "all": ("quaternion+scene",)}
_PARTS = {"crop": ("crop",), "colorjitter": ("jitter",), "blur": ("blur",)}
_CHANGES = {"aug": ("crop+jitter+blur",), **_PARTS}
_CHANGES_WITHOUT_BLUR = {"aug": ("crop+jitter+blur", "crop+jitter"), **_PARTS}  # with the script's --no-blur
_POSITIONS = {"position": ("position",)}
_AUGMENTED = {"kind": "images", "policy": "seq_jepa"}
_FIXATED = {"kind": "images", "form": "saccades"}
DATASETS = {
    "3diebench": TrainedOn(55, VIEWS, _ROTATIONS, PIXEL_MEAN, PIXEL_STD),
    "cifar100": TrainedOn(
        100, AUGMENTATIONS, _CHANGES_WITHOUT_BLUR, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761),
        _AUGMENTED | {"size": 32},
    ),
    "tinyimagenet": TrainedOn(
        200, AUGMENTATIONS, _CHANGES, (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262),
        _AUGMENTED | {"size": 64},
    ),
    "stl10": TrainedOn(
        10, SACCADES, _POSITIONS, (0.4467, 0.4398, 0.4066), (0.2241, 0.2215, 0.2239),
        _FIXATED | {"split": "unlabeled", "form_options": {"patch": 32}},
    ),
    "imagenet": TrainedOn(1000, SACCADES, _POSITIONS, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), _FIXATED),
}  # fmt: skip
# Numbers in an action of each kind.
SIZES = {
    "quaternion": 4, "quaternion+hue": 6, "quaternion+scene": 8, "crop+jitter+blur": 9, "crop+jitter": 8, "crop": 4,
    "jitter": 4, "blur": 1, "position": 2,
}  # fmt: skip


def encoder_config(tensors: Tensors, name: str) -> dict[str, Any]:
    """Return the config of the encoder, with the statistics of a data set's pixels.

    Args:
        tensors: by the authors' names.
        name: of the data set.
    """
    found = torchvision_encoder(tensors, "encoder.")
    statistics = {"pixel_mean": list(DATASETS[name].mean), "pixel_std": list(DATASETS[name].std)}
    return {**found, **statistics, "options": {"zero_init_residual": True}}


def find_dataset(tensors: Tensors, script: Script, sizes: set[int]) -> str:
    """Find the data set that a model was trained on: from the file, from a flag, or by the script's default.

    Args:
        tensors: by the authors' names.
        script: what is known of the training script.
        sizes: numbers that an action may have; empty for a model that is told nothing.

    Raises:
        WeightsError: the file and the flag contradict each other, or neither tells.
    """
    told = _told_by_file(tensors, script.get("run_id"))
    said = script.get("dataset")
    if said is not None and said not in DATASETS:
        raise WeightsError(f"expected dataset to be one of {', '.join(DATASETS)}, got {said!r}")
    if said and told and said != told:
        raise WeightsError(f"the weights were trained on {told}, as their probes or the run's name say, not on {said}")
    if said or told:
        return str(said or told)
    fits = [name for name, dataset in DATASETS.items() if not sizes or sizes & action_sizes(dataset)]
    small = tensors["encoder.conv1.weight"].shape[2] == 3  # for images and patches of 32 pixels
    if len(fits) == 1:
        return fits[0]
    if small or "3diebench" not in fits:
        raise WeightsError(
            f"the file does not tell whether the model was trained on {' or '.join(fits)}, whose pixel statistics "
            "differ: say so with --dataset"
        )
    return str(script.assume("dataset", "3diebench"))


def _told_by_file(tensors: Tensors, run_id: str | None) -> str | None:
    if run_id is not None:
        for name in DATASETS:
            if run_id.endswith(f"-{name}"):
                return name
    for probe in ("online_linprobe.0.weight", "online_res_probe.0.weight"):
        if probe in tensors:
            classes = tensors[probe].shape[0]
            return next((name for name, dataset in DATASETS.items() if dataset.classes == classes), None)
    return None


def action_sizes(dataset: TrainedOn) -> set[int]:
    """Return how many numbers an action may have on a data set."""
    return {SIZES[action] for actions in dataset.actions.values() for action in actions}


def find_action(name: str, script: Script, sizes: set[int]) -> str:
    """Find what a model was told about the change between two views.

    Args:
        name: of the data set.
        script: what is known of the training script.
        sizes: numbers that an action may have.

    Raises:
        WeightsError: no action of the data set has such a size, or several have and nobody says which.
    """
    known = DATASETS[name].actions
    no_blur = script.get("no_blur") if known is _CHANGES_WITHOUT_BLUR else None
    fits = [
        (kind, action)
        for kind, actions in known.items()
        for action in actions
        if SIZES[action] in sizes and _blurs_as_said(action, no_blur)
    ]
    numbers, kinds = " or ".join(map(str, sorted(sizes))), " or ".join(kind for kind, _ in fits)
    wanted = script.get("latent_type")
    found = [action for kind, action in fits if wanted in (None, kind)]
    if not found:
        told = f", and latent_type {wanted!r} is not among these: {kinds}" if fits else "; --dataset names another"
        raise WeightsError(f"the weights are of a model that is told {numbers} numbers on {name}{told}")
    if len(found) > 1:
        raise WeightsError(
            f"actions of {numbers} numbers on {name} are those of {kinds}, which the file does not tell: say so with "
            "--latent_type"
        )
    return found[0]


def _blurs_as_said(action: str, no_blur: bool | None) -> bool:
    return not (no_blur and "blur" in action) and not (no_blur is False and action == "crop+jitter")


def data_config(name: str, script: Script, action: str | None) -> dict[str, Any]:
    """Return the section ``data`` of our config.

    Args:
        name: of the data set.
        script: what is known of the training script.
        action: that the model is told, or None.
    """
    dataset = DATASETS[name]
    if dataset.actions is not _CHANGES_WITHOUT_BLUR:
        return dict(dataset.data)
    told = {"crop+jitter+blur": False, "blur": False, "crop+jitter": True}.get(action or "")
    blurred = not (script.assume("no_blur", False) if told is None else told)
    return dict(dataset.data) if blurred else dataset.data | {"policy_options": {"blur": 0.0, "last": {"blur": 0.0}}}


def sequence_views(script: Script, form: str) -> int:
    """Return how many views a sequence has, the predicted one included.

    Args:
        script: what is known of the training script.
        form: of the sequences.
    """
    said = script.get("views")
    if said is not None:
        return int(said)
    saccades, observed = script.number("num_saccades"), script.number("seq_len")
    if form == SACCADES and saccades is not None:
        return int(saccades)
    if form != SACCADES and observed is not None:
        return int(observed) + 1
    return int(script.assume("views", 5 if form == SACCADES else 4))
