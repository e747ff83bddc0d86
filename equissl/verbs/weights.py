"""Verbs for the import and export of weights."""

from __future__ import annotations

import sys

from equissl.verbs.words import arguments, parser_of, say
from equissl.weights import export_run, import_weights


def import_(argv: list[str]) -> int:
    """Read a checkpoint of SIE's, EquiCaps' or seq-JEPA's authors, or OpenPCDet's, into a run folder, to evaluate."""
    parser = parser_of("import", import_)
    parser.add_argument("family", choices=["sie", "equicaps", "seqjepa", "openpcdet"], help="whose checkpoint it is")
    parser.add_argument("file", help="the checkpoint")
    parser.add_argument("--out", required=True, help="run folder to write")
    parser.add_function_arguments(import_weights, skip={"family", "file", "out"})
    report = import_weights(**arguments(parser, argv))
    print(f"{report.option}, as {report.method}: {report.parameters:,} parameters", file=sys.stderr)
    for message in report.messages:
        say(message)
    print(report.run)
    return 0


def export(argv: list[str]) -> int:
    """Write the method of a run as safetensors with a JSON card, and its backbone for torchvision or timm."""
    parser = parser_of("export", export)
    parser.add_argument("run", help="run folder, or a checkpoint")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_function_arguments(export_run, skip={"run", "out"})
    report = export_run(**arguments(parser, argv))
    say(f"backbone: {report.backbone}")
    for name in report.files:
        print(report.folder / name)
    return 0
