"""Verbs about rendered views and sequences of images."""

from __future__ import annotations

import sys

from equissl.verbs.parser import VerbParser, loaded, taken


def render(argv: list[str]) -> int:
    """Render views of meshes into a store (.h5), with a gallery (.png) and a data card (.md, .json) beside it.

    Started again, it goes on where it stopped.
    """
    parser = VerbParser("render", render)
    build_spec = parser.add_signature("equissl.datasets.views.build.spec:BuildSpec")
    build_views = parser.add_signature(
        "equissl.datasets.views.build.builder:build_views", skip={"spec", "source", "renderer"}
    )
    values = parser.parse(argv)
    spec = taken(build_spec(), values)
    report = build_views()(spec, **values)
    share = "" if report.joined else f", share {values['shard']}"
    counts = f"{report.num_objects} objects, {report.num_images} images"
    print(f"{report.path}{share}: {counts} in {report.seconds:.0f} s")
    if not report.joined:
        print(f"{report.missing} shards are missing: the last job of the array to end joins all", file=sys.stderr)
        return 0
    write_gallery = loaded("equissl.datasets.views.gallery:write_gallery")
    write_card = loaded("equissl.datasets.views.card:write_card")
    print(write_gallery(report.path, report.path.with_suffix(".png")))
    seconds = None if report.already_complete else report.seconds
    print(write_card(report.path, report.path.with_suffix(".md"), seconds, spec.min_coverage))
    return 0


def pack(argv: list[str]) -> int:
    """Pack a folder in the original 3DIEBench layout into a store."""
    parser = VerbParser("pack", pack)
    print(parser.call(parser.add_signature("equissl.datasets.views.folder.layout:pack", positional=True), argv))
    return 0


def unpack(argv: list[str]) -> int:
    """Write a store out as a folder in the original 3DIEBench layout."""
    parser = VerbParser("unpack", unpack)
    print(parser.call(parser.add_signature("equissl.datasets.views.folder.layout:unpack", positional=True), argv))
    return 0


def sequences(argv: list[str]) -> int:
    """Write fixed sequences of augmented or fixated views of images into a store, for `evaluate --store`."""
    parser = VerbParser("sequences", sequences)
    parser.add_word("root", "images: ROOT/{train,val}/CLASS/*.jpg, or CIFAR's or STL-10's binary files")
    parser.add_flag("out", "the file to write", required=True)
    write = parser.add_signature("equissl.datasets.images.sequences.create:write_sequences", skip={"root", "out"})
    print(parser.call(write, argv))
    return 0


def queries(argv: list[str]) -> int:
    """Write similarity queries of a store's training views for a person: a CSV file to fill in, a picture of each."""
    parser = VerbParser("queries", queries)
    parser.add_word("store", "view store")
    parser.add_flag("out", "folder of the files", required=True)
    write = parser.add_signature("equissl.datasets.views.query_files:write_queries", skip={"store", "out"})
    print(parser.call(write, argv))
    return 0


def generate(argv: list[str]) -> int:
    """Train a small diffusion model on images, and write generated ones to a folder, for `data.generated`.

    Started again, it goes on where it stopped.
    """
    parser = VerbParser("generate", generate)
    parser.add_word("root", "images to learn from: ROOT/train/CLASS/*.jpg, or CIFAR's or STL-10's binary files")
    parser.add_flag("out", "folder of the generated images", required=True)
    spec = parser.add_signature("equissl.datasets.images.generate:GeneratorSpec")
    make = parser.add_signature("equissl.datasets.images.generate:generate", skip={"root", "out", "spec"})
    values = parser.parse(argv)
    settings = taken(spec(), values)
    print(make()(spec=settings, **values))
    return 0
