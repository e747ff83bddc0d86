"""From a run on scenes to results, table, page; and `equissl evaluate` takes it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from equissl import cli
from equissl.datasets.drives.pairs.dataset import SweepPairs, SweepPairsError
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep, ego_motion, rigid_flow
from equissl.evaluation.drives.evaluate import choose_flow
from equissl.reporting import format_table, write_report
from equissl.runs import build_method, load_config
from equissl.training import pretrain

VOXELS = ["--method.init_args.encoder.point_range=[-6.4, -6.4, -1.2, 6.4, 6.4, 1.2]",
          "--method.init_args.encoder.voxel_size=[0.2, 0.2, 0.1]"]  # fmt: skip
SMALL = {"pairs": 3, "sweeps": 3, "rotations": 2, "calibrate": 2, "maps": 1, "angles": "[90]"}
FLAGS = [f"--{key}={value}" for key, value in SMALL.items()]


def pose(step: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = 0.8 * step
    return matrix


def drive(number: int, sweeps: int = 3, points: int = 250, flow: bool = True, speed: float = 1.0) -> Drive:
    """A static world of random points, seen from a car that drives 0.8 m a sweep."""
    world = np.random.default_rng(number).uniform([-6, -6, -1, 0], [8, 6, 1, 1], (points, 4)).astype(np.float32)
    made = []
    for index in range(sweeps):
        here = world[:, :3] - pose(speed * index)[:3, 3].astype(np.float32)
        motion = ego_motion(pose(speed * index), pose(speed * (index + 1)))
        made.append(
            Sweep(
                points=here,
                timestamp=index * 100_000_000,
                pose=pose(speed * index),
                intensity=world[:, 3],
                boxes=Boxes(np.array([[2.0, 1, 0, 2, 1, 1, 0.3]]), ("car",), ("a",)),
                flow=rigid_flow(here, motion) if flow else None,
                flow_provider="test" if flow else None,
            )
        )
    return Drive.of(f"drive_{number}", made, 10.0, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    store = write_drives(folder / "drives.h5", [drive(number) for number in range(4)])
    words = [f"--data.store={store}", "--data.batch_size=2", "--trainer.max_steps=1", *VOXELS]
    return pretrain(load_config("demo_strl", words), folder / "strl")


@pytest.fixture(scope="module")
def results(run: Path) -> dict:
    assert cli.main(["evaluate", str(run), *FLAGS]) == 0
    return json.loads((run / "results.json").read_text())


def test_results_are_flat_complete_and_have_a_before(results: dict) -> None:
    assert all(not isinstance(value, dict) for value in results.values())
    for name in ("rotation", "rotation_90", "translation", "flow", "flow_no_motion"):
        for state in ("trained", "initial"):
            assert 0 < results[f"equivariance/{name}/{state}"] < 3, name
    # voxels shifted by a cell: bit for bit; nothing moves over ground in these drives
    assert results["equivariance/translation_sites/trained"] == 0
    assert results["equivariance/flow_moving/trained"] is None
    for prefix in ("rotation", "rotation_wedge"):
        assert all(0 <= results[f"{prefix}/{name}"] <= 1 for name in ("accuracy", "initial", "outline"))
    assert results["rotation/chance"] == 0.1
    assert (results["kind"], results["label"], results["flow"]) == ("drives", "STRL", "stored")
    assert (results["train_pairs"], results["val_pairs"], results["pairs_seen"]) == (6, 2, 2)
    assert all(math.isfinite(results[f"collapse/{k}/cells"]) for k in ("rankme", "std"))


def test_the_same_run_gives_the_same_numbers(run: Path, results: dict) -> None:
    assert cli.main(["evaluate", str(run), *FLAGS]) == 0
    again = json.loads((run / "results.json").read_text())
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in results.items() if k != "seconds"}


def test_the_table_has_the_encoder_before_training_the_outline_and_chance(results: dict) -> None:
    lines = format_table([results]).splitlines()
    assert [line.split("  ")[0] for line in lines if not line.startswith("-")] == [
        "method", "STRL", "before training", "outline alone", "chance",
    ]  # fmt: skip
    assert f"{results['equivariance/flow/initial']:.3f}" in lines[4]
    assert f"{100 * results['rotation/outline']:.1f}" in lines[5]
    with pytest.raises(ValueError, match=r"one kind, got STRL \(drives\), SIE \(views\)"):
        format_table([results, {"kind": "views", "method": "SIE", "run": "sie", "store": "s.h5"}])


def test_the_page_has_pictures_of_scenes_and_features(run: Path, results: dict, tmp_path: Path) -> None:
    one, other = (write_report([run], tmp_path / name).read_text() for name in ("a.html", "b.html"))
    assert one == other
    assert one.count("data:image/png;base64,") == 3  # a scene; its map before and after training
    assert "arrows show where moving things go" in one and "STRL" in one


def test_flow_comes_from_the_store_from_boxes_or_from_poses(tmp_path: Path) -> None:
    stored = write_drives(tmp_path / "flow.h5", [drive(0)])
    boxes = write_drives(tmp_path / "boxes.h5", [drive(0, flow=False)])
    bare = [replace(sweep, boxes=None) for sweep in drive(0, flow=False)]
    poses = write_drives(tmp_path / "poses.h5", [Drive.of("a", bare, 10.0)])
    assert [choose_flow(path) for path in (stored, boxes, poses)] == ["stored", "boxes", "ego"]
    unposed = [replace(sweep, pose=None) for sweep in bare]
    neither = write_drives(tmp_path / "neither.h5", [Drive.of("a", bare, 10.0), Drive.of("b", unposed, 10.0)])
    assert choose_flow(neither) == "none"
    single = write_drives(tmp_path / "single.h5", [drive(0, sweeps=1)])
    with pytest.raises(ValueError, match="expected pairs of sweeps"):
        choose_flow(single)


def test_drives_without_poses_are_trained_and_evaluated_on_what_needs_none(tmp_path: Path) -> None:
    """All but the errors of flow; and the page says why these are missing."""
    bare = [[replace(sweep, pose=None, boxes=None) for sweep in drive(n, flow=False)] for n in range(4)]
    store = write_drives(tmp_path / "bare.h5", [Drive.of(f"d{n}", sweeps, 10.0) for n, sweeps in enumerate(bare)])
    words = [f"--data.store={store}", "--data.flow=none", "--data.batch_size=2", "--trainer.max_steps=1", *VOXELS]
    with pytest.raises(SweepPairsError, match=r"(?s)Take data\.flow: none .*equissl ingest \.\.\. --odometry icp"):
        SweepPairs(store, flow="stored")
    copy = pretrain(load_config("demo_strl", words), tmp_path / "run")
    assert cli.main(["evaluate", str(copy), *FLAGS]) == 0
    found = json.loads((copy / "results.json").read_text())
    assert found["flow"] == "none" and found["flow_cells_changed"] is None
    assert found["equivariance/flow/trained"] is None and found["equivariance/flow_no_motion/trained"] is None
    assert 0 < found["equivariance/rotation/trained"] < 3 and 0 <= found["rotation/accuracy"] <= 1
    assert math.isfinite(found["collapse/rankme/all"])
    page = write_report([copy], tmp_path / "page.html").read_text()
    assert "neither flow nor poses" in page and "Flow-equivariance error" not in page


def test_the_end_of_a_single_drive_is_no_unseen_drive(run: Path, results: dict, tmp_path: Path) -> None:
    assert results["held_out"] == "unseen drives" and results["flow_cells_changed"] > 0.2
    store = write_drives(tmp_path / "one.h5", [drive(0, sweeps=14)])
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("results*"))
    assert cli.main(["evaluate", str(copy), "--store", str(store), *FLAGS]) == 0
    assert json.loads((copy / "results.json").read_text())["held_out"] == "the end of the only drive"
    page = write_report([copy], tmp_path / "page.html").read_text()
    assert "<h2>The end of the only drive</h2>" in page and "nseen drives" not in page


def test_a_standing_car_is_said_to_show_nothing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_drives(tmp_path / "still.h5", [drive(n, speed=0.001) for n in range(4)])
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("results*"))
    assert cli.main(["evaluate", str(copy), "--store", str(store), *FLAGS]) == 0
    found = json.loads((copy / "results.json").read_text())
    still, carried = (found[f"equivariance/{key}/trained"] for key in ("flow_no_motion", "flow"))
    assert found["flow_cells_changed"] < 0.05 and carried == pytest.approx(still, abs=0.02)
    assert "The car stood" in capsys.readouterr().err
    page = write_report([copy], tmp_path / "page.html").read_text()
    assert "The car stood" in page and "Lowest flow-equivariance error" not in page


def test_invariant_methods_go_by_the_names_of_their_papers() -> None:
    same = load_config("lidar/depth_contrast_small", ["--data.store", "drives.h5"])
    assert build_method(same.method).label == "DepthContrast"
    assert build_method(load_config("demo_essl3d").method).label == "E-SSL3D"
