"""Help of a verb: one line for each flag, or the whole text of some."""

from __future__ import annotations

import re
import shutil
import textwrap
import typing
from collections.abc import Iterable
from itertools import groupby, pairwise

from equissl.verbs.check import unknown_flag
from equissl.verbs.options import Option, Options
from equissl.verbs.values import names_of

WIDEST = 120
HELP = ("-h", "--help")
MORE = "`equissl {0} --help all` shows the whole text of each flag, `--FLAG.help` that of one or of a section."
_ROLE = re.compile(r":\w+:`~?([^`]*)`")


def short_help(options: Iterable[Option], shown: dict[str, object] | None = None) -> str:
    """Return one line for each flag, under headings; the keys of a nested dataclass share a line.

    Args:
        options: in order.
        shown: values in place of the defaults, by key.
    """
    listed = [option for option in options if option.hint or option.help]
    inside = {f"{option.key}." for option in listed if option.keys}
    listed = [option for option in listed if not any(option.key.startswith(prefix) for prefix in inside)]
    names = [_name(option) for option in listed]
    width = min(max((len(name) for name in names), default=0), 34)
    blocks = []
    for heading, group in groupby(zip(listed, names, strict=True), key=lambda pair: pair[0].heading):
        lines = [_line(option, name, width, shown or {}) for option, name in group]
        blocks.append("\n".join([_cut(f"{plain(heading)}:")] * bool(heading) + lines))
    return "\n".join(blocks)


def full_help(options: Iterable[Option], shown: dict[str, object] | None = None) -> str:
    """Return the whole text of each flag, with type, default and the names it takes.

    Args:
        options: in order.
        shown: values in place of the defaults, by key.
    """
    blocks = []
    for heading, group in groupby((o for o in options if o.hint or o.help), key=lambda option: option.heading):
        blocks.append("\n".join([f"{plain(heading)}:"] * bool(heading) + [_paragraph(o, shown or {}) for o in group]))
    return "\n\n".join(blocks)


def wants_help(argv: list[str]) -> bool:
    """Return True where a word asks for help."""
    return any(word in HELP for word in argv) or bool(asked_section(argv))


def wants_all(argv: list[str]) -> bool:
    """Return True for ``--help all``."""
    return any(word in HELP and after == "all" for word, after in pairwise(argv))


def asked_section(argv: list[str]) -> str:
    """Return the key that ``--KEY.help`` asks about; empty without one."""
    asked = (word[2:].removesuffix(".help") for word in argv if word.startswith("--") and word.endswith(".help"))
    return next(asked, "")


def section_help(options: Options, section: str, verb: str, shown: dict[str, object] | None = None) -> str:
    """Return the whole text of the flags of a key and below it.

    Args:
        options: of the verb.
        section: key, such as ``trainer`` or ``trainer.strategy``.
        verb: named in the error.
        shown: values in place of the defaults, by key.

    Raises:
        WordError: no such flag.
    """
    found = options.below(section)
    if not found:
        raise unknown_flag(section, options, verb)
    return full_help(found, shown)


def plain(text: str) -> str:
    """Return a docstring's text without its markup."""
    return _ROLE.sub(lambda found: found[1].rpartition(".")[2], text).replace("``", "").replace("`", "")


def _name(option: Option) -> str:
    """Return a flag as it is typed; arguments of a method have a short form."""
    if option.positional:
        return option.key.upper()
    short = option.key.replace("method.init_args.", "method.").replace("method.class_path", "method")
    return f"--{short}" + (".*" if option.keys else "")


def _line(option: Option, name: str, width: int, shown: dict[str, object]) -> str:
    text = plain(option.help)
    if option.positional:  # with all that it can be
        indent = " " * (width + 4)
        return textwrap.fill(f"  {name:<{width}}  {text}.{_choices(option)}", _columns(), subsequent_indent=indent)
    if option.keys:
        text = f"{_first(text)}: {', '.join(option.keys)}" if text else ", ".join(option.keys)
    elif default := _default(option, shown):
        text = f"[{default}] {_first(text)}"
    return _cut(f"  {name:<{width}}  {text}")


def _paragraph(option: Option, shown: dict[str, object]) -> str:
    default = _default(option, shown)
    about = ", ".join(filter(None, [option.hint, default and f"default {default}"]))
    known = _choices(option)
    head = f"  {_name(option)}" + (f" ({about})" if about else "")
    body = textwrap.fill(plain(option.help) + known, _columns(), initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"{head}\n{body}" if body.strip() else head


def _choices(option: Option) -> str:
    """Return the sentence that lists what a flag takes; empty where that is not a list of names."""
    if typing.get_origin(option.type) is typing.Literal:
        return f" One of {', '.join(map(str, typing.get_args(option.type)))}."
    names = names_of(option)
    return f" One of {', '.join(names.known())}, or an import path." if names else ""


def _default(option: Option, shown: dict[str, object]) -> str:
    """Return the value where none is given: empty for words and for sections."""
    if option.keys or option.positional:
        return ""
    if option.key in shown:
        return str(shown[option.key])
    return "required" if option.required else (option.default or "").strip("'")


def _first(text: str) -> str:
    """Return the first sentence."""
    return re.split(r"(?<=[^.A-Z])[.;] ", text, maxsplit=1)[0].rstrip(".")


def _columns() -> int:
    return min(shutil.get_terminal_size((100, 50)).columns, WIDEST)


def _cut(line: str) -> str:
    """Shorten a line to the width of the terminal."""
    columns = _columns()
    return line if len(line) <= columns else line[: columns - 1].rstrip() + "…"
