"""Verbs about LiDAR drives."""

from __future__ import annotations

import logging

from equissl.datasets.drives.ingest import ingest as run_ingest
from equissl.datasets.drives.readers import READERS
from equissl.datasets.drives.simulated.options import DriveOptions
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.scene_flow.annotate import write_flow_store
from equissl.verbs.words import arguments, parser_of

logger = logging.getLogger(__name__)


def ingest(argv: list[str]) -> int:
    """Read recorded LiDAR drives (KITTI, KITTI-360, nuScenes, Argoverse 2, Waymo, a folder) into a drive store (.h5).

    Damaged frames are left out and named. Started again, it goes on where it stopped.
    """
    parser = parser_of("ingest", ingest)
    parser.add_argument("format", help=f"one of {', '.join(READERS)}, or an import path")
    parser.add_argument("root", help="folder in that format")
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(run_ingest, skip={"format", "root", "out"})
    report = run_ingest(**arguments(parser, argv))
    counts = f"{report.drives} drives, {report.sweeps} sweeps, {report.pairs} pairs, {report.boxes} boxes"
    print(f"{report.path}: {counts}, {len(report.problems)} problems, {report.seconds:.0f} s")
    for line in report.checks.lines() if report.checks else []:
        print(line)
    return 0


def simulate(argv: list[str]) -> int:
    """Simulate LiDAR drives with exact poses, boxes and scene flow into a drive store (.h5).

    Started again, it goes on where it stopped.
    """
    parser = parser_of("simulate", simulate)
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(simulate_drives, skip={"out", "options"})
    parser.add_class_arguments(DriveOptions, "options")
    print(simulate_drives(**arguments(parser, argv)))
    return 0


def flow(argv: list[str]) -> int:
    """Copy a drive store (.h5) with the scene flow of a provider, such as icp_cluster, ego or nsfp.

    Started again, it goes on where it stopped.
    """
    parser = parser_of("flow", flow)
    parser.add_argument("store", help="drive store that `equissl ingest` wrote, or an OpenSceneFlow log")
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_function_arguments(write_flow_store, skip={"store", "out"})
    report = write_flow_store(**arguments(parser, argv))
    for drive, frame, reason in report.failed[:10]:
        logger.warning("%s, frame %s: %s", drive, frame, reason)
    print(f"{report.path}: flow of {report.pairs} pairs, {len(report.failed)} failed, {report.seconds:.0f} s")
    return 0
