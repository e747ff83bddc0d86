"""Verbs about rendered views and sequences of images."""

from __future__ import annotations

import sys

from equissl.datasets.images.sequences import write_sequences
from equissl.datasets.views.build.builder import build_views
from equissl.datasets.views.build.spec import BuildSpec
from equissl.datasets.views.card import write_card
from equissl.datasets.views.folder import layout
from equissl.datasets.views.gallery import write_gallery
from equissl.verbs.words import arguments, parser_of


def render(argv: list[str]) -> int:
    """Render views of meshes into a store (.h5), with a gallery (.png) and a data card (.md, .json) beside it.

    Started again, it goes on where it stopped.
    """
    parser = parser_of("render", render)
    parser.add_class_arguments(BuildSpec)
    parser.add_function_arguments(build_views, skip={"spec", "source", "renderer"})
    values = arguments(parser, argv)
    names = BuildSpec.__dataclass_fields__
    spec = BuildSpec(**{name: value for name, value in values.items() if name in names})
    report = build_views(spec, **{name: value for name, value in values.items() if name not in names})
    share = "" if report.joined else f", share {values['shard']}"
    counts = f"{report.num_objects} objects, {report.num_images} images"
    print(f"{report.path}{share}: {counts} in {report.seconds:.0f} s")
    for name, reason in report.skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if not report.joined:
        print(f"{report.missing} shards are missing: the last job of the array to end joins all", file=sys.stderr)
        return 0
    print(write_gallery(report.path, report.path.with_suffix(".png")))
    seconds = None if report.already_complete else report.seconds
    print(write_card(report.path, report.path.with_suffix(".md"), seconds))
    return 0


def pack(argv: list[str]) -> int:
    """Pack a folder in the original 3DIEBench layout into a store."""
    parser = parser_of("pack", pack)
    parser.add_function_arguments(layout.pack, as_positional=True)
    print(layout.pack(**arguments(parser, argv)))
    return 0


def unpack(argv: list[str]) -> int:
    """Write a store out as a folder in the original 3DIEBench layout."""
    parser = parser_of("unpack", unpack)
    parser.add_function_arguments(layout.unpack, as_positional=True)
    print(layout.unpack(**arguments(parser, argv)))
    return 0


def sequences(argv: list[str]) -> int:
    """Write fixed sequences of augmented or fixated views of images into a store, for `evaluate --store`."""
    parser = parser_of("sequences", sequences)
    parser.add_argument("root", help="images: ROOT/{train,val}/CLASS/*.jpg, or CIFAR's or STL-10's binary files")
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(write_sequences, skip={"root", "out"})
    print(write_sequences(**arguments(parser, argv)))
    return 0
