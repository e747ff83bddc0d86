"""Verbs for the import and export of weights."""

from __future__ import annotations

import sys

from equissl.verbs.parser import VerbParser
from equissl.verbs.words import say

SWITCHES = ("--no_blur", "--backbone_only")


def import_(argv: list[str]) -> int:
    """Read a checkpoint of SIE's, EquiCaps' or seq-JEPA's authors, or OpenPCDet's, into a run folder, to evaluate.

    Flags that say what the file cannot tell are those of the authors' scripts: --latent-type is --latent_type too.
    """
    parser = VerbParser("import", import_)
    parser.add_word("family", "whose checkpoint it is", choices=("sie", "equicaps", "seqjepa", "openpcdet"))
    parser.add_word("file", "the checkpoint")
    parser.add_flag("out", "run folder to write", required=True)
    import_weights = parser.add_signature("equissl.weights.imports:import_weights", skip={"family", "file", "out"})
    report = parser.call(import_weights, script_words(argv))
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
    parser = VerbParser("export", export)
    parser.add_word("run", "run folder, or a checkpoint")
    parser.add_flag("out", "folder to write", required=True)
    export_run = parser.add_signature("equissl.weights.export:export_run", skip={"run", "out"})
    report = parser.call(export_run, argv)
    say(f"backbone: {report.backbone}")
    for name in report.files:
        print(report.folder / name)
    return 0
