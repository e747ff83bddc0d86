"""Check of a verb's words, before what they are for is imported."""

from __future__ import annotations

from equissl.verbs.options import Options
from equissl.verbs.values import wrong_value


class WordError(ValueError):
    """Words of the command line that cannot be read."""


def unknown_flag(key: str, options: Options, verb: str) -> WordError:
    """Make the error for an unknown flag, which says the nearest known one.

    Args:
        key: of the flag.
        options: of the verb.
        verb: named in the error.
    """
    return WordError(f"unknown flag --{key}{options.nearest(key, '--')}; `equissl {verb} --help` lists the flags")


def split_words(argv: list[str], options: Options) -> tuple[list[str], list[tuple[str, str]]]:
    """Split words into those without a name, and flags with their values.

    Args:
        argv: words after the verb.
        options: of the verb.

    Raises:
        WordError: a flag without a value.
    """
    words: list[str] = []
    flags: list[tuple[str, str]] = []
    rest = iter(argv)
    for word in rest:
        if not word.startswith("--"):
            words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        key = name.rstrip("+")
        if options.find(key) is None and not options.loose:
            flags.append((key, value))  # an error either way, better about the name than about the value
            continue
        taken = value if equals else next(rest, None)
        if taken is None:
            raise WordError(f"expected a value after --{name}")
        flags.append((key, taken))
    return words, flags


def check_words(verb: str, options: Options, words: list[str], flags: list[tuple[str, str]]) -> None:
    """Refuse unknown flags and names, values of the wrong type, and words that are missing or left over.

    Args:
        verb: named in errors.
        options: of the verb.
        words: those without a name.
        flags: keys and values.

    Raises:
        WordError: naming the nearest known word.
    """
    more = f"; `equissl {verb} --help` lists the flags"
    for key, value in flags:
        option = options.find(key)
        if option is None and not options.loose:
            raise unknown_flag(key, options, verb)
        if option is not None and (problem := wrong_value(option, key, value)):
            raise WordError(f"--{key}: {problem}")
    _check_count(options, words, more)
    given = {key.partition(".")[0] for key, _ in flags} | {key for key, _ in flags}
    missing = [o.key for o in options if o.required and not o.positional and "." not in o.key and o.key not in given]
    if missing and not options.loose:
        raise WordError(f"expected {', '.join(f'--{key}' for key in missing)}{more}")


def _check_count(options: Options, words: list[str], more: str) -> None:
    expected = [option for option in options if option.positional]
    if len(words) < len(expected):
        raise WordError(f"expected {' '.join(option.key.upper() for option in expected)}{more}")
    if len(words) > len(expected) and not options.loose and not any(option.many for option in expected):
        raise WordError(f"expected {len(expected)} words, got {' '.join(words)}{more}")
    for option, word in zip(expected, words, strict=False):
        if problem := wrong_value(option, option.key, word):
            raise WordError(f"{option.key}: {problem}")
