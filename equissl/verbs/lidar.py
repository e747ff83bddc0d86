"""Verbs about LiDAR drives."""

from __future__ import annotations

import logging

from equissl.verbs.parser import VerbParser

logger = logging.getLogger(__name__)
NAMED = 10  # pairs without flow


def ingest(argv: list[str]) -> int:
    """Read recorded LiDAR drives (KITTI, KITTI-360, nuScenes, Argoverse 2, Waymo, a folder) into a drive store (.h5).

    Damaged frames are left out and named. Started again, it goes on where it stopped.
    """
    parser = VerbParser("ingest", ingest)
    parser.add_word("format", "format of the folder", names="ingest.format")
    parser.add_word("root", "folder in that format")
    parser.add_flag("out", "the file to write", required=True)
    run_ingest = parser.add_signature("equissl.datasets.drives.ingest:ingest", skip={"format", "root", "out"})
    report = parser.call(run_ingest, argv)
    counts = f"{report.drives} drives, {report.sweeps} sweeps, {report.pairs} pairs, {report.boxes} boxes"
    print(f"{report.path}: {counts}, {len(report.problems)} problems, {report.seconds:.0f} s")
    for line in report.odometry:
        print(line)
    for line in report.checks.lines() if report.checks else []:
        print(line)
    return 0


def simulate(argv: list[str]) -> int:
    """Simulate LiDAR drives with exact poses, boxes and scene flow into a drive store (.h5).

    Started again, it goes on where it stopped.
    """
    parser = VerbParser("simulate", simulate)
    parser.add_flag("out", "the file to write", required=True)
    simulate_drives = parser.add_signature(
        "equissl.datasets.drives.simulated.store:simulate_drives", skip={"out", "options"}
    )
    parser.add_signature("equissl.datasets.drives.simulated.options:DriveOptions", "options")
    print(parser.call(simulate_drives, argv))
    return 0


def flow(argv: list[str]) -> int:
    """Copy a drive store (.h5) with the scene flow of a provider, such as icp_cluster, ego or nsfp.

    Started again, it goes on where it stopped.
    """
    parser = VerbParser("flow", flow)
    parser.add_word("store", "drive store that `equissl ingest` wrote, or an OpenSceneFlow log")
    parser.add_flag("out", "the file to write", required=True)
    write = parser.add_signature("equissl.scene_flow.annotate:write_flow_store", skip={"store", "out"})
    report = parser.call(write, argv)
    for drive, frame, reason in report.failed[:NAMED]:
        logger.warning("%s, frame %s: %s", drive, frame, reason)
    if (more := len(report.failed) - NAMED) > 0:
        logger.warning("and %d more pairs without flow; the store names all", more)
    print(f"{report.path}: flow of {report.pairs} pairs, {len(report.failed)} failed, {report.seconds:.0f} s")
    return 0
