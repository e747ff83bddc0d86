"""Verbs about trained runs."""

from __future__ import annotations

from equissl.evaluation import evaluate as run_evaluation
from equissl.evaluation import evaluation_kind
from equissl.reporting import format_table, write_report
from equissl.reporting.runs import load_runs
from equissl.reporting.sweeps.prediction import predict as run_detector
from equissl.verbs.words import arguments, parser_of, say


def evaluate(argv: list[str]) -> int:
    """Measure the frozen method of a run on unseen data, and write RUN/results.json.

    The flags are those of the run's kind of data: `equissl evaluate RUN --help`.
    """
    parser = parser_of("evaluate", evaluate)
    parser.add_argument("run", help="folder that `equissl pretrain --out` wrote")
    parser.add_argument("--store", help="data to evaluate on; default: those of the run")
    words = [word for word in argv[:1] if not word.startswith("-")]
    if words:
        options = evaluation_kind(words[0]).options
        parser.add_class_arguments(options)
    values = arguments(parser, argv)
    run_dir, store = values.pop("run"), values.pop("store")
    print(format_table([run_evaluation(run_dir, options(**values), store=store, log=say)]))
    return 0


def predict(argv: list[str]) -> int:
    """Write the detections of a detector: result files of KITTI or JSON, and pictures from above."""
    parser = parser_of("predict", predict)
    parser.add_argument("run", help="folder that `equissl finetune --out` wrote")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_function_arguments(run_detector, skip={"run", "out", "log"})
    report = run_detector(**arguments(parser, argv), log=say)
    found = f"{report.detections} detections in {report.frames} sweeps ({report.format}), {report.pictures} pictures"
    print(f"{report.folder}: {found}, {report.seconds:.0f} s")
    return 0


def report(argv: list[str]) -> int:
    """Write one HTML page that compares evaluated runs, and print their table; seeds of one run make one row."""
    parser = parser_of("report", report)
    parser.add_argument("runs", nargs="+", help="evaluated run folders")
    parser.add_function_arguments(write_report, skip={"run_dirs"})
    values = arguments(parser, argv)
    runs = values.pop("runs")
    page = write_report(runs, **values)
    print(format_table([run.results for run in load_runs(runs)]), page, sep="\n\n")
    return 0
