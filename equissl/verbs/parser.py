"""Parser of a verb: checks its words and shows its help before what the verb calls is imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from equissl.verbs.check import WordError, check_words, split_words
from equissl.verbs.helptext import MORE, asked_section, full_help, section_help, short_help, wants_all, wants_help
from equissl.verbs.options import Option, Options

T = TypeVar("T")


@dataclass(frozen=True)
class Signature:
    """Function or class whose arguments are flags.

    Attributes:
        path: import path.
        prefix: of its flags, without a dot.
        skip: names that are no flags.
        positional: required arguments are words without a name.
    """

    path: str
    prefix: str = ""
    skip: frozenset[str] = frozenset()
    positional: bool = False

    def load(self) -> Any:
        """Import it."""
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)


class VerbParser:
    """Words and flags of one verb.

    Args:
        verb: words after ``equissl``.
        function: of the verb; its docstring describes it.
    """

    def __init__(self, verb: str, function: Callable[..., Any]) -> None:
        self.verb, self.text = verb, (function.__doc__ or "").partition("\n\n")[0]
        self.options = Options()
        self._own: list[Option] = []
        self._signatures: list[Signature] = []

    def add_word(
        self, name: str, help: str, many: bool = False, names: str = "", choices: tuple[str, ...] = ()
    ) -> None:
        """Add a word without a name.

        Args:
            name: of its value.
            help: for the user.
            many: takes all words that are left, at least one.
            names: key in `equissl.verbs.values.NAMES` of the names that it takes.
            choices: the values that it takes.
        """
        kind = Literal[choices] if choices else str
        self._add(Option(name, help, type=kind, default=None, positional=True, many=many, names=names))

    def add_flag(self, name: str, help: str, required: bool = False) -> None:
        """Add a flag that takes a text.

        Args:
            name: without its dashes.
            help: for the user.
            required: True for one that has to be given.
        """
        self._add(Option(name, help, hint="str", type=str, default=None if required else "None"))

    def add_signature(
        self, path: str, prefix: str = "", skip: Collection[str] = (), positional: bool = False
    ) -> Callable[[], Any]:
        """Add the arguments of a function or class; return a function that imports it.

        Args:
            path: ``package.module:Name``.
            prefix: of its flags, without a dot.
            skip: names that are no flags.
            positional: required arguments are words without a name.
        """
        signature = Signature(path, prefix, frozenset(skip), positional)
        self._signatures.append(signature)
        self.options.add_source(path, prefix, skip, positional)
        return signature.load

    def parse(self, argv: list[str]) -> dict[str, Any]:
        """Check the words, import what they are for, and read their values by name.

        Args:
            argv: words after the verb.

        Raises:
            WordError: unknown flag or name, a value of the wrong type, or words that are missing or left over.
            SystemExit: after help was shown.
        """
        if wants_help(argv):
            print(self.help(argv))
            raise SystemExit(0)
        check_words(self.verb, self.options, *split_words(argv, self.options))
        parser = self._parser()
        try:
            values = parser.instantiate(parser.parse_args(argv))
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("argparse", "jsonargparse"):
                raise
            raise WordError(str(error)) from error
        return dict(vars(values))

    def call(self, load: Callable[[], Any], argv: list[str]) -> Any:
        """Check the words, and call the function that they are arguments of.

        Args:
            load: of the function, from `add_signature`.
            argv: words after the verb.

        Returns:
            what the function returns.

        Raises:
            WordError, SystemExit: see `parse`.
        """
        values = self.parse(argv)
        return load()(**values)

    def help(self, argv: list[str]) -> str:
        """Return the help that the words ask for: one line a flag, all of it, or that of one section.

        Args:
            argv: with ``--help``, ``--help all`` or ``--SECTION.help``.
        """
        if section := asked_section(argv):
            return section_help(self.options, section, self.verb)
        words = "".join(f"{option.key.upper()}{' ...' * option.many} " for option in self._words())
        head = f"usage: equissl {self.verb} {words}[--flag VALUE ...]\n\n{' '.join(self.text.split())}"
        if wants_all(argv):
            return f"{head}\n\n{full_help(self.options)}"
        return f"{head}\n\n{short_help(self.options)}\n\n{MORE.format(self.verb)}"

    def _add(self, option: Option) -> None:
        self._own.append(option)
        self.options.add(option)

    def _words(self) -> list[Option]:
        return [option for option in self.options if option.positional]

    def _parser(self) -> Any:
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(prog=f"equissl {self.verb}", allow_abbrev=False, exit_on_error=False)
        for option in self._own:
            if option.positional:
                parser.add_argument(option.key, nargs="+" if option.many else None)
            else:
                parser.add_argument(f"--{option.key}", required=option.required)
        for signature in self._signatures:
            _add_arguments(parser, signature)
        return parser


def _add_arguments(parser: Any, signature: Signature) -> None:
    target, skip = signature.load(), set(signature.skip)
    prefix = (signature.prefix,) if signature.prefix else ()
    if isinstance(target, type):
        parser.add_class_arguments(target, *prefix, skip=skip, as_positional=signature.positional)
    else:
        parser.add_function_arguments(target, *prefix, skip=skip, as_positional=signature.positional)


def taken(settings: type[T], values: dict[str, Any]) -> T:
    """Take the values of a dataclass's fields out of a verb's, and build it of them.

    Args:
        settings: whose fields are flags without a prefix.
        values: from `VerbParser.parse`; what is left are those of other signatures.
    """
    return settings(**{field.name: values.pop(field.name) for field in fields(settings)})  # type: ignore[arg-type]


def loaded(path: str) -> Any:
    """Import what an import path names."""
    return Signature(path).load()
