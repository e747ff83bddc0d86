"""Import and export of whole detectors as OpenPCDet's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equissl.detection import Detector
from equissl.runs.config import ConfigError
from equissl.runs.configfile import build_method, load_config, save_config
from equissl.util.runfolder import CONFIG_FILE, LAST
from equissl.weights.imported import ImportReport, save_imported
from equissl.weights.openpcdet import PREFIX, load_openpcdet, to_openpcdet
from equissl.weights.reading import WeightsError, read_weights

PARTS = ("backbone_2d.", "dense_head.", "roi_head.")  # of the same names in OpenPCDet
STEP = "global_step"  # a counter that OpenPCDet keeps among the weights


def detector_state(detector: Detector, layout: str = "krsc") -> dict[str, Tensor]:
    """Return the state dict of a detector under OpenPCDet's names, on the CPU; nothing of OpenPCDet's own is missing.

    Args:
        detector: of OpenPCDet's three: SECOND, CenterPoint, Voxel R-CNN.
        layout: of the sparse convolutions' weights, one of `LAYOUTS`.
    """
    others = {
        name: value.detach().cpu().clone() for name, value in detector.state_dict().items() if name.startswith(PARTS)
    }
    step = {STEP: torch.zeros(1, dtype=torch.int64)}
    return {**step, **to_openpcdet(detector.encoder.backbone, layout=layout), **others}


def load_detector(detector: Detector, tensors: Mapping[str, Tensor]) -> str:
    """Fill a detector with the weights of an OpenPCDet checkpoint; every name and shape must fit.

    Args:
        detector: receives the weights.
        tensors: weights under OpenPCDet's names.

    Returns:
        the layout of its sparse convolutions.

    Raises:
        WeightsError: naming tensors that are missing, left over, or of another shape.
    """
    own = {name: value for name, value in detector.state_dict().items() if name.startswith(PARTS)}
    found = {name: value for name, value in tensors.items() if not name.startswith(PREFIX) and name != STEP}
    problems = [f"missing {name}" for name in own if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in own]
    problems += [
        f"{name}: expected shape {tuple(value.shape)}, found {tuple(found[name].shape)}"
        for name, value in own.items()
        if name in found and found[name].shape != value.shape
    ]
    if problems:
        listed = "\n  ".join(problems[:8]) + (f"\n  … and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise WeightsError(f"weights do not fit {type(detector).__name__}:\n  {listed}")
    layout = load_openpcdet(detector.encoder.backbone, tensors)
    detector.load_state_dict(found, strict=False)
    return layout


def detector_data(detector: Detector) -> dict[str, Any]:
    """Return the keys of OpenPCDet's configs that neck, head and classes of the exported weights go with.

    Raises:
        WeightsError: for a head that OpenPCDet does not have.
    """
    neck = detector.backbone_2d.config
    head = detector.dense_head.openpcdet(int(detector.encoder.cell_voxels / neck.scale))
    if head is None:
        raise WeightsError(f"OpenPCDet has no head like {type(detector.dense_head).__name__}: export format equissl")
    return {
        "CLASS_NAMES": [kind.name for kind in detector.classes],
        "MODEL.BACKBONE_2D.LAYER_NUMS": list(neck.layers),
        "MODEL.BACKBONE_2D.LAYER_STRIDES": list(neck.strides),
        "MODEL.BACKBONE_2D.NUM_FILTERS": list(neck.widths),
        "MODEL.BACKBONE_2D.UPSAMPLE_STRIDES": list(neck.up_strides),
        "MODEL.BACKBONE_2D.NUM_UPSAMPLE_FILTERS": list(neck.up_widths),
        **{f"MODEL.DENSE_HEAD.{key}": value for key, value in head.items()},
        **{key if key == "query" else f"MODEL.ROI_HEAD.{key}": v for key, v in detector.openpcdet_refinement().items()},
    }


def import_openpcdet(
    file: str | Path,
    out: str | Path,
    config: str = "detection/kitti_second",
    store: str | Path | None = None,
    backbone_only: bool = False,
) -> ImportReport:
    """Read a detector that OpenPCDet trained into a run folder, to evaluate, predict with, or take the backbone of.

    Args:
        file: the checkpoint.
        out: run folder to write.
        config: recipe of the detector that it is.
        store: drive store of the run; the recipe's where None.
        backbone_only: take the voxel backbone alone, of any detector that has it; neck and head stay untrained.

    Returns:
        an `ImportReport`.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: a file that cannot be read, weights that do not fit, or a folder that is not free.
        ConfigError: no such recipe, or one that is not a detector's.
    """
    out = Path(out)
    if out.is_file() or (out / LAST).exists():
        raise WeightsError(f"{out} is not free: expected a new run folder for --out")
    given = [] if store is None else ["--data.store", str(Path(store).resolve())]
    settings = load_config(config, given)
    with torch.random.fork_rng(devices=[]):
        detector = build_method(settings.method)
    if not isinstance(detector, Detector):
        raise ConfigError(f"expected the recipe of a detector, {config} is one of {type(detector).__name__}")
    stored = read_weights(file)
    try:
        if backbone_only:
            layout = load_openpcdet(detector.encoder.backbone, stored.tensors)
        else:
            layout = load_detector(detector, stored.tensors)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    (out / LAST).parent.mkdir(parents=True, exist_ok=True)
    save_config(settings, out / CONFIG_FILE)
    what = "backbone" if backbone_only else "detector"
    origin = {"family": "openpcdet", "option": what, "file": stored.file.name, "sha256": stored.sha256}
    save_imported(out / LAST, detector, settings.to_dict(), {**origin, "epoch": stored.epoch})
    filled = detector.encoder.backbone if backbone_only else detector
    parameters = sum(parameter.numel() for parameter in filled.parameters())
    left = ("neck and head are untrained: for --init of finetune only",) if backbone_only else ()
    return ImportReport(out, what, type(detector).__name__, parameters, (f"weights in the layout {layout}", *left))
