"""Verbs of the program, in the order in which they are listed; a verb's module is imported when it is called."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """Verb of the program.

    Attributes:
        path: of its function, which takes the words after the verb and returns the exit code.
        summary: one line.
    """

    path: str
    summary: str

    def __call__(self, argv: list[str]) -> int:
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)(argv)


VERBS: dict[str, Verb] = {
    "demo": Verb("equissl.verbs.tour:demo", "Make data, pretrain on them, evaluate and report; `demo lidar` on drives"),
    "render": Verb("equissl.verbs.views:render", "Render views of meshes into a store, with a gallery and a data card"),
    "pack": Verb("equissl.verbs.views:pack", "Pack a folder in the original 3DIEBench layout into a store"),
    "unpack": Verb("equissl.verbs.views:unpack", "Write a store out as a folder in the original 3DIEBench layout"),
    "ingest": Verb("equissl.verbs.lidar:ingest", "Read recorded LiDAR drives into a drive store"),
    "simulate": Verb("equissl.verbs.lidar:simulate", "Simulate LiDAR drives with exact poses, boxes and scene flow"),
    "sequences": Verb("equissl.verbs.views:sequences", "Write fixed image sequences into a store, to evaluate on"),
    "interactions": Verb(
        "equissl.verbs.interactions:interactions", "Write generated interactions of users with items, as CSV"
    ),
    "queries": Verb("equissl.verbs.views:queries", "Write similarity queries of views, for a person to answer"),
    "generate": Verb("equissl.verbs.views:generate", "Train a small diffusion model on images, and sample it"),
    "flow": Verb("equissl.verbs.lidar:flow", "Copy a drive store with the scene flow of a provider"),
    "pretrain": Verb("equissl.verbs.train:pretrain", "Pretrain a method; started again, it continues"),
    "stages": Verb("equissl.verbs.train:stages", "Train stages with negatives from clusters of those before (MCL)"),
    "finetune": Verb(
        "equissl.verbs.train:finetune", "Train a detector or a classifier, from a pretrained encoder or from scratch"
    ),
    "evaluate": Verb("equissl.verbs.results:evaluate", "Measure the frozen method of a run on unseen data"),
    "predict": Verb("equissl.verbs.results:predict", "Write the detections of a detector, as files and pictures"),
    "report": Verb("equissl.verbs.results:report", "Compare evaluated runs in a table and on one HTML page"),
    "import": Verb("equissl.verbs.weights:import_", "Read a published checkpoint into a run folder, to evaluate"),
    "export": Verb("equissl.verbs.weights:export", "Write the method of a run as safetensors with a JSON card"),
    "bench": Verb("equissl.verbs.tour:bench", "Measure this machine, or train a benchmark: `bench NAME`"),
    "doctor": Verb("equissl.verbs.tour:doctor", "Show what is present, what is missing, and how to fix it"),
}
