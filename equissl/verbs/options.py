"""Flags of a verb, read from the source of the functions and classes whose arguments they are."""

from __future__ import annotations

import ast
import typing
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from equissl.util.registry import did_you_mean
from equissl.util.signatures import Argument, arguments_of
from equissl.util.sources import Definition, find_definition

UNKNOWN = typing.Any


@dataclass(frozen=True)
class Option:
    """One flag, or one key of a config.

    Attributes:
        key: with its section: ``optim.lr``.
        help: whole text.
        heading: above the flags that it is listed with.
        hint: annotation, as written.
        type: plain type; `typing.Any` for others.
        default: as written; None for a flag that has to be given.
        keys: names below it, of a dataclass.
        open: True where names below it may be anything.
        positional: True for a word without a name.
        many: True for a positional that takes all words that are left.
        names: key in `equissl.verbs.values.NAMES` of the names that it takes; that of the flag where empty.
    """

    key: str
    help: str = ""
    heading: str = ""
    hint: str = ""
    type: typing.Any = UNKNOWN
    default: str | None = "None"
    keys: tuple[str, ...] = ()
    open: bool = False
    positional: bool = False
    many: bool = False
    names: str = ""

    @property
    def required(self) -> bool:
        """True for a flag that has to be given."""
        return self.default is None


class Options:
    """Flags by key.

    Attributes:
        loose: True where the source of some flags was not found: any name may then be one.
    """

    def __init__(self) -> None:
        self.by_key: dict[str, Option] = {}
        self.loose = False

    def __iter__(self) -> Iterator[Option]:
        return iter(self.by_key.values())

    def add(self, option: Option) -> None:
        """Add one flag, after those before."""
        self.by_key[option.key] = option

    def add_source(
        self, path: str, prefix: str = "", skip: Collection[str] = (), positional: bool = False, heading: str = ""
    ) -> None:
        """Add the arguments of a function or class.

        Args:
            path: import path.
            prefix: of the keys, without a dot at its end.
            skip: names that are no flags.
            positional: required arguments are words without a name.
            heading: of all of them; a class's first line where empty.
        """
        definition = find_definition(path)
        if definition is None:
            self.loose = True
            return
        if not heading and isinstance(definition.node, ast.ClassDef):
            heading = (ast.get_docstring(definition.node) or "").partition("\n")[0].rstrip(".")
        if prefix:
            self.add(Option(prefix, keys=("",)))
        self._add(definition, f"{prefix}." if prefix else "", skip, positional, heading)

    def find(self, key: str) -> Option | None:
        """Find the flag of a key, or the one that takes anything below its own key."""
        parts = key.split(".")
        for depth in range(len(parts), 0, -1):
            found = self.by_key.get(".".join(parts[:depth]))
            if found and (depth == len(parts) or found.open):
                return found
        return None

    def nearest(self, key: str, dashes: str = "") -> str:
        """Suggest the nearest key: by its last part, which finds one in another section, then by the whole.

        Args:
            key: unknown.
            dashes: put before the key that is suggested.
        """
        last = {known.rsplit(".", 1)[-1]: known for known in reversed(self.by_key)}  # the first of each
        tail = key.rsplit(".", 1)[-1]
        return did_you_mean(dashes + last.get(tail, key), [dashes + known for known in self.by_key])

    def below(self, prefix: str) -> list[Option]:
        """Return the flag of a key and those below it."""
        return [option for option in self if option.key == prefix or option.key.startswith(f"{prefix}.")]

    def _add(self, definition: Definition, prefix: str, skip: Collection[str], positional: bool, heading: str) -> None:
        for argument in arguments_of(definition):
            if argument.name in skip:
                continue
            key = prefix + argument.name
            inner = arguments_of(argument.group) if argument.group else []
            self.add(_option(argument, key, heading, tuple(a.name for a in inner), positional))
            if argument.group:
                self._add(argument.group, f"{key}.", (), False, heading)


def _option(argument: Argument, key: str, heading: str, keys: tuple[str, ...], positional: bool) -> Option:
    return Option(
        key,
        argument.help,
        heading,
        argument.hint,
        argument.type,
        argument.default,
        keys,
        argument.open,
        positional and argument.default is None,
    )
