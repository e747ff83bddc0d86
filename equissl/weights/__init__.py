"""Weights in and out: the authors' published checkpoints as runs, and runs as safetensors with a card."""

from equissl.weights.backbone import Backbone
from equissl.weights.export import ExportReport, export_run, library_backbone, load_exported
from equissl.weights.imports import ImportReport, import_weights
from equissl.weights.layouts import Layout, find_layout, rename
from equissl.weights.openpcdet import export_openpcdet, load_openpcdet, to_openpcdet
from equissl.weights.reading import StoredWeights, WeightsError, read_weights

__all__ = [
    "Backbone",
    "ExportReport",
    "ImportReport",
    "Layout",
    "StoredWeights",
    "WeightsError",
    "export_openpcdet",
    "export_run",
    "find_layout",
    "import_weights",
    "library_backbone",
    "load_exported",
    "load_openpcdet",
    "read_weights",
    "rename",
    "to_openpcdet",
]
