"""Verbs for the demos, the benchmarks and the doctor."""

from __future__ import annotations

from equissl.bench import BENCHES
from equissl.util.signatures import summary_of
from equissl.verbs.parser import VerbParser, loaded
from equissl.verbs.words import split_options, unknown


def demo(argv: list[str]) -> int:
    """Make data, pretrain on it, evaluate and write a page: `demo` on rendered views, `demo lidar` on drives."""
    if argv and not argv[0].startswith("-"):
        return _demo_lidar(argv[1:]) if argv[0] == "lidar" else unknown("demo", argv[0], ["lidar"])
    parser = VerbParser("demo", demo)
    run_demo = parser.add_signature("equissl.demo:run_demo", skip={"say", "task"})
    parser.add_signature("equissl.demo:DemoTask", "task")
    parser.call(run_demo, argv)
    return 0


def _demo_lidar(argv: list[str]) -> int:
    """Simulate drives, pretrain E-SSL3D and STRL on them, measure equivariance and rotation, and write a page."""
    parser = VerbParser("demo lidar", _demo_lidar)
    run_lidar_demo = parser.add_signature("equissl.demo_lidar:run_lidar_demo", skip={"say", "task"})
    parser.add_signature("equissl.demo_lidar:LidarTask", "task")
    parser.call(run_lidar_demo, argv)
    return 0


def bench(argv: list[str]) -> int:
    """Measure on this machine: ``bench KIND``; ``methods``, ``study``, ``fernn``, ``detection`` train, others time.

    ``--record FILE.json`` adds the numbers to a file, with command, commit, machine and seeds.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: equissl bench {{{','.join(BENCHES)}}} [--help]\n\n{bench.__doc__}")
        return 0
    path = BENCHES.path_of(argv[0])
    parser = VerbParser(f"bench {argv[0]}", bench)
    parser.text = summary_of(path)
    parser.add_flag("record", "JSON file to add the numbers to, with command, commit, machine and seeds")
    run = parser.add_signature(path, skip={"say"})
    values = parser.parse(argv[1:])
    record = values.pop("record")
    if record is not None:
        loaded("equissl.bench.record:read_records")(record)  # a wrong file is known before the work, not after it
    results = run()(**values)
    for name, value in results.items():
        print(f"{name:>28}  {value:,.4g}" if isinstance(value, float) else f"{name:>28}  {value}")
    if record is not None:
        words, _ = split_options(argv[1:], ("--record",))
        described = loaded("equissl.bench.record:describe_bench")(argv[0], words, values, results)
        print(loaded("equissl.bench.record:add_record")(record, described))
    return 0


def doctor(argv: list[str]) -> int:
    """Show the packages present and missing, and the command that fixes each."""
    parser = VerbParser("doctor", doctor)
    parser.parse(argv)
    return int(loaded("equissl.doctor:run_doctor")())
