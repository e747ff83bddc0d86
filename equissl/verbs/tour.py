"""Verbs for the demos, the benchmarks and the doctor."""

from __future__ import annotations

from equissl.bench import BENCHES
from equissl.util.signatures import summary_of
from equissl.verbs.parser import VerbParser, loaded
from equissl.verbs.words import unknown


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
    """Measure on this machine: ``bench KIND``; ``methods``, ``study``, ``fernn``, ``detection`` train, others time."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: equissl bench {{{','.join(BENCHES)}}} [--help]\n\n{bench.__doc__}")
        return 0
    path = BENCHES.path_of(argv[0])
    parser = VerbParser(f"bench {argv[0]}", bench)
    parser.text = summary_of(path)
    for name, value in parser.call(parser.add_signature(path, skip={"say"}), argv[1:]).items():
        print(f"{name:>28}  {value:,.4g}" if isinstance(value, float) else f"{name:>28}  {value}")
    return 0


def doctor(argv: list[str]) -> int:
    """Show the packages present and missing, and the command that fixes each."""
    parser = VerbParser("doctor", doctor)
    parser.parse(argv)
    return int(loaded("equissl.doctor:run_doctor")())
