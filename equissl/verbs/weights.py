"""Verbs for the import and export of weights."""

from __future__ import annotations

import sys

from equissl.verbs.words import arguments, parser_of, say
from equissl.weights import export_run, import_weights

SWITCHES = ("--no_blur", "--backbone_only")


def import_(argv: list[str]) -> int:
    """Read a checkpoint of SIE's, EquiCaps' or seq-JEPA's authors, or OpenPCDet's, into a run folder, to evaluate.

    Flags that say what the file cannot tell are those of the authors' scripts: --latent-type is --latent_type too.
    """
    parser = parser_of("import", import_)
    parser.add_argument("family", choices=["sie", "equicaps", "seqjepa", "openpcdet"], help="whose checkpoint it is")
    parser.add_argument("file", help="the checkpoint")
    parser.add_argument("--out", required=True, help="run folder to write")
    parser.add_function_arguments(import_weights, skip={"family", "file", "out"})
    report = import_weights(**arguments(parser, script_words(argv)))
    print(f"{report.option}, as {report.method}: {report.parameters:,} parameters", file=sys.stderr)
    for message in report.messages:
        say(message)
    print(report.run)
    return 0


def script_words(argv: list[str]) -> list[str]:
    """Spell flags as here what training scripts spell with hyphens, and as true what they take without a value."""
    words: list[str] = []
    for word, following in zip(argv, [*argv[1:], "--"], strict=True):
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        bare = name in SWITCHES and not equals and following.lower() not in ("true", "false")
        words.append(f"{name}=true" if bare else name + equals + value)
    return words


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
