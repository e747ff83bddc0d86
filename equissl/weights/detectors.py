"""Whole detectors to and from OpenPCDet's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equissl.detection import Detector, VoxelRCNN
from equissl.detection.anchor_head import AnchorHead
from equissl.detection.anchors import ROTATIONS
from equissl.weights.openpcdet import PREFIX, load_openpcdet, to_openpcdet
from equissl.weights.reading import WeightsError

PARTS = ("backbone_2d.", "dense_head.", "roi_head.")  # of the same names in OpenPCDet
STEP = "global_step"  # a counter that OpenPCDet keeps among the weights


def detector_state(detector: Detector, layout: str = "krsc") -> dict[str, Tensor]:
    """The state dict of a detector under OpenPCDet's names, on the CPU; nothing of OpenPCDet's own is missing.

    Args:
        detector: one of `DETECTORS`.
        layout: of the sparse convolutions' weights, one of `LAYOUTS`.
    """
    others = {
        name: value.detach().cpu().clone() for name, value in detector.state_dict().items() if name.startswith(PARTS)
    }
    step = {STEP: torch.zeros(1, dtype=torch.int64)}
    return {**step, **to_openpcdet(detector.encoder.backbone, layout=layout), **others}


def load_detector(detector: Detector, tensors: Mapping[str, Tensor]) -> str:
    """Fills a detector with the weights of an OpenPCDet checkpoint; every name and shape must fit.

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
    """Keys of OpenPCDet's configs that neck, head and classes of the exported weights go with."""
    neck = detector.backbone_2d.config
    found: dict[str, Any] = {
        "CLASS_NAMES": [kind.name for kind in detector.classes],
        "MODEL.BACKBONE_2D.LAYER_NUMS": list(neck.layers),
        "MODEL.BACKBONE_2D.LAYER_STRIDES": list(neck.strides),
        "MODEL.BACKBONE_2D.NUM_FILTERS": list(neck.widths),
        "MODEL.BACKBONE_2D.UPSAMPLE_STRIDES": list(neck.up_strides),
        "MODEL.BACKBONE_2D.NUM_UPSAMPLE_FILTERS": list(neck.up_widths),
        "MODEL.DENSE_HEAD.NAME": "AnchorHeadSingle" if isinstance(detector.dense_head, AnchorHead) else "CenterHead",
    }
    if isinstance(detector.dense_head, AnchorHead):
        found["MODEL.DENSE_HEAD.ANCHOR_GENERATOR_CONFIG"] = [
            {
                "class_name": kind.name,
                "anchor_sizes": [list(kind.size)],
                "anchor_rotations": list(ROTATIONS),
                "anchor_bottom_heights": [kind.bottom],
                "align_center": False,
                "feature_map_stride": int(detector.encoder.cell_voxels / neck.scale),
                "matched_threshold": kind.matched,
                "unmatched_threshold": kind.unmatched,
            }
            for kind in detector.dense_head.classes
        ]
    if isinstance(detector, VoxelRCNN):
        found |= _second_stage(detector)
    return found


def _second_stage(detector: VoxelRCNN) -> dict[str, Any]:
    pool, layers = detector.roi_head.pool, detector.roi_head.layers
    return {
        "MODEL.ROI_HEAD.NAME": "VoxelRCNNHead",
        "MODEL.ROI_HEAD.CLASS_AGNOSTIC": True,
        "MODEL.ROI_HEAD.SHARED_FC": list(layers.shared),
        "MODEL.ROI_HEAD.CLS_FC": list(layers.classes),
        "MODEL.ROI_HEAD.REG_FC": list(layers.boxes),
        "MODEL.ROI_HEAD.DP_RATIO": layers.dropout,
        "MODEL.ROI_HEAD.ROI_GRID_POOL.GRID_SIZE": pool.points,
        "MODEL.ROI_HEAD.ROI_GRID_POOL.FEATURES_SOURCE": [f"x_{stage}" for stage in pool.stages],
        "MODEL.ROI_HEAD.ROI_GRID_POOL.POOL_LAYERS": {
            f"x_{stage}": {
                "MLPS": [[pool.width, pool.width]],
                "QUERY_RANGES": [[pool.reach] * 3],
                "POOL_RADIUS": [layer.radius],
                "NSAMPLE": [pool.samples],
                "POOL_METHOD": "max_pool",
            }
            for stage, layer in zip(pool.stages, detector.roi_head.roi_grid_pool_layers, strict=True)
        },
        "query": pool.query,  # OpenPCDet's is a ball
    }


def import_openpcdet(
    file: str | Path,
    out: str | Path,
    config: str = "detection/kitti_second",
    store: str | Path | None = None,
    backbone_only: bool = False,
) -> Any:
    """Reads a detector that OpenPCDet trained into a run folder, to evaluate, predict with, or take the backbone of.

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
    from equissl.runs.checkpoint import LAST
    from equissl.training import ConfigError, build_method, load_config, save_config
    from equissl.weights.imports import ImportReport, save_imported
    from equissl.weights.reading import read_weights

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
    save_config(settings, out / "config.yaml")
    what = "backbone" if backbone_only else "detector"
    origin = {"family": "openpcdet", "option": what, "file": stored.file.name, "sha256": stored.sha256}
    save_imported(out / LAST, detector, settings.to_dict(), {**origin, "epoch": stored.epoch})
    filled = detector.encoder.backbone if backbone_only else detector
    parameters = sum(parameter.numel() for parameter in filled.parameters())
    left = ("neck and head are untrained: for --init of finetune only",) if backbone_only else ()
    return ImportReport(out, what, type(detector).__name__, parameters, (f"weights in the layout {layout}", *left))
