"""The program ``equissl``: its verbs are the library's public functions, whose signatures give flags, types and help.

Nothing heavy is imported before a verb is known, so that ``equissl --help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equissl

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

Verb = Callable[[list[str]], int]
USAGE_ERROR, INTERRUPTED = 2, 130


def main(argv: list[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: words of the command line; those of the process where None.

    Returns:
        exit code: 0, 1 where ``doctor`` misses something, 2 for an expected error (one line on standard error; with
        ``EQUISSL_DEBUG=1`` a traceback), 130 after Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"equissl {equissl.__version__}")
        return 0
    if words[0] not in VERBS:
        return _unknown("verb", words[0], list(VERBS))
    _log_to_stderr()
    try:
        return VERBS[words[0]][1](words[1:])
    except KeyboardInterrupt:
        print("equissl: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not _expected(error) or os.environ.get("EQUISSL_DEBUG") == "1":
            traceback.print_exc()
        print(f"equissl: error: {_message(error)}", file=sys.stderr)
        return USAGE_ERROR if _expected(error) else 1


def demo(argv: list[str]) -> int:
    """Makes data, pretrains on it, evaluates and writes a page: `demo` on rendered views, `demo lidar` on drives."""
    if argv and not argv[0].startswith("-"):
        return _demo_lidar(argv[1:]) if argv[0] == "lidar" else _unknown("demo", argv[0], ["lidar"])
    from equissl.demo import DemoTask, run_demo

    parser = _parser("demo", demo)
    parser.add_function_arguments(run_demo, skip={"say", "task"})
    parser.add_class_arguments(DemoTask, "task")
    run_demo(**_arguments(parser, argv))
    return 0


def _demo_lidar(argv: list[str]) -> int:
    """Simulates drives, pretrains E-SSL3D and STRL on them, measures equivariance and rotation, and writes a page."""
    from equissl.demo_lidar import LidarTask, run_lidar_demo

    parser = _parser("demo lidar", _demo_lidar)
    parser.add_function_arguments(run_lidar_demo, skip={"say", "task"})
    parser.add_class_arguments(LidarTask, "task")
    run_lidar_demo(**_arguments(parser, argv))
    return 0


def render(argv: list[str]) -> int:
    """Renders views of meshes into a store (.h5), with a gallery (.png) and a data card (.md, .json) beside it.

    Started again, it goes on where it stopped.
    """
    from equissl.datasets.build import build_views
    from equissl.datasets.build_spec import BuildSpec
    from equissl.datasets.card import write_card
    from equissl.datasets.gallery import write_gallery

    parser = _parser("render", render)
    parser.add_class_arguments(BuildSpec)
    parser.add_function_arguments(build_views, skip={"spec", "source", "renderer"})
    values = _arguments(parser, argv)
    names = BuildSpec.__dataclass_fields__
    spec = BuildSpec(**{name: value for name, value in values.items() if name in names})
    report = build_views(spec, **{name: value for name, value in values.items() if name not in names})
    share = "" if report.joined else f", share {values['shard']}"
    counts = f"{report.num_objects} objects, {report.num_images} images"
    print(f"{report.path}{share}: {counts} in {report.seconds:.0f} s")
    for name, reason in report.skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if not report.joined:
        print(f"{report.missing} shards are missing: the last job of the array to end joins all", file=sys.stderr)
        return 0
    print(write_gallery(report.path, report.path.with_suffix(".png")))
    seconds = None if report.already_complete else report.seconds
    print(write_card(report.path, report.path.with_suffix(".md"), seconds))
    return 0


def pack(argv: list[str]) -> int:
    """Packs a folder in the original 3DIEBench layout into a store."""
    from equissl.datasets import folder_layout

    parser = _parser("pack", pack)
    parser.add_function_arguments(folder_layout.pack, as_positional=True)
    print(folder_layout.pack(**_arguments(parser, argv)))
    return 0


def unpack(argv: list[str]) -> int:
    """Writes a store out as a folder in the original 3DIEBench layout."""
    from equissl.datasets import folder_layout

    parser = _parser("unpack", unpack)
    parser.add_function_arguments(folder_layout.unpack, as_positional=True)
    print(folder_layout.unpack(**_arguments(parser, argv)))
    return 0


def ingest(argv: list[str]) -> int:
    """Reads recorded LiDAR drives (KITTI, KITTI-360, nuScenes, Argoverse 2, Waymo, a folder) into a scene store (.h5).

    Damaged frames are left out and named. Started again, it goes on where it stopped.
    """
    from equissl.datasets.lidar.ingest import ingest as run
    from equissl.datasets.lidar.readers import formats

    parser = _parser("ingest", ingest)
    parser.add_argument("format", help=f"one of {', '.join(formats())}")
    parser.add_argument("root", help="folder in that format")
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(run, skip={"format", "root", "out"})
    report = run(**_arguments(parser, argv))
    counts = f"{report.sequences} sequences, {report.sweeps} sweeps, {report.pairs} pairs, {report.boxes} boxes"
    print(f"{report.path}: {counts}, {len(report.problems)} problems, {report.seconds:.0f} s")
    for line in report.checks.lines() if report.checks else []:
        print(line)
    return 0


def sequences(argv: list[str]) -> int:
    """Writes fixed sequences of augmented or fixated views of images into a store, for `evaluate --store`."""
    from equissl.datasets.sequences import write_sequences

    parser = _parser("sequences", sequences)
    parser.add_argument("root", help="images: ROOT/{train,val}/CLASS/*.jpg, or CIFAR's or STL-10's binary files")
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(write_sequences, skip={"root", "out"})
    print(write_sequences(**_arguments(parser, argv)))
    return 0


def simulate(argv: list[str]) -> int:
    """Simulates LiDAR drives with exact poses, boxes and scene flow into a scene store (.h5)."""
    from equissl.datasets.lidar.simulated.options import DriveOptions
    from equissl.datasets.lidar.simulated.store import simulate_drives

    parser = _parser("simulate", simulate)
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(simulate_drives, skip={"out", "options"})
    parser.add_class_arguments(DriveOptions, "options")
    print(simulate_drives(**_arguments(parser, argv)))
    return 0


def flow(argv: list[str]) -> int:
    """Copies a scene store (.h5) with the scene flow of a provider, such as icp_cluster, ego or nsfp."""
    from equissl.flow.annotate import write_flow_store

    parser = _parser("flow", flow)
    parser.add_argument("store", help="scene store that `equissl ingest` wrote, or an OpenSceneFlow log")
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(write_flow_store, skip={"store", "out"})
    report = write_flow_store(**_arguments(parser, argv))
    for sequence, frame, reason in report.failed[:10]:
        _say(f"{sequence}, frame {frame}: {reason}")
    print(f"{report.path}: flow of {report.pairs} pairs, {len(report.failed)} failed, {report.seconds:.0f} s")
    return 0


def pretrain(argv: list[str]) -> int:
    """Pretrains a method; started again with the same --out, it continues.

    equissl pretrain --config FILE.yaml --out RUN [--any.key value ...]

    --config     a YAML file, or the name of a packaged recipe (demo_sie); default: RUN/config.yaml, if it is there
    --out        run folder
    --print_config  shows the resolved config and stops
    Every key of the config is a flag: --trainer.max_steps 100 --method VICReg --method.init_args.sim 5
    """
    return _train(argv, pretrain)


def _train(argv: list[str], verb: Verb) -> int:
    """What ``pretrain`` and ``finetune`` do with their words."""
    from pathlib import Path

    words, options = _split_options(argv, ("--config", "--out"))
    out = options.get("--out")
    config_file = options.get("--config")
    if config_file is None and out is not None and (Path(out) / "config.yaml").is_file():
        config_file = str(Path(out) / "config.yaml")
    if "-h" in words or "--help" in words:
        return _train_help(config_file, verb)
    from equissl.training.configfile import dump_config, load_config

    shown = "--print_config" in words
    config = load_config(config_file, [word for word in words if word != "--print_config"])
    if shown:
        print(dump_config(config), end="")
        return 0
    if out is None:
        raise ValueError("expected --out RUN, the folder to write to")
    from equissl.training import pretrain as run

    print(run(config, out))
    return 0


def finetune(argv: list[str]) -> int:
    """Trains a detector of 3D boxes, from a pretrained backbone or from scratch; started again it continues.

    equissl finetune --config FILE.yaml --out RUN [--init PRETRAINED] [--labels SHARE] [--frozen] [--any.key value ...]

    --config     a YAML file, or the name of a packaged recipe (detection/second_small); default: RUN/config.yaml
    --out        run folder; labels.txt in it lists the frames whose labels were used
    --init       run of `equissl pretrain`, folder of `equissl export`, or checkpoint of OpenPCDet; its voxel backbone
    --labels     share of the training frames whose labels are used (0.05), or a file of their ids; default: all
    --label_seed of the share
    --frozen     train neck and head alone
    --print_config  shows the resolved config and stops
    Every key of the config is a flag: --trainer.max_steps 100 --data.store drives.h5
    """
    short = {"--labels": "--data.frames.labels", "--label_seed": "--data.frames.label_seed"}
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if word == "--frozen":
            words += ["--method.init_args.frozen", "true"]
        else:
            words.append(short.get(name, name) + equals + value)
    return _train(words, finetune)


def predict(argv: list[str]) -> int:
    """Writes what a detector finds: result files of KITTI or JSON, and pictures from above."""
    from equissl.evaluation.prediction import predict as run

    parser = _parser("predict", predict)
    parser.add_argument("run", help="folder that `equissl finetune --out` wrote")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_function_arguments(run, skip={"run", "out", "log"})
    report = run(**_arguments(parser, argv), log=_say)
    found = f"{report.detections} detections in {report.frames} sweeps ({report.format}), {report.pictures} pictures"
    print(f"{report.folder}: {found}, {report.seconds:.0f} s")
    return 0


def evaluate(argv: list[str]) -> int:
    """Probes the frozen backbone of a run on unseen objects, or drives, and writes RUN/results.json."""
    from equissl.evaluation import DetectionEvaluateConfig, EvaluateConfig, FlowEvaluateConfig, SceneEvaluateConfig
    from equissl.evaluation import evaluate as run
    from equissl.reporting import format_table

    parser = _parser("evaluate", evaluate)
    parser.add_argument("run", help="folder that `equissl pretrain --out` wrote")
    parser.add_argument("--store", help="store to evaluate on; default: the one of the run")
    parser.add_class_arguments(EvaluateConfig)
    # of methods on LiDAR scenes
    parser.add_class_arguments(SceneEvaluateConfig, "scenes")
    # of methods on flowing digits
    parser.add_class_arguments(FlowEvaluateConfig, "flows")
    # of detectors
    parser.add_class_arguments(DetectionEvaluateConfig, "detection")
    values = _arguments(parser, argv)
    run_dir, store = values.pop("run"), values.pop("store")
    others = {name: values.pop(name) for name in ("scenes", "flows", "detection")}
    print(format_table([run(run_dir, EvaluateConfig(**values), store=store, log=_say, **others)]))
    return 0


def report(argv: list[str]) -> int:
    """Writes one HTML page that compares evaluated runs, and prints their table; seeds of one run make one row."""
    from equissl.reporting import format_table, write_report
    from equissl.reporting.runs import load_runs

    parser = _parser("report", report)
    parser.add_argument("runs", nargs="+", help="evaluated run folders")
    parser.add_function_arguments(write_report, skip={"run_dirs"})
    values = _arguments(parser, argv)
    runs = values.pop("runs")
    page = write_report(runs, **values)
    print(format_table([run.results for run in load_runs(runs)]), page, sep="\n\n")
    return 0


def import_(argv: list[str]) -> int:
    """Reads a checkpoint of SIE's, EquiCaps' or seq-JEPA's authors, or OpenPCDet's, into a run folder, to evaluate."""
    from equissl.weights import import_weights

    parser = _parser("import", import_)
    parser.add_argument("family", choices=["sie", "equicaps", "seqjepa", "openpcdet"], help="whose checkpoint it is")
    parser.add_argument("file", help="the checkpoint")
    parser.add_argument("--out", required=True, help="run folder to write")
    parser.add_function_arguments(import_weights, skip={"family", "file", "out"})
    report = import_weights(**_arguments(parser, argv))
    print(f"{report.option}, as {report.method}: {report.parameters:,} parameters", file=sys.stderr)
    for message in report.messages:
        _say(message)
    print(report.run)
    return 0


def export(argv: list[str]) -> int:
    """Writes the method of a run as safetensors with a JSON card, and its backbone for torchvision or timm."""
    from equissl.weights import export_run

    parser = _parser("export", export)
    parser.add_argument("run", help="run folder, or a checkpoint")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_function_arguments(export_run, skip={"run", "out"})
    report = export_run(**_arguments(parser, argv))
    _say(f"backbone: {report.backbone}")
    for name in report.files:
        print(report.folder / name)
    return 0


def bench(argv: list[str]) -> int:
    """Measures on this machine: ``bench KIND``; ``methods``, ``study``, ``fernn``, ``detection`` train, others time."""
    import importlib

    timed = ["render", "live", "loader", "losses", "evaluate", "sparse", "ingest", "detection_metrics", "fidelity"]
    kinds = [*timed, "methods", "study", "sequences", "fernn", "detection"]
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: equissl bench {{{','.join(kinds)}}} [--help]\n\n{bench.__doc__}")
        return 0
    if argv[0] not in kinds:
        return _unknown("benchmark", argv[0], kinds)
    module = {"evaluate": "evaluation"}.get(argv[0], argv[0])
    function = getattr(importlib.import_module(f"equissl.bench.{module}"), f"bench_{argv[0]}")
    parser = _parser(f"bench {argv[0]}", function)
    parser.add_function_arguments(function, skip={"say"})
    for name, value in function(**_arguments(parser, argv[1:])).items():
        print(f"{name:>28}  {value:,.4g}" if isinstance(value, float) else f"{name:>28}  {value}")
    return 0


def doctor(argv: list[str]) -> int:
    """Shows what is present, what is missing, and the command that mends it."""
    from equissl.doctor import run_doctor

    _parser("doctor", doctor).parse_args(argv)
    return run_doctor()


VERBS: dict[str, tuple[str, Verb]] = {
    verb.__name__.rstrip("_"): ((verb.__doc__ or "").partition("\n")[0], verb)
    for verb in (
        demo,
        render,
        pack,
        unpack,
        ingest,
        simulate,
        sequences,
        flow,
        pretrain,
        finetune,
        evaluate,
        predict,
        report,
        import_,
        export,
        bench,
        doctor,
    )
}


def _overview() -> str:
    lines = [f"  {name:<10} {summary}" for name, (summary, _) in VERBS.items()]
    return "\n".join(["usage: equissl VERB ...", "", *lines, "", "`equissl VERB --help` lists the flags of one."])


def _train_help(config_file: str | None, verb: Verb) -> int:
    """Flags of a method's constructor too, once a config says which."""
    from equissl.training.configfile import config_parser, find_config, find_method, read_yaml

    print("usage: " + (verb.__doc__ or "").partition("\n\n")[2].replace("\n    ", "\n").strip())
    tree = read_yaml(find_config(config_file)) if config_file else {}
    name = tree.get("method", {}).get("class_path")
    text = config_parser(find_method(str(name)) if name else None).format_help()
    print("\n" + text[text.find("options:") :])
    return 0


def _parser(verb: str, function: Callable[..., Any]) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    summary = (function.__doc__ or "").partition("\n")[0]
    return ArgumentParser(prog=f"equissl {verb}", description=summary, allow_abbrev=False)


def _arguments(parser: ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """Parsed and instantiated arguments by name."""
    values: Namespace = parser.instantiate(parser.parse_args(argv))
    return dict(vars(values))


def _split_options(argv: list[str], names: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
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


def _expected(error: Exception) -> bool:
    """Errors about what the user gave, as opposed to our own mistakes."""
    ours = type(error).__module__.split(".")[0] == "equissl"
    return ours or isinstance(error, (ValueError, OSError, ImportError))


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__


def _unknown(kind: str, name: str, known: list[str]) -> int:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    print(f"equissl: error: unknown {kind} {name!r}{hint}; expected one of {', '.join(known)}", file=sys.stderr)
    return USAGE_ERROR


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _log_to_stderr() -> None:
    """Progress lines and warnings of the library."""
    log = logging.getLogger("equissl")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False


if __name__ == "__main__":
    sys.exit(main())
