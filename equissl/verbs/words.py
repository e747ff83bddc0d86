"""Words of the command line that stand before flags, and options taken out of them."""

from __future__ import annotations

import sys

from equissl.util.registry import did_you_mean

USAGE_ERROR = 2


def split_options(argv: list[str], names: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Take ``--name value`` and ``--name=value`` for the given names out of ``argv``.

    Args:
        argv: words after the verb.
        names: of the options.

    Returns:
        the words left, and the values by name.

    Raises:
        ValueError: an option given twice, or without a value.
    """
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


def unknown(noun: str, name: str, known: list[str]) -> int:
    """Print that a name is unknown, with the nearest known one, and return the exit code of a usage error.

    Args:
        noun: what was named: ``verb``.
        name: as given.
        known: all names.
    """
    hint = did_you_mean(name, known)
    print(f"equissl: error: unknown {noun} {name!r}{hint}; expected one of {', '.join(known)}", file=sys.stderr)
    return USAGE_ERROR


def say(message: str) -> None:
    """Print a line to standard error."""
    print(message, file=sys.stderr)
