"""Program ``equissl``: its verbs are the library's public functions, whose signatures give flags, types and help.

Nothing heavy is imported before a verb is known, so that ``equissl --help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback

import equissl
from equissl.util.processes import Ending
from equissl.util.ranks import launched_outside
from equissl.verbs import VERBS
from equissl.verbs.words import USAGE_ERROR, unknown

INTERRUPTED = 130
CLOSED = 141  # as a shell counts the end by SIGPIPE


def main(argv: list[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: words of the command line; those of the process where None.

    Returns:
        exit code: 0, 1 where ``doctor`` misses something, 2 for an expected error (one line on standard error; with
        ``EQUISSL_DEBUG=1`` a traceback), 130 after Ctrl-C, 141 where
        nobody reads on.
    """
    if argv is not None or not launched_outside():
        return _answer(sys.argv[1:] if argv is None else argv)
    ending = Ending()
    ending.code = _answer(sys.argv[1:])
    return ending.code


def _answer(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"equissl {equissl.__version__}")
        return 0
    if words[0] not in VERBS:
        return unknown("verb", words[0], list(VERBS))
    _log_to_stderr()
    try:
        return VERBS[words[0]](words[1:])
    except KeyboardInterrupt:
        print("equissl: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except Exception as error:
        if not _expected(error) or os.environ.get("EQUISSL_DEBUG") == "1":
            traceback.print_exc()
        print(f"equissl: error: {_message(error)}", file=sys.stderr)
        return USAGE_ERROR if _expected(error) else 1


def _overview() -> str:
    lines = [f"  {name:<10} {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(["usage: equissl VERB ...", "", *lines, "", "`equissl VERB --help` lists the flags of one."])


def _expected(error: Exception) -> bool:
    """Return True for errors about the user's input, as opposed to our own mistakes."""
    ours = type(error).__module__.split(".")[0] == "equissl"
    return ours or isinstance(error, (ValueError, OSError, ImportError))


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__


class _Lines(logging.Handler):
    """Lines on standard error that leave progress bars whole."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _log_to_stderr() -> None:
    """Show messages and warnings of the library."""
    log = logging.getLogger("equissl")
    if not log.handlers:
        log.addHandler(_Lines())
        log.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
