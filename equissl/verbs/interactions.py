"""Verb about interactions of users with items."""

from __future__ import annotations

from equissl.verbs.parser import VerbParser, loaded


def interactions(argv: list[str]) -> int:
    """Write generated interactions of known structure (.csv), and print the best scores that are possible on them."""
    parser = VerbParser("interactions", interactions)
    parser.add_flag("out", "the file to write", required=True)
    build_spec = parser.add_signature("equissl.datasets.interactions.generated:InteractionSpec")
    values = parser.parse(argv)
    out = values.pop("out")
    print(loaded("equissl.datasets.interactions.generated:write_interactions")(out, build_spec()(**values)))
    return 0
