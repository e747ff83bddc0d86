"""Velocities of labelled boxes: closed forms, nuScenes' rule, and what real flow labels and simulated motion say."""

from __future__ import annotations

import json
from pathlib import Path

import lidar_layouts as layouts
import numpy as np
import pytest

from equissl.datasets.drives.box_points import points_in_box
from equissl.datasets.drives.box_velocities import track_velocities, with_velocities
from equissl.datasets.drives.readers import open_reader
from equissl.datasets.drives.simulated import DriveOptions, SimulatedDrive
from equissl.datasets.drives.sweep import Boxes, ego_motion, invert_pose, level_vehicle, move, own_motion

NS = 1_000_000_000
UNKNOWN = [np.nan] * 3
CASES = {
    "both": ([0, 0.5, 1.0], [0, 1, 4], 1, 4.0),  # the centred difference, whatever happens between
    "first": ([0, 0.5, 1.0], [0, 1, 4], 0, 2.0),
    "last": ([0, 0.5, 1.0], [0, 1, 4], 2, 6.0),
    "alone": ([0], [5], 0, np.nan),
    "one side, in time": ([0, 1.5], [0, 3], 0, 2.0),
    "one side, too late": ([0, 1.6], [0, 3], 0, np.nan),
    "both sides, in time": ([0, 1.4, 3.0], [0, 1, 6], 1, 2.0),
    "both sides, too far apart": ([0, 1.4, 3.1], [0, 1, 6], 1, np.nan),
}


@pytest.mark.parametrize("name", CASES)
def test_differences_along_a_track(name: str) -> None:
    seconds, places, which, expected = CASES[name]
    order = np.random.default_rng(0).permutation(len(seconds))  # labels come in any order, beside other tracks
    times = np.array([round(seconds[i] * NS) for i in order] + [0, NS], dtype=np.int64)
    centres = np.array([[places[i], 0, -2.0 * places[i]] for i in order] + [[9.0, 9, 9], [9, 9, 9]])
    found = track_velocities(["a"] * len(order) + ["b", ""], times, centres)
    row = order.tolist().index(which)
    np.testing.assert_allclose(found[row], np.array([1, 0, -2]) * expected)
    np.testing.assert_array_equal(found[-2:], [UNKNOWN, UNKNOWN])


def test_velocities_are_over_ground_and_in_the_axes_of_the_sweep() -> None:
    """A parked car seen from one that turns and drives stands still; one beside that one never seems to move."""
    poses = {}
    for k in range(3):
        turn, pose = 0.3 * k, np.eye(4)
        pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        pose[:3, 3] = 1e5 + 2.0 * k, -3.0 * k, 0
        poses[k * NS // 10] = pose
    parked = np.array([1e5 + 30, 10, 0])
    boxes = {}
    for time, pose in poses.items():
        near = invert_pose(pose)[:3, :3] @ parked + invert_pose(pose)[:3, 3]
        rows = np.array([[*near, 4, 2, 1.5, 0], [0, 0, 0, 4, 2, 1.5, 0]])
        boxes[time] = Boxes(rows, ("car", "car"), ("parked", "beside"))
    boxes[5 * NS] = Boxes(rows, ("car", "car"), ("parked", "beside"))  # without a pose
    found = with_velocities(boxes, poses | {5 * NS: np.full((4, 4), np.nan)})
    for time, pose in poses.items():
        np.testing.assert_allclose(found[time].velocities[0], [0, 0], atol=1e-8)
        np.testing.assert_allclose(found[time].velocities[1], (pose[:3, :3].T @ [20.0, -30.0, 0])[:2], atol=1e-8)
    assert np.isnan(found[5 * NS].velocities).all()
    assert with_velocities({}, {}) == {} and with_velocities({0: Boxes.empty()}, {})[0].velocities.shape == (0, 2)


def test_nuscenes_follows_its_devkits_rule(shared: Path, tmp_path: Path) -> None:
    """With the velocities of the sample's own information, and annotations before and after that agree with them."""
    root = layouts.nuscenes(shared, tmp_path)
    sample = layouts.read_json(shared / "data" / "nuscenes_one_sample" / "info.json")["data_list"][0]
    chain = np.array(sample["ego2global"]) @ np.array(sample["lidar_points"]["lidar2ego"])
    stated = np.array([instance["velocity"] for instance in sample["instances"]])  # x right, y ahead
    tables = {path.stem: json.loads(path.read_text()) for path in (root / "v1.0-mini").glob("*.json")}
    time, own = tables["sample"][0]["timestamp"], list(tables["sample_annotation"])
    # seconds to the annotation before and to the one after, by rows in turn; None where there is none
    gaps = [(0.5, 0.5), (0.5, None), (None, 0.45), (None, None), (1.6, None), (1.4, 1.5), (1.6, 1.5)]
    known = [True, True, True, False, False, True, False]
    for side, sign in ((0, -1), (1, 1)):
        for seconds in sorted({gap[side] for gap in gaps if gap[side]}):
            token = f"sample{side}{seconds}"
            stamp = time + sign * round(seconds * 1e6)
            tables["sample"].append({"token": token, "scene_token": "scene", "timestamp": stamp})
            tables["sample_data"].append(
                {**layouts._sweep_row(token, stamp, f"no/{token}", True, "ego"), "sample_token": token}
            )
            for row, annotation in enumerate(own):
                if gaps[row % len(gaps)][side] == seconds and np.isfinite(stated[row]).all():
                    step = sign * seconds * (chain[:3, :3] @ [*stated[row], 0])
                    place = (np.array(annotation["translation"]) + step).tolist()
                    new = {"token": f"{annotation['token']}{token}", "sample_token": token, "translation": place}
                    tables["sample_annotation"].append({**annotation, **new})
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    found = open_reader("nuscenes", root).open("scene-0061")[0].boxes.velocities  # type: ignore[union-attr]
    told = np.array([known[row % len(known)] for row in range(len(stated))]) & np.isfinite(stated).all(axis=1)
    assert np.array_equal(np.isfinite(found).all(axis=1), told) and told.sum() > 20
    np.testing.assert_allclose(found[told], np.stack([stated[:, 1], -stated[:, 0]], axis=1)[told], atol=1e-3)
    assert np.linalg.norm(found[told], axis=1).max() > 1  # something moves


def test_nuscenes_single_annotations_have_no_velocity(shared: Path, tmp_path: Path) -> None:
    key = open_reader("nuscenes", layouts.nuscenes(shared, tmp_path)).open("scene-0061")[0]
    assert key.boxes.velocities.shape == (69, 2) and np.isnan(key.boxes.velocities).all()  # type: ignore[union-attr]


def test_argoverse2_agrees_with_its_flow_labels(shared: Path, tmp_path: Path) -> None:
    """The labels' flow of points in boxes, less the ego motion: what the box moves until the next sweep."""
    pytest.importorskip("pyarrow")
    log = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
    sequence = open_reader("argoverse2", layouts.argoverse2(shared, tmp_path)).open(log)
    sweep, following = sequence[0], sequence[1]
    seconds = (following.timestamp - sweep.timestamp) * 1e-9
    own = own_motion(sweep.points, sweep.flow, ego_motion(sweep.pose, following.pose)) / seconds  # type: ignore[arg-type]
    errors, speeds = [], []
    for box, velocity in zip(sweep.boxes.boxes, sweep.boxes.velocities, strict=True):  # type: ignore[union-attr]
        inside = points_in_box(sweep.points, box)
        if len(inside) >= 5:
            errors.append(np.linalg.norm(np.median(own[inside, :2], axis=0) - velocity))
            speeds.append(np.linalg.norm(velocity))
    # the labels look one sweep ahead, ours one back as well where there is one
    assert len(errors) > 30 and np.max(speeds) > 3 and np.median(errors) < 0.1 and np.max(errors) < 1.0
    assert np.array_equal(sweep.vehicle_lidar, np.eye(4))  # type: ignore[arg-type]


def test_kitti_tracking_velocities(shared: Path, tmp_path: Path) -> None:
    sequence = open_reader("kitti-tracking", layouts.tracking(shared, tmp_path, 3)).open("0000")
    first, second = sequence[0], sequence[1]
    later = dict(zip(second.boxes.tracks, second.boxes.boxes, strict=True))  # type: ignore[union-attr]
    told = 0
    for box, track, velocity in zip(first.boxes.boxes, first.boxes.tracks, first.boxes.velocities, strict=True):  # type: ignore[union-attr]
        if track in later:
            step = second.pose @ [*later[track][:3], 1] - first.pose @ [*box[:3], 1]  # 0.1 s
            np.testing.assert_allclose(velocity, 10 * (first.pose[:3, :3].T @ step[:3])[:2], atol=1e-6)  # type: ignore[index]
            told += 1
    assert told >= 3
    (tmp_path / "training" / "oxts" / "0000.txt").unlink()
    blind = open_reader("kitti-tracking", tmp_path).open("0000")[0]
    assert blind.boxes is not None and blind.boxes.velocities is None


def test_simulated_velocities_are_those_of_the_tracks() -> None:
    drive = SimulatedDrive(3, 1, DriveOptions(beams=8, columns=60, max_range=60.0))
    sweeps = {frame: drive.sweep(frame) for frame in (29, 30, 31)}
    boxes = {drive.timestamp(frame): sweep.boxes for frame, sweep in sweeps.items()}
    poses = {drive.timestamp(frame): sweep.pose for frame, sweep in sweeps.items()}
    expected = with_velocities(boxes, poses)[drive.timestamp(30)].velocities  # type: ignore[arg-type]
    found = sweeps[30].boxes.velocities  # type: ignore[union-attr]
    seen = np.isfinite(expected).all(axis=1)
    inside = np.array(
        [track in sweeps[29].boxes.tracks and track in sweeps[31].boxes.tracks for track in sweeps[30].boxes.tracks]
    )  # type: ignore[union-attr]
    np.testing.assert_allclose(found[seen & inside], expected[seen & inside], atol=0.01)  # they speed up gently
    speeds = np.linalg.norm(found, axis=1)
    assert np.isfinite(found).all() and (speeds == 0).any() and (speeds > 1).sum() > 3


def test_nuscenes_ranges_start_at_the_ego_pose(shared: Path, tmp_path: Path) -> None:
    """As in the devkit: the horizontal distance of the global box from the global ego pose."""
    key = open_reader("nuscenes", layouts.nuscenes(shared, tmp_path)).open("scene-0061")[0]
    tables = tmp_path / "v1.0-mini"
    ego = np.array(json.loads((tables / "ego_pose.json").read_text())[0]["translation"])
    placed = np.array([row["translation"] for row in json.loads((tables / "sample_annotation.json").read_text())])
    expected = np.linalg.norm((placed - ego)[:, :2], axis=1)
    level = level_vehicle(key.pose, key.vehicle_lidar)  # type: ignore[arg-type]
    centres = move(level, key.boxes.boxes[:, :3])  # type: ignore[union-attr]
    np.testing.assert_allclose(np.linalg.norm(centres[:, :2], axis=1), expected, atol=1e-6)
    assert level[0, 3] == pytest.approx(0.94, abs=0.06)  # the sensor is ahead of the rear axle
    yaw = np.arctan2(level[1, 0], level[0, 0])
    assert abs(yaw) < 1e-9 and np.allclose(level[:3, :3] @ level[:3, :3].T, np.eye(3))
    from_sensor = np.linalg.norm(key.boxes.boxes[:, :2], axis=1)  # type: ignore[union-attr]
    assert np.abs(from_sensor - expected).max() > 0.8
