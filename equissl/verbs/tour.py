"""Verbs for the demos, the benchmarks and the doctor."""

from __future__ import annotations

from equissl.bench import BENCHES
from equissl.demo import DemoTask, run_demo
from equissl.demo_lidar import LidarTask, run_lidar_demo
from equissl.doctor import run_doctor
from equissl.verbs.words import arguments, parser_of, unknown


def demo(argv: list[str]) -> int:
    """Make data, pretrain on it, evaluate and write a page: `demo` on rendered views, `demo lidar` on drives."""
    if argv and not argv[0].startswith("-"):
        return _demo_lidar(argv[1:]) if argv[0] == "lidar" else unknown("demo", argv[0], ["lidar"])
    parser = parser_of("demo", demo)
    parser.add_function_arguments(run_demo, skip={"say", "task"})
    parser.add_class_arguments(DemoTask, "task")
    run_demo(**arguments(parser, argv))
    return 0


def _demo_lidar(argv: list[str]) -> int:
    """Simulate drives, pretrain E-SSL3D and STRL on them, measure equivariance and rotation, and write a page."""
    parser = parser_of("demo lidar", _demo_lidar)
    parser.add_function_arguments(run_lidar_demo, skip={"say", "task"})
    parser.add_class_arguments(LidarTask, "task")
    run_lidar_demo(**arguments(parser, argv))
    return 0


def bench(argv: list[str]) -> int:
    """Measure on this machine: ``bench KIND``; ``methods``, ``study``, ``fernn``, ``detection`` train, others time."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: equissl bench {{{','.join(BENCHES)}}} [--help]\n\n{bench.__doc__}")
        return 0
    function = BENCHES[argv[0]]
    parser = parser_of(f"bench {argv[0]}", function)
    parser.add_function_arguments(function, skip={"say"})
    for name, value in function(**arguments(parser, argv[1:])).items():
        print(f"{name:>28}  {value:,.4g}" if isinstance(value, float) else f"{name:>28}  {value}")
    return 0


def doctor(argv: list[str]) -> int:
    """Show the packages present and missing, and the command that fixes each."""
    parser_of("doctor", doctor).parse_args(argv)
    return run_doctor()
