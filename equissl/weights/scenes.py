"""Runs on LiDAR scenes as files that others can use."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from equissl.detection import Detector
from equissl.methods.base import Method
from equissl.methods.drives import DriveMethod
from equissl.weights.detectors import detector_data, detector_state
from equissl.weights.openpcdet import to_openpcdet, write_openpcdet
from equissl.weights.reading import WeightsError

CHECKPOINT, DESCRIPTION = "openpcdet.pth", "openpcdet.json"
LOAD = f"python train.py --cfg_file CONFIG --pretrained_model {CHECKPOINT} (its data as in {DESCRIPTION})"


def export_drive_backbone(method: Method, out: Path) -> tuple[str, ...]:
    """Writes the backbone, or a whole detector, under OpenPCDet's names, and what its data must be like to fit.

    Args:
        method: of a scene run, or a detector.
        out: folder to write; must not hold such an export yet.

    Returns:
        names of the files.

    Raises:
        WeightsError: for a method of images, or a folder that is not free.
    """
    if not isinstance(method, DriveMethod):
        raise WeightsError(f"OpenPCDet takes voxel backbones: expected a run on scenes, got {type(method).__name__}")
    if out.is_file() or (out / CHECKPOINT).exists():
        raise WeightsError(f"{out} is not free: expected a folder without {CHECKPOINT}")
    out.mkdir(parents=True, exist_ok=True)
    (out / DESCRIPTION).write_text(json.dumps(openpcdet_data(method), indent=2) + "\n", encoding="utf-8")
    state = detector_state(method) if isinstance(method, Detector) else to_openpcdet(method.encoder.backbone)
    write_openpcdet(state, out / CHECKPOINT)
    return CHECKPOINT, DESCRIPTION


def openpcdet_data(method: DriveMethod) -> dict[str, Any]:
    """Keys of OpenPCDet's configs that the weights were trained with."""
    config = method.encoder.config
    columns = ["x", "y", "z", "intensity"][: config.in_channels]
    return {
        "MODEL.BACKBONE_3D.NAME": config.backbone,
        "DATA_CONFIG.POINT_CLOUD_RANGE": list(config.point_range),
        "DATA_CONFIG.DATA_PROCESSOR.transform_points_to_voxels.VOXEL_SIZE": list(config.voxel_size),
        "DATA_CONFIG.DATA_PROCESSOR.transform_points_to_voxels.MAX_POINTS_PER_VOXEL": config.max_points,
        "DATA_CONFIG.POINT_FEATURE_ENCODING.used_feature_list": columns,
        "coordinates": config.coordinates,
        **(detector_data(method) if isinstance(method, Detector) else {}),
    }


def drive_card(method: DriveMethod) -> dict[str, Any]:
    """What the card of an exported scene method says of its input."""
    encoder = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(method.encoder.config).items()
    }
    return {
        "parts": {"all": method.feature_dim},
        "clouds": {"columns": "x forward, y left, z up in metres, intensity in 0..1", "encoder": encoder},
    }
