"""The verbs of the program, one function each, in the order in which they are listed."""

from __future__ import annotations

from equissl.verbs.lidar import flow, ingest, simulate
from equissl.verbs.results import evaluate, export, import_, predict, report
from equissl.verbs.tour import bench, demo, doctor
from equissl.verbs.train import finetune, pretrain
from equissl.verbs.views import pack, render, sequences, unpack
from equissl.verbs.words import Verb

VERBS: dict[str, tuple[str, Verb]] = {
    verb.__name__.rstrip("_"): ((verb.__doc__ or "").partition("\n")[0], verb)
    for verb in (
        demo,
        render,
        pack,
        unpack,
        ingest,
        simulate,
        sequences,
        flow,
        pretrain,
        finetune,
        evaluate,
        predict,
        report,
        import_,
        export,
        bench,
        doctor,
    )
}
