"""Export of voxel backbones and detectors to OpenPCDet, and the card of a method on clouds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from equissl.detection import Detector
from equissl.methods.drives import DriveMethod
from equissl.util.files import write_json
from equissl.weights.detectors import detector_data, detector_state
from equissl.weights.export import ExportReport
from equissl.weights.openpcdet import to_openpcdet, write_openpcdet
from equissl.weights.reading import WeightsError

CHECKPOINT, DESCRIPTION = "openpcdet.pth", "openpcdet.json"
LOAD = f"python train.py --cfg_file CONFIG --pretrained_model {CHECKPOINT} (its data as in {DESCRIPTION})"


def export_for_openpcdet(method: DriveMethod, out: Path) -> ExportReport:
    """Write the backbone, or a whole detector, under OpenPCDet's names, and what its data must be like to fit.

    Args:
        method: of a run on LiDAR data.
        out: folder to write; must not hold such an export yet.

    Raises:
        WeightsError: a folder that is not free, or a head that OpenPCDet does not have.
    """
    if out.is_file() or (out / CHECKPOINT).exists():
        raise WeightsError(f"{out} is not free: expected a folder without {CHECKPOINT}")
    description = openpcdet_data(method)
    state = detector_state(method) if isinstance(method, Detector) else to_openpcdet(method.encoder.backbone)
    write_json(out / DESCRIPTION, description)
    write_openpcdet(state, out / CHECKPOINT)
    return ExportReport(out, (CHECKPOINT, DESCRIPTION), LOAD)


def no_library_backbone(method: DriveMethod, config: Any) -> tuple[None, str]:
    """Return the reason why a voxel backbone is no model of an image library.

    Args:
        method, config: of the run.
    """
    return None, "its backbone is a sparse one of voxels: export it once more with --format openpcdet"


def openpcdet_data(method: DriveMethod) -> dict[str, Any]:
    """Return the keys of OpenPCDet's configs that the weights were trained with."""
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


def cloud_card(method: DriveMethod, config: Any = None) -> dict[str, Any]:
    """Describe the input of a method on clouds.

    Args:
        method: the exported method.
        config: of the run; not used.
    """
    encoder = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(method.encoder.config).items()
    }
    return {
        "parts": {"all": method.feature_dim},
        "clouds": {"columns": "x forward, y left, z up in metres, intensity in 0..1", "encoder": encoder},
    }
