"""What all verbs do with the words of the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from equissl.util.registry import did_you_mean

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

Verb = Callable[[list[str]], int]
USAGE_ERROR = 2


def parser_of(verb: str, function: Callable[..., Any]) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    summary = (function.__doc__ or "").partition("\n")[0]
    return ArgumentParser(prog=f"equissl {verb}", description=summary, allow_abbrev=False)


def arguments(parser: ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """Parsed and instantiated arguments by name."""
    values: Namespace = parser.instantiate(parser.parse_args(argv))
    return dict(vars(values))


def split_options(argv: list[str], names: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Takes ``--name value`` and ``--name=value`` for the given names out of ``argv``; a repeated one is an error."""
    rest: list[str] = []
    found: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in names:
            rest.append(word)
            continue
        if name in found:
            raise ValueError(f"{name} is given twice")
        taken = value if equals else next(words, None)
        if taken is None:
            raise ValueError(f"expected a value after {name}")
        found[name] = taken
    return rest, found


def unknown(kind: str, name: str, known: list[str]) -> int:
    hint = did_you_mean(name, known)
    print(f"equissl: error: unknown {kind} {name!r}{hint}; expected one of {', '.join(known)}", file=sys.stderr)
    return USAGE_ERROR


def say(message: str) -> None:
    print(message, file=sys.stderr)
