"""Commands that stand on a page, and whether the program knows their words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from equissl import cli
from equissl.kinds import KINDS
from equissl.verbs.check import WordError, split_words, unknown_flag
from equissl.verbs.options import Options
from equissl.verbs.parser import VerbParser
from equissl.verbs.runs import kind_class
from equissl.verbs.values import wrong_value

LEFT_OUT = ("…", "FLAGS")
PLACEHOLDERS = {"S": "0", "NAME": "render"}  # where not any text will do: a seed, and a benchmark


def commands_of(text: str) -> list[str]:
    """Return the commands ``equissl …`` of a page in Markdown, in code and in indented or fenced blocks, one line each.

    Args:
        text: of the page.
    """
    inline = re.findall(r"(?<!`)`(equissl\s[^`]+)`", text)
    blocks = re.findall(r"(?m)^ *equissl (?:.*\\\n)*.*$", re.sub(r"(?m)^(?! {4,}| *equissl ).*$", "", text))
    fenced = [block for body in re.findall(r"(?ms)^```\w*\n(.*?)^```", text) for block in
              re.findall(r"(?m)^ *equissl (?:.*\\\n)*.*$", body)]  # fmt: skip
    found = [*inline, *blocks, *fenced]
    return list(dict.fromkeys(" ".join(command.replace("\\\n", " ").split()) for command in found))


def words_of(command: str) -> list[str]:
    """Return the words of a command after ``equissl``, without comments and what stands for words left out.

    Args:
        command: one line.
    """
    words = shlex.split(command, comments=True)[1:]
    return [PLACEHOLDERS.get(word, word).rstrip("…") for word in words if word not in LEFT_OUT]


def wrong_words(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the program has against verb, names, flags and values of a command; words may be missing.

    Args:
        command: one line; nothing of it is run.
    """
    words = words_of(command)
    if not any(word.startswith("--") for word in words[1:]):
        words += ["--help"]  # a verb alone, or with words: no flags to check
    elif words[0] in ("pretrain", "finetune") and "--out" not in words:
        words += ["--out", "RUN"]
    with _only_checking(monkeypatch):
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return capsys.readouterr().err if code else ""


@contextmanager
def _only_checking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr("equissl.verbs.train.loaded", _stop)
        patched.setattr("equissl.verbs.results.evaluation_options", lambda run: kind_class("views", "options"))
        patched.setattr(VerbParser, "parse", _check_flags)
        yield


def _stop(*_: Any) -> NoReturn:
    raise SystemExit(0)


def _check_flags(parser: VerbParser, argv: list[str]) -> NoReturn:
    problems = [_problem(parser.verb, options, argv) for options in _alternatives(parser)]
    if "" not in problems:
        raise WordError("; ".join(problems))
    raise SystemExit(0)


def _alternatives(parser: VerbParser) -> list[Options]:
    """Return the flags of a verb; those of ``evaluate`` depend on a run that is not there, so those of every kind."""
    if parser.verb != "evaluate":
        return [parser.options]
    found = []
    for kind in KINDS:
        options, path = Options(), kind_class(kind, "options")
        assert path is not None
        options.add_source(path)
        for own in ("run", "store"):
            options.add(parser.options.by_key[own])
        found.append(options)
    return found


def _problem(verb: str, options: Options, argv: list[str]) -> str:
    for key, value in split_words([word for word in argv if word != "--help"], options)[1]:
        option = options.find(key)
        if option is None and not options.loose:
            return str(unknown_flag(key, options, verb))
        if option is not None and (problem := wrong_value(option, key, value)):
            return f"--{key}: {problem}"
    return ""
