"""Import of the authors' published checkpoints as runs, and export of runs as safetensors with a card."""

from equissl.weights.backbone import Backbone
from equissl.weights.detectors import detector_state, import_openpcdet, load_detector
from equissl.weights.export import ExportReport, export_run, load_exported
from equissl.weights.images import library_backbone
from equissl.weights.imported import ImportReport
from equissl.weights.imports import import_weights
from equissl.weights.initial import BackboneReport, load_backbone
from equissl.weights.layouts import Layout, find_layout, rename
from equissl.weights.openpcdet import load_openpcdet, to_openpcdet
from equissl.weights.reading import StoredWeights, WeightsError, read_weights

__all__ = [
    "Backbone",
    "BackboneReport",
    "ExportReport",
    "ImportReport",
    "Layout",
    "StoredWeights",
    "WeightsError",
    "detector_state",
    "export_run",
    "find_layout",
    "import_openpcdet",
    "import_weights",
    "library_backbone",
    "load_backbone",
    "load_detector",
    "load_exported",
    "load_openpcdet",
    "read_weights",
    "rename",
    "to_openpcdet",
]
