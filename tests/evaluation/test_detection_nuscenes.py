"""nuScenes' metric of a detector: velocities and the vehicle's place from the data set's files to the score."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from equissl import cli
from equissl.datasets.drives.simulated import DriveOptions
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweep, LabelledSweeps
from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.detection import Detections
from equissl.evaluation.sweeps.config import DetectionEvaluateConfig
from equissl.evaluation.sweeps.detecting import read_detections, write_detections
from equissl.evaluation.sweeps.evaluate import _Metrics

CLASSES = (ObjectClass("car"), ObjectClass("pedestrian"))
LIMITS = (-60.0, -60.0, -5.0, 60.0, 60.0, 3.0)


def metrics() -> _Metrics:
    config = SimpleNamespace(point_range=LIMITS)
    detector = SimpleNamespace(classes=CLASSES, encoder=SimpleNamespace(config=config))
    return _Metrics(detector, DetectionEvaluateConfig(nuscenes=True))  # type: ignore[arg-type]


def labelled(distances: list[float], vehicle: np.ndarray | None, tilt: float = 0.0) -> Sweep:
    """Cars at these places straight ahead, 1.8 m below the sensor, driving at 5 m/s; that of the last is unknown."""
    boxes = np.array([[x, 0, -1.8, 0.4, 0.4, 0.4, 0] for x in distances])
    velocities = np.array([[5.0, 0.0]] * len(distances))
    velocities[-1] = np.nan
    pose = np.eye(4)
    pose[:3, :3] = [[math.cos(tilt), 0, math.sin(tilt)], [0, 1, 0], [-math.sin(tilt), 0, math.cos(tilt)]]
    names, tracks = ("car",) * len(boxes), tuple(map(str, range(len(boxes))))
    labels = Boxes(boxes, names, tracks, velocities=velocities)
    return Sweep(boxes[:, :3].astype(np.float32), 0, pose, boxes=labels, frame="0", vehicle_lidar=vehicle)


def frame_of(sweep: Sweep, path: Path) -> LabelledSweep:
    """Through a store, as an evaluation reads it."""
    return LabelledSweeps(write_drives(path, [Drive.of("d", [sweep], None, "test")]), None, CLASSES).read(0)


def as_found(frame: LabelledSweep, velocity: float | None) -> Detections:
    """The labels, each 3 m/s and 4 m/s too fast at ``velocity`` 1."""
    boxes = torch.from_numpy(frame.objects.boxes).float()
    error = None if velocity is None else velocity * torch.tensor([3.0, 4.0])
    speeds = None if error is None else torch.tensor([5.0, 0.0]).repeat(len(boxes), 1) + error
    return Detections(boxes, torch.linspace(0.9, 0.1, len(boxes)), torch.zeros(len(boxes), dtype=torch.long), speeds)


@pytest.mark.parametrize(("velocity", "expected"), [(0.0, 0.0), (0.1, 0.5), (None, 1.0)])
def test_velocity_errors_reach_the_score(tmp_path, velocity, expected) -> None:
    """Off by 0.1 x (3, 4) m/s: 0.5 m/s; without any velocity the benchmark's worst."""
    frame, metric = frame_of(labelled([5.0, 10.0, 20.0, 30.0], np.eye(4)), tmp_path / "a.h5"), metrics()
    metric.update(frame, as_found(frame, velocity))
    scores = metric.compute()
    assert scores["nuscenes/car/ap"] == 1.0 and scores["nuscenes/car/ave"] == pytest.approx(expected, abs=1e-6)
    # cars are perfect but for velocity and attributes, and pedestrians, of whom there are none, are all wrong
    wrong = [0.5, 0.5, 0.5, (1 + expected) / 2, 1.0]
    assert scores["nuscenes/nds"] == pytest.approx((5 * 0.5 + sum(1 - error for error in wrong)) / 10, abs=1e-6)


def test_ranges_are_measured_from_the_vehicle_and_level(tmp_path) -> None:
    """The sensor is 0.94 m ahead of the rear axle and 1.84 m above: a car at 49.5 m is out of the 50 m of its class."""
    vehicle = np.eye(4)
    vehicle[:3, 3] = 0.94, 0.0, 1.84
    cases = {
        "sensor": (labelled([20.0, 49.5, 50.2], None), 2, 1),
        "vehicle": (labelled([20.0, 49.5, 50.2], vehicle), 1, 0),
        "no pose": (replace(labelled([20.0, 49.5, 50.2], vehicle), pose=None), 2, 1),
        # nose down by 0.1 rad, a place d ahead and 1.8 m below is at d cos 0.1 - 1.8 sin 0.1 ahead on the ground, the
        # rear axle at -0.94 cos 0.1 - 1.84 sin 0.1: 49.5 m apart becomes 50.19, 49.2 becomes 49.89
        "tilted": (labelled([20.0, 49.2, 49.5], vehicle, tilt=0.1), 2, 0),
    }
    for name, (sweep, count, unknown) in cases.items():
        frame, metric = frame_of(sweep, tmp_path / f"{name}.h5"), metrics()
        metric.update(frame, as_found(frame, 0.0))
        scores = metric.compute()
        counted = int((metric.nuscenes._store.joined().target["labels"] == 0).sum())  # type: ignore[union-attr]
        assert (counted, scores["nuscenes/sweeps_ranged_from_sensor"]) == (count, unknown), name
        assert (
            scores["detection/car/labels"] == 3 and scores["nuscenes/car/ap"] == 1.0
        )  # the plain metric has no ranges


def test_detections_with_velocities_come_back_from_their_file(tmp_path) -> None:
    found = [Detections(torch.rand(n, 7), torch.rand(n), torch.arange(n), torch.rand(n, 2)) for n in (2, 0, 3)]
    write_detections(tmp_path / "d.npz", ["a/0", "a/1", "b/0"], found, ["car"])
    back = read_detections(tmp_path / "d.npz")
    assert all(torch.equal(back[k].velocities, d.velocities) for k, d in zip(back, found, strict=True))  # type: ignore[arg-type]


def test_a_centerpoint_with_velocities_by_the_program(tmp_path, capsys) -> None:
    store = simulate_drives(
        tmp_path / "drives.h5", 2, 2, 0, DriveOptions(beams=16, columns=120, max_range=25.0, dropout=0.0)
    )
    small = [
        "--method.encoder.point_range=[-12.8,-12.8,-3.0,12.8,12.8,1.0]",
        "--method.encoder.voxel_size=[0.4,0.4,0.16]", "--method.encoder.backend=torch",
        "--method.neck.layers=[0,0]", "--method.neck.widths=[8,8]", "--method.neck.up_widths=[8,8]",
        "--method.classes=[{name: car}, {name: pedestrian}]", "--method.choose.score=0.0", "--method.velocity=true",
        "--trainer.threads=1", "--trainer.loggers=[csv]", "--data.batch_size=2", "--trainer.accelerator=cpu",
        "--trainer.max_steps=1",
    ]  # fmt: skip
    words = ["finetune", "--config", "detection/centerpoint_small", *small]
    assert cli.main([*words, "--out", str(tmp_path / "run"), f"--data.store={store}"]) == 0
    assert cli.main(["evaluate", str(tmp_path / "run"), "--nuscenes=true"]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["nuscenes/sweeps_ranged_from_sensor"] == 0 and 0 <= results["nuscenes/nds"] <= 1
    found = read_detections(tmp_path / "run" / "detections.npz")
    assert all(d.velocities is not None and len(d.velocities) == len(d) for d in found.values())
    assert cli.main(["predict", str(tmp_path / "run"), "--out", str(tmp_path / "predicted"), "--pictures", "0"]) == 0
    content = json.loads(next((tmp_path / "predicted").rglob("*.json")).read_text())
    assert content.keys() == {"boxes", "scores", "labels", "velocities"}
    assert len(content["velocities"]) == len(content["boxes"]) > 0 and len(content["velocities"][0]) == 2
    # a store of before velocities: nothing to learn them from
    old = Drive.of("d", [Sweep(np.zeros((9, 3), np.float32), k, boxes=Boxes.empty()) for k in range(9)], None, "test")
    write_drives(tmp_path / "old.h5", [old])
    assert cli.main([*words, "--out", str(tmp_path / "no"), f"--data.store={tmp_path / 'old.h5'}"]) == 2
    assert "expected labels with velocities in" in capsys.readouterr().err
