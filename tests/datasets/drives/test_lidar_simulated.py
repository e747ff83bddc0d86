"""Simulated drives: geometry, flow, boxes, determinism and the sensor."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from equissl.datasets.drives.box_points import points_in_box
from equissl.datasets.drives.simulated import (
    CATEGORIES,
    DriveOptions,
    SimulatedDrive,
    SimulationError,
    simulated_drive,
)
from equissl.datasets.drives.simulated import store as simulated_store
from equissl.datasets.drives.simulated.bodies import make_body
from equissl.datasets.drives.simulated.options import CAR, CYCLIST, PEDESTRIAN, TRUCK
from equissl.datasets.drives.simulated.sensor import Raycaster, beam_elevations, measure, ray_directions
from equissl.datasets.drives.simulated.shapes import block, join
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Drive, Sweep, ego_motion, invert_pose, move, rigid_flow
from equissl.scene_flow import FileFlow
from equissl.util.parts_folder import PartsError

SMALL = DriveOptions(beams=40, columns=600, max_range=60.0)
MOVING = (CAR, TRUCK, CYCLIST, PEDESTRIAN)


@pytest.fixture(scope="module")
def drive() -> SimulatedDrive:
    return SimulatedDrive(seed=3, number=1, options=SMALL)


@pytest.fixture(scope="module")
def sweep(drive: SimulatedDrive) -> Sweep:
    return drive.sweep(30)


def own_speed(drive: SimulatedDrive, sweep: Sweep, frame: int) -> np.ndarray:
    motion = ego_motion(drive.pose(frame), drive.pose(frame + 1))
    return np.linalg.norm(sweep.flow - rigid_flow(sweep.points, motion), axis=1)


def same(one: Sweep, other: Sweep) -> bool:
    columns = [(getattr(one, name), getattr(other, name)) for name in ("points", "pose", *Sweep.PER_POINT)]
    boxes = np.array_equal(one.boxes.boxes, other.boxes.boxes) and one.boxes.tracks == other.boxes.tracks
    return boxes and all((a is None and b is None) or np.array_equal(a, b) for a, b in columns)


def box_matrix(box: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(box[6]), np.sin(box[6])
    return np.array([[cos, -sin, 0, box[0]], [sin, cos, 0, box[1]], [0, 0, 1, box[2]], [0, 0, 0, 1]])


@pytest.mark.parametrize("articulated", [False, True])
@pytest.mark.parametrize("frame", [0, 77])
def test_points_lie_on_the_surface_and_flow_moves_them_onto_the_next(articulated: bool, frame: int) -> None:
    drive = SimulatedDrive(0, 2, DriveOptions(beams=40, columns=600, max_range=60.0, articulated=articulated))
    sweep = drive.sweep(frame)
    moving = own_speed(drive, sweep, frame) > 0.05
    assert 50 < moving.sum() < 0.5 * len(sweep)
    before = drive.surface(frame).distance(sweep.points)
    after = drive.surface(frame + 1).distance(sweep.points + sweep.flow)
    for part in (moving, ~moving):
        assert np.median(after[part]) < 0.02
    # as far from its surface as before: flow adds nothing to the range noise (a foot may step beside a point or two)
    assert np.quantile(np.abs(after - before)[~moving], 0.999) < 1e-3
    # without flow they are not there
    assert np.median(drive.surface(frame + 1).distance(sweep.points[moving])) > 0.05


def test_flow_brings_the_sweep_onto_the_points_of_the_next() -> None:
    drive = SimulatedDrive(1, 0, DriveOptions(columns=1200))
    sweep, following = drive.sweep(5), drive.sweep(6)
    tree, near = cKDTree(following.points), np.linalg.norm(sweep.points, axis=1) < 25
    walls, cars = near & (sweep.semantic == CATEGORIES.index("building")), near & (own_speed(drive, sweep, 5) > 0.3)
    assert walls.sum() > 1000 and cars.sum() > 100
    moved, _ = tree.query(sweep.points + sweep.flow)
    assert np.median(moved[walls]) < 0.05
    # a wall slides along itself when it is not moved; a car does not
    stayed, _ = tree.query(sweep.points[cars])
    assert np.median(moved[cars]) < 0.08 and np.median(moved[cars]) < 0.6 * np.median(stayed)


def test_flow_of_rigid_road_users_is_the_motion_of_their_boxes(drive: SimulatedDrive, sweep: Sweep) -> None:
    following = drive.sweep(31)
    later = dict(zip(following.boxes.tracks, following.boxes.boxes, strict=True))
    checked = dict.fromkeys(MOVING, 0)
    for box, name, track in zip(sweep.boxes.boxes, sweep.boxes.names, sweep.boxes.tracks, strict=True):
        # the noise of the range puts some points just outside
        inside = points_in_box(sweep.points, box, (0.2, 0.2, 0.2))
        inside = inside[sweep.semantic[inside] == CATEGORIES.index(name)]
        if track in later and len(inside):
            motion = box_matrix(later[track]) @ np.linalg.inv(box_matrix(box))
            expected = move(motion, sweep.points[inside].astype(np.float64)) - sweep.points[inside]
            np.testing.assert_allclose(sweep.flow[inside], expected, atol=1e-5)
            checked[CATEGORIES.index(name)] += len(inside)
    assert all(checked[kind] > 0 for kind in (CAR, CYCLIST, PEDESTRIAN)), checked
    everyone = np.isin(sweep.semantic, MOVING)
    assert sum(checked.values()) > 0.98 * everyone.sum()


def test_static_points_have_exactly_the_flow_of_ego_motion(drive: SimulatedDrive, sweep: Sweep) -> None:
    still = ~np.isin(sweep.semantic, MOVING)
    motion = np.linalg.inv(drive.pose(31)) @ drive.pose(30)
    expected = move(motion, sweep.points.astype(np.float64)) - sweep.points
    np.testing.assert_allclose(sweep.flow[still], expected[still], atol=2e-6)
    assert sweep.flow_valid.all() and sweep.flow_provider == "simulated"


def test_everything_named_is_in_the_street() -> None:
    drive = SimulatedDrive(0, 0, SMALL)
    seen = np.zeros(len(CATEGORIES), int)
    for frame in range(0, 400, 25):
        seen += np.bincount(drive.sweep(frame).semantic, minlength=len(CATEGORIES))
    assert (seen > 0).all(), dict(zip(CATEGORIES, seen, strict=True))
    moving = {actor.body.category for actor in drive.traffic.near(0.0, 0.0, 2000.0)}
    assert moving == set(MOVING)


def test_any_frame_alone_is_the_same(drive: SimulatedDrive, sweep: Sweep) -> None:
    fresh = SimulatedDrive(3, 1, SMALL)
    fresh.sweep(2)
    assert same(fresh.sweep(30), sweep)
    assert same(pickle.loads(pickle.dumps(drive)).sweep(30), sweep)
    sequence = simulated_drive(3, 3, 1, SMALL, start=29)
    assert same(sequence[1], sweep)
    np.testing.assert_array_equal(sequence.poses[1], sweep.pose)
    assert np.diff(sequence.timestamps).tolist() == [100_000_000] * 2


@pytest.mark.parametrize(("seed", "sequence"), [(4, 1), (3, 2)])
def test_other_seeds_and_sequences_are_other_drives(seed: int, sequence: int, sweep: Sweep) -> None:
    other = SimulatedDrive(seed, sequence, SMALL).sweep(30)
    assert not np.allclose(other.pose, sweep.pose)
    assert len(other) != len(sweep)


def test_far_down_the_road_nothing_is_lost() -> None:
    """After 30 hours at 10 Hz float32 world coordinates would be wrong by centimetres."""
    drive, frame = SimulatedDrive(0, 0, SMALL), 1_000_000
    sweep = drive.sweep(frame)
    assert abs(sweep.pose[0, 3]) > 4e5
    after = drive.surface(frame + 1).distance(sweep.points + sweep.flow)
    assert np.median(after) < 0.02
    still = ~np.isin(sweep.semantic, MOVING)
    before = drive.surface(frame).distance(sweep.points)
    np.testing.assert_allclose(after[still], before[still], atol=1e-3)


def test_actors_of_a_lane_never_touch_and_none_touches_the_ego_car() -> None:
    drive = SimulatedDrive(0, 0)
    for time in np.arange(0, 120, 4.0):
        ego = drive.traffic.ego.along(time)
        lanes: dict[str, list[tuple[float, float]]] = {"ahead": [(ego, 4.5)]}
        for actor in drive.traffic.near(ego, time, 150.0):
            lane = lanes.setdefault(actor.track.split("/")[0], [])
            lane.append((actor.path.along(time), actor.body.size[0]))
        for lane in lanes.values():
            places = sorted(lane)
            for (x1, l1), (x2, l2) in pairwise(places):
                assert x2 - x1 > (l1 + l2) / 2


@pytest.mark.parametrize("category", MOVING)
def test_boxes_hold_the_body_at_every_phase(category: int) -> None:
    for seed in range(20):
        body = make_body(category, np.random.default_rng(seed))
        for phase in np.linspace(0, 2 * np.pi, 9):
            corners = np.concatenate([limb.solid.moved(limb.transform(phase)).vertices for limb in body.limbs])
            length, width, height = body.size
            assert (np.abs(corners[:, 0]) <= length / 2 + 1e-6).all()
            assert (np.abs(corners[:, 1]) <= width / 2 + 1e-6).all()
            assert corners[:, 2].min() > -0.02 and corners[:, 2].max() <= height + 1e-6
        limbs_move = any(not np.allclose(limb.transform(0.0), limb.transform(np.pi / 2)) for limb in body.limbs)
        assert limbs_move == (category in (CYCLIST, PEDESTRIAN))


def test_articulated_limbs_differ_from_the_box() -> None:
    drive = SimulatedDrive(0, 2, DriveOptions(beams=64, columns=1500, max_range=30.0, articulated=True))
    rigid = SimulatedDrive(0, 2, DriveOptions(beams=64, columns=1500, max_range=30.0))
    spread = []
    for one in (drive, rigid):
        sweep = one.sweep(10)
        speed, largest = own_speed(one, sweep, 10), 0.0
        for box, name in zip(sweep.boxes.boxes, sweep.boxes.names, strict=True):
            inside = points_in_box(sweep.points, box)
            inside = inside[sweep.semantic[inside] == PEDESTRIAN]
            if name == "pedestrian" and len(inside) > 20:
                largest = max(largest, float(np.ptp(speed[inside])))
        spread.append(largest)
    assert spread[0] > 0.1 and spread[1] < 0.03, spread  # turning alone makes a little


def test_boxes_count_their_points_and_stay_upright(sweep: Sweep) -> None:
    assert len(set(sweep.boxes.tracks)) == len(sweep.boxes) > 20
    expected = [len(points_in_box(sweep.points, box)) for box in sweep.boxes.boxes]
    np.testing.assert_array_equal(sweep.boxes.num_points, expected)
    assert np.hypot(*sweep.boxes.boxes[:, :2].T).max() <= SMALL.max_range
    # frames are upright, so that boxes with a heading alone are exact
    np.testing.assert_allclose(sweep.pose[2, :3], [0, 0, 1], atol=1e-12)


def test_beams_are_those_of_the_hdl64() -> None:
    degrees = np.rad2deg(beam_elevations(64))
    assert degrees[0] == pytest.approx(2.0) and degrees[31] == pytest.approx(-8.3333, abs=1e-3)
    assert degrees[32] == pytest.approx(-8.8333, abs=1e-3) and degrees[63] == pytest.approx(-24.3333, abs=1e-3)
    assert (np.diff(degrees) < 0).all()
    directions = ray_directions(DriveOptions(beams=3, columns=8))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert len(np.unique(directions.round(6), axis=0)) == 24


def test_rays_hit_a_wall_where_they_should() -> None:
    wall = Raycaster(join([block((1.0, 100.0, 100.0), (10.5, 0, 0), 0.5)]))
    directions = np.array([[1.0, 0, 0], [np.sqrt(0.5), np.sqrt(0.5), 0], [-1.0, 0, 0]])
    hits = wall.cast(np.zeros(3), directions)
    np.testing.assert_allclose(hits["range"], [10, 10 * np.sqrt(2), np.inf], rtol=1e-6)
    np.testing.assert_allclose(hits["cosine"][:2], [1, np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(hits["albedo"], [0.5, 0.5, 0])
    np.testing.assert_allclose(wall.distance(np.array([[8.0, 0, 0]])), [2.0], rtol=1e-6)
    assert not np.isfinite(Raycaster(join([])).cast(np.zeros(3), directions)["range"]).any()


def test_noise_and_dropout_are_as_asked() -> None:
    count, options = 200_000, DriveOptions(noise=0.05, dropout=0.1)
    distance, ones = np.full(count, 20.0), np.ones(count)
    index, measured, intensity = measure(distance, ones, 0.5 * ones, options, np.random.default_rng(0))
    assert len(index) / count == pytest.approx(0.9, abs=0.005)
    assert measured.std() == pytest.approx(0.05, rel=0.02) and measured.mean() == pytest.approx(20, abs=1e-3)
    np.testing.assert_allclose(intensity, np.sqrt(0.5), rtol=1e-6)
    # dark, slanted and far surfaces return less; nothing at all, nothing
    far, _, _ = measure(4.9 * distance, 0.1 * ones, 0.05 * ones, options, np.random.default_rng(0))
    none, _, _ = measure(np.inf * ones, ones, ones, options, np.random.default_rng(0))
    assert 0 < len(far) < 0.5 * len(index) and len(none) == 0


def test_clean_sensor_gives_every_ray_its_surface() -> None:
    drive = SimulatedDrive(0, 0, DriveOptions(beams=20, columns=200, noise=0.0, dropout=0.0, max_range=40.0))
    sweep = drive.sweep(7)
    assert drive.surface(7).distance(sweep.points).max() < 1e-3


def test_driver_moves_as_the_poses_say(drive: SimulatedDrive) -> None:
    poses = np.stack([drive.pose(k) for k in range(200)])
    steps = invert_pose(poses[:-1]) @ poses[1:]
    speed = steps[:, 0, 3] * SMALL.rate
    low, high = SMALL.ego_speed
    assert (speed > 0.3 * low).all() and (speed < 1.7 * high).all()
    assert np.abs(steps[:, 1, 3]).max() < 0.05, "a car does not slide sideways"
    standing = SimulatedDrive(0, 0, DriveOptions(ego_speed=(0.0, 0.0), beams=8, columns=90))
    np.testing.assert_allclose(standing.pose(0)[:2, 3], standing.pose(50)[:2, 3], atol=0.5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dropout": 1.5}, "dropout"),
        ({"noise": -1.0}, "noise"),
        ({"beams": 0}, "beams"),
        ({"rate": float("nan")}, "rate"),
        ({"min_range": 200.0}, "min_range"),
        ({"ego_speed": (5.0, 1.0)}, "ego_speed"),
    ],
)
def test_bad_settings_are_named(setting: dict, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        DriveOptions(**setting)


def test_bad_questions_are_refused(drive: SimulatedDrive) -> None:
    with pytest.raises(SimulationError, match="frame"):
        drive.sweep(-1)
    with pytest.raises(SimulationError, match="seed"):
        SimulatedDrive(-1)
    with pytest.raises(SimulationError, match="sweeps"):
        simulated_drive(0)


def test_traffic_can_be_left_out() -> None:
    drive = SimulatedDrive(0, 0, DriveOptions(beams=16, columns=200, traffic=0.0))
    assert own_speed(drive, drive.sweep(3), 3).max() < 1e-4


def test_drives_go_into_scene_stores(tmp_path: Path, sweep: Sweep) -> None:
    sequence = simulated_drive(2, 3, 1, SMALL, start=30)
    store = DriveStore(write_drives(tmp_path / "drives.h5", [sequence]))
    back = store.drive(sequence.name)[0]
    np.testing.assert_array_equal(back.points, sweep.points)
    np.testing.assert_array_equal(back.flow, sweep.flow)
    np.testing.assert_allclose(back.boxes.boxes, sweep.boxes.boxes)
    assert back.boxes.tracks == sweep.boxes.tracks and back.flow_provider == "simulated"
    found = FileFlow(tmp_path / "drives.h5", drive=sequence.name).estimate(back, back)
    np.testing.assert_array_equal(found.flow, sweep.flow)


def test_simulated_drives_as_a_store_by_the_command_line(tmp_path: Path) -> None:
    from equissl.cli import main

    words = ["--drives=2", "--sweeps=2", "--seed=3", "--options.beams=4", "--options.columns=60"]
    for name, workers in (("a.h5", 0), ("b.h5", 2)):
        assert main(["simulate", "--out", str(tmp_path / name), f"--workers={workers}", *words]) == 0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    store = DriveStore(tmp_path / "a.h5")
    options = DriveOptions(beams=4, columns=60)
    for number, name in enumerate(store.names):
        expected = SimulatedDrive(3, number, options).sweep(1)
        np.testing.assert_array_equal(store.drive(name)[1].points, expected.points)
        np.testing.assert_array_equal(store.drive(name)[1].flow, expected.flow)
    assert main(["simulate", "--out", str(tmp_path / "a.h5"), *words]) == 2
    with pytest.raises(SimulationError, match="at least 2 sweeps, got 1 and 1"):
        simulate_drives(tmp_path / "c.h5", 1, 1)


def test_a_simulation_that_was_killed_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, out = DriveOptions(beams=4, columns=60), tmp_path / "a.h5"
    whole = simulate_drives(tmp_path / "whole.h5", 3, 2, 3, options).read_bytes()
    made: list[int] = []

    def simulate(frames: int, seed: int, number: int, options: DriveOptions) -> Drive:
        made.append(number)
        if made == [0, 1]:
            raise KeyboardInterrupt
        return simulated_drive(frames, seed, number, options)

    monkeypatch.setattr(simulated_store, "simulated_drive", simulate)
    with pytest.raises(KeyboardInterrupt):
        simulate_drives(out, 3, 2, 3, options)
    with pytest.raises(PartsError, match="seed: 3 there, 4 asked for"):
        simulate_drives(out, 3, 2, 4, options)
    assert simulate_drives(out, 3, 2, 3, options).read_bytes() == whole and made == [0, 1, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "whole.h5"]
