"""Verb about interactions of users with items."""

from __future__ import annotations

from equissl.verbs.parser import VerbParser, loaded, taken


def interactions(argv: list[str]) -> int:
    """Write generated interactions of known structure (.csv), and print the best scores that are possible on them."""
    parser = VerbParser("interactions", interactions)
    parser.add_flag("out", "the file to write", required=True)
    build_spec = parser.add_signature("equissl.datasets.interactions.generated:InteractionSpec")
    values = parser.parse(argv)
    spec = taken(build_spec(), values)
    print(loaded("equissl.datasets.interactions.generated:write_interactions")(spec=spec, **values))
    return 0
