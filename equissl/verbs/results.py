"""Verbs about trained runs."""

from __future__ import annotations

import os
import sys

from equissl.verbs.check import split_words
from equissl.verbs.options import Options
from equissl.verbs.parser import VerbParser, loaded
from equissl.verbs.runs import evaluation_options
from equissl.verbs.words import say


def evaluate(argv: list[str]) -> int:
    """Measure the frozen method of a run on unseen data, and write RUN/results.json.

    Another store or setting adds a result beside the earlier ones, in RUN/results. The flags are those of the run's
    kind of data: `equissl evaluate RUN --help`.
    """
    parser = VerbParser("evaluate", evaluate)
    parser.add_word("run", "folder that `equissl pretrain --out` wrote")
    parser.add_flag("store", "data to evaluate on; default: those of the run")
    run = first_word(argv)
    options = parser.add_signature(evaluation_options(run)) if run else None
    values = parser.parse(argv)
    run_dir, store = values.pop("run"), values.pop("store")
    assert options is not None  # without a run the words are refused
    run_evaluation, format_table = loaded("equissl.evaluation:evaluate"), loaded("equissl.reporting:format_table")
    with loaded("equissl.util.progress:showing_progress")():
        results = run_evaluation(run_dir, options()(**values), store=store, log=say)
    print(_painted(format_table([results])))
    return 0


def predict(argv: list[str]) -> int:
    """Write the detections of a detector: result files of KITTI or JSON, and pictures from above."""
    parser = VerbParser("predict", predict)
    parser.add_word("run", "folder that `equissl finetune --out` wrote")
    parser.add_flag("out", "folder to write", required=True)
    run_detector = parser.add_signature("equissl.reporting.sweeps.prediction:predict", skip={"run", "out", "log"})
    values = parser.parse(argv)
    report = run_detector()(**values, log=say)
    found = f"{report.detections} detections in {report.frames} sweeps ({report.format}), {report.pictures} pictures"
    print(f"{report.folder}: {found}, {report.seconds:.0f} s")
    return 0


def report(argv: list[str]) -> int:
    """Write one HTML page that compares evaluated runs, and print their table; seeds of one run make one row."""
    parser = VerbParser("report", report)
    parser.add_word("runs", "evaluated run folders", many=True)
    parser.add_signature("equissl.reporting.report:write_report", skip={"run_dirs"})
    values = parser.parse(argv)
    found = loaded("equissl.reporting.report:read_report")(values.pop("runs"))
    for left in found.left:
        say(f"left out: {left}")
    page = found.write(**values)
    print(_painted(found.table()), page, sep="\n\n")
    return 0


def _painted(table: str) -> str:
    """Return the table in colour where the output is a terminal, and nobody forbids colours (no-color.org)."""
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return loaded("equissl.reporting.plain:in_colour")(table) if wanted else table


def first_word(argv: list[str]) -> str | None:
    """Return the first word that is neither a flag nor the value of one."""
    anything = Options()
    anything.loose = True
    asked = [word for word in argv if word not in ("-h", "--help") and not word.endswith(".help")]
    words, _ = split_words(asked, anything)
    return words[0] if words and words[0] != "all" else None
