"""Pairs of sweeps: which there are, what they hold, and that they never depend on who reads them when."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from drive_worlds import drive, write_worlds

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.datasets.drives.pairs.dataset import SweepPairs, SweepPairsError, make_pairs
from equissl.datasets.drives.pairs.split import split_pairs
from equissl.datasets.drives.store.store import DriveStore, DriveStoreError
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.loader import ViewLoader
from equissl.scene_flow import FlowError, add_flow, annotate, write_flow_store
from equissl.util.parts_folder import PartsError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_worlds(tmp_path_factory.mktemp("drives") / "drives.h5", 3)


def same(a: ScenePair, b: ScenePair) -> bool:
    clouds = ("previous", "current", "flow", "flow_valid", "ground")
    equal = [torch.equal(x, y) for n in clouds for x, y in zip(getattr(a, n), getattr(b, n), strict=True)]
    return all(equal) and torch.equal(a.seeds, b.seeds) and torch.equal(a.sweeps, b.sweeps)


def test_batch_holds_what_the_sweeps_hold(store: Path) -> None:
    dataset = SweepPairs(store, None)
    assert len(dataset) == 3 * 7
    batch = dataset.__getitems__([(0, 8), (0, 0)])
    assert batch.drives == ("drive1", "drive0") and batch.sweeps.tolist() == [[1, 2], [0, 1]]
    earlier, later = DriveStore(store).read("drive1", 1), DriveStore(store).read("drive1", 2)
    np.testing.assert_array_equal(batch.previous[0][:, :3], earlier.points)
    np.testing.assert_array_equal(batch.previous[0][:, 3], earlier.intensity)
    np.testing.assert_array_equal(batch.current[0][:, :3], later.points)
    np.testing.assert_array_equal(batch.flow[0], earlier.flow)
    np.testing.assert_array_equal(batch.flow_valid[0], earlier.flow_valid)
    np.testing.assert_array_equal(batch.ground[0], earlier.ground)
    np.testing.assert_array_equal(batch.boxes[0].boxes, later.boxes.boxes)
    np.testing.assert_array_equal(batch.previous_boxes[0].boxes, earlier.boxes.boxes)
    assert batch.flow_provider == "truth"
    # ego motion takes static points where their flow takes them
    homogeneous = torch.cat([batch.previous[0][:, :3], torch.ones(len(earlier), 1)], dim=1)
    moved = (homogeneous @ batch.motion[0].T)[:, :3]
    torch.testing.assert_close(moved, batch.previous[0][:, :3] + batch.flow[0], atol=1e-5, rtol=0)


def test_items_are_the_same_in_any_order_and_batch(store: Path) -> None:
    dataset = SweepPairs(store, None, max_points=30, seed=4)
    addresses = [(3, 5), (0, 5), (3, 0), (1, 20)]
    whole = dataset.__getitems__(addresses)
    assert [len(cloud) for cloud in (*whole.previous, *whole.current)] == [30] * 8
    again = SweepPairs(store, None, max_points=30, seed=4).__getitems__(addresses[::-1])
    for row, address in enumerate(addresses):
        alone = dataset[address]
        assert torch.equal(alone.previous[0], whole.previous[row]) and torch.equal(alone.flow[0], whole.flow[row])
        assert torch.equal(again.previous[3 - row], whole.previous[row])
        assert again.seeds[3 - row] == whole.seeds[row]
    assert len(set(whole.seeds.tolist())) == 4 and int(whole.seeds.min()) >= 0
    assert not torch.equal(whole.previous[0], whole.previous[1])  # other points of the same pair in another epoch
    other_seed = SweepPairs(store, None, max_points=30, seed=5)[(3, 5)]
    assert not torch.equal(other_seed.previous[0], whole.previous[0])


def test_chosen_points_keep_their_flow(store: Path) -> None:
    dataset = SweepPairs(store, None, max_points=20, crop=180.0)
    batch, full = dataset[(0, 3)], SweepPairs(store, None)[(0, 3)]
    assert float(batch.previous[0][:, 0].min()) >= 0 and len(batch.previous[0]) <= 20
    row_of = {tuple(point.tolist()): row for row, point in enumerate(full.previous[0])}
    rows = [row_of[tuple(point.tolist())] for point in batch.previous[0]]
    assert rows == sorted(rows)
    for name in ("flow", "flow_valid", "ground"):
        assert torch.equal(getattr(batch, name)[0], getattr(full, name)[0][rows])


def test_workers_give_what_this_process_gives(store: Path) -> None:
    dataset = SweepPairs(store, "train", max_points=30)
    here, there = (list(ViewLoader(dataset, 3, workers=workers)) for workers in (0, 2))
    assert len(here) == len(there) == 14 // 3
    assert all(same(a, b) for a, b in zip(here, there, strict=True))


def test_ranks_share_one_order(store: Path) -> None:
    dataset = SweepPairs(store, "train")
    joined = [batch.sweeps for batch in ViewLoader(dataset, 4)]
    parts = [[batch.sweeps for batch in ViewLoader(dataset, 2, rank=rank, world_size=2)] for rank in (0, 1)]
    assert all(torch.equal(whole, torch.cat(pair)) for whole, *pair in zip(joined, *parts, strict=True))


def test_loader_continues_at_the_next_batch(store: Path) -> None:
    dataset = SweepPairs(store, "train", max_points=30)
    loader = ViewLoader(dataset, 3)
    batches = iter(loader)
    next(batches), next(batches)
    continued = ViewLoader(dataset, 3)
    continued.load_state_dict(loader.state_dict())
    assert same(next(iter(continued)), next(batches))
    with pytest.raises(ValueError, match="expected at least batch_size · world_size = 99 pairs in split 'train'"):
        ViewLoader(dataset, 99)


def test_batch_survives_pickling_and_moves(store: Path) -> None:
    batch = SweepPairs(store, None).__getitems__([(0, 1), (0, 9)])
    copy = pickle.loads(pickle.dumps(batch))
    assert same(copy, batch) and copy.boxes[1].names == ("Car",) and copy.flow_provider == "truth"
    assert copy.previous[0].untyped_storage().data_ptr() == copy.previous[1].untyped_storage().data_ptr()
    moved = batch.to("meta")
    for name in ("previous", "current", "flow", "flow_valid", "ground"):
        assert all(cloud.device.type == "meta" for cloud in getattr(moved, name))
    assert moved.motion.device.type == moved.seeds.device.type == moved.sweeps.device.type == "meta"
    assert len(moved) == 2 and moved.boxes is batch.boxes


def test_wrong_shapes_are_named(store: Path) -> None:
    batch = SweepPairs(store, None)[(0, 0)]
    with pytest.raises(ValueError, match=r"expected flow of shapes \[\(40, 3\)\], got \[\(39, 3\)\]"):
        replace(batch, flow=(batch.flow[0][1:],))
    with pytest.raises(ValueError, match="expected flow and flow_valid together"):
        replace(batch, flow=None)
    with pytest.raises(ValueError, match="expected 1 current, as there are previous clouds, got 2"):
        replace(batch, current=batch.current * 2)
    with pytest.raises(ValueError, match=r"expected seeds of shape \(1,\), got \(2,\)"):
        replace(batch, seeds=torch.zeros(2))


def test_whole_drives_are_held_out(tmp_path: Path) -> None:
    path = write_worlds(tmp_path / "many.h5", 6, sweeps=3)
    train, val = (SweepPairs(path, split).pairs for split in ("train", "val"))
    drives = [{name for name, _, _ in pairs} for pairs in (train, val)]
    assert not drives[0] & drives[1] and len(drives[1]) == 1
    assert sorted(train + val) == sorted(SweepPairs(path, None).pairs)
    assert SweepPairs(path, "val", seed=7).pairs == val  # the run's seed changes nothing
    chosen = SweepPairs(path, "val", val_drives=["drive2", "drive5"])
    assert {name for name, _, _ in chosen.pairs} == {"drive2", "drive5"}
    some = SweepPairs(path, None, drives=["drive4"])
    assert {name for name, _, _ in some.pairs} == {"drive4"}


@pytest.mark.parametrize(("count", "gap"), [(3, 1), (5, 1), (12, 1), (12, 2), (154, 1), (154, 3)])
def test_a_single_drive_is_divided_in_time_without_sharing_sweeps(count: int, gap: int) -> None:
    pairs = [("0000", i, i + gap) for i in range(count - gap)]
    train, val = (split_pairs(pairs, split) for split in ("train", "val"))
    seen = [{position for pair in part for position in pair[1:]} for part in (train, val)]
    if seen[0] and seen[1]:
        assert max(seen[0]) + max(1, round(0.05 * count)) < min(seen[1])
    if count > 3:
        assert len(train) > len(val)
    if count == 154:
        assert len(val) == 31 - gap and len(train) == 154 - 31 - 8 - gap


def test_split_options_that_leave_nothing() -> None:
    pairs = [("a", 0, 1), ("b", 0, 1)]
    with pytest.raises(ValueError, match=r"among the drives with pairs \['a', 'b'\], got \['c'\]"):
        split_pairs(pairs, "val", val_drives=["c"])
    with pytest.raises(ValueError, match="leave a drive for training"):
        split_pairs(pairs, "train", val_drives=["a", "b"])
    with pytest.raises(ValueError, match="expected split to be train, val or None, got 'test'"):
        split_pairs(pairs, "test")
    with pytest.raises(ValueError, match="expected 0 < val_fraction < 1, got 1"):
        split_pairs(pairs, "val", val_fraction=1)


def test_no_pairs_says_why(tmp_path: Path) -> None:
    lonely = write_worlds(tmp_path / "lonely.h5", 2, sweeps=1)
    with pytest.raises(SweepPairsError, match=r"pairs of sweeps 1 turn of the sensor apart .*got none(.|\n)*1 sweeps"):
        SweepPairs(lonely)
    sequence = drive("gaps", sweeps=4)
    sparse = replace(sequence, timestamps=sequence.timestamps * 5, read=lambda i: replace(sequence[i], timestamp=0))
    path = write_drives(tmp_path / "gaps.h5", [replace(sparse, read=lambda i: _later(sequence[i]))])
    with pytest.raises(SweepPairsError, match=r"expected the next sweep after 0.100 s .* found it after 0.500 s"):
        SweepPairs(path)
    two = write_worlds(tmp_path / "two.h5", 1, sweeps=2)
    with pytest.raises(SweepPairsError, match=r"expected pairs in split 'train' .* none of its 1 pairs of 1 drive"):
        SweepPairs(two, "train")
    with pytest.raises(SweepPairsError, match=r"got \['nowhere'\]"):
        SweepPairs(two, None, drives=["nowhere"])


def _later(sweep):
    return replace(sweep, timestamp=sweep.timestamp * 5)


def test_missing_flow_names_the_command(tmp_path: Path) -> None:
    path = write_worlds(tmp_path / "bare.h5", 2, flow=False)
    command = rf"equissl flow {path} --provider icp_cluster --out {tmp_path / 'bare_flow.h5'}"
    with pytest.raises(SweepPairsError, match=rf"drive0, drive1 has none(.|\n)*{command}"):
        SweepPairs(path, None)
    without = SweepPairs(path, None, flow="none")[(0, 0)]
    assert without.flow is None and without.flow_valid is None and without.flow_provider is None
    computed = SweepPairs(path, None, flow="ego")[(0, 0)]
    expected = torch.tensor([-0.5, 0.0, 0.0]).expand_as(computed.flow[0])
    torch.testing.assert_close(computed.flow[0], expected, atol=1e-6, rtol=0)
    assert computed.flow_provider == "ego"
    # over two turns the flow is of two steps
    longer = SweepPairs(path, None, gap=2, flow="ego")[(0, 0)]
    torch.testing.assert_close(longer.flow[0], 2 * expected, atol=1e-6, rtol=0)
    assert longer.sweeps.tolist() == [[0, 2]]


def test_the_command_adds_what_was_missing(tmp_path: Path) -> None:
    path = write_worlds(tmp_path / "bare.h5", 2, flow=False)
    report = write_flow_store(path, tmp_path / "flow.h5", "ego")
    assert (report.pairs, report.failed) == (14, [])
    batch, direct = SweepPairs(report.path, None)[(0, 9)], SweepPairs(path, None, flow="ego")[(0, 9)]
    assert same(batch, direct) and batch.flow_provider == "ego"
    last = DriveStore(report.path).read("drive0", 7)
    assert last.flow is None and last.boxes is not None
    with pytest.raises(FlowError, match="expected another file than the store"):
        write_flow_store(path, path, "ego")
    with pytest.raises(FlowError, match="did you mean 'ego'"):
        write_flow_store(path, tmp_path / "other.h5", "eggo")


@pytest.mark.parametrize("stop", [0, 9, 20])
def test_flow_that_was_killed_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    path, out = write_worlds(tmp_path / "bare.h5", 3, flow=False), tmp_path / "flow.h5"
    whole = write_flow_store(path, tmp_path / "whole.h5", "ego", progress=False)
    calls: list[int] = []

    def add(*args: object) -> object:
        calls.append(1)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return add_flow(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(annotate, "SWEEPS", 4)
    monkeypatch.setattr(annotate, "add_flow", add)
    with pytest.raises(KeyboardInterrupt):
        write_flow_store(path, out, "ego", progress=False)
    assert not out.exists()
    with pytest.raises(PartsError, match="flow_provider: 'ego' there, 'icp_cluster' asked for"):
        write_flow_store(path, out, "icp_cluster", progress=False)
    monkeypatch.setattr(annotate, "add_flow", add_flow)
    report = write_flow_store(path, out, "ego", progress=False)
    assert report.pairs == whole.pairs and out.read_bytes() == whole.path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bare.h5", "flow.h5", "whole.h5"]


def test_processes_write_the_same_flow_and_tell_what_failed(tmp_path: Path) -> None:
    sequences = [drive("a", flow=False), drive("b", flow=False, poses=False)]
    path = write_drives(tmp_path / "bare.h5", sequences)
    reports = [write_flow_store(path, tmp_path / f"{n}.h5", "ego", workers=n, progress=False) for n in (0, 2)]
    assert reports[0].pairs == reports[1].pairs == 7 and reports[0].failed == reports[1].failed
    assert {sequence for sequence, _, _ in reports[0].failed} == {"b"}
    kept = [(problem.drive, problem.frame, problem.reason) for problem in DriveStore(reports[0].path).problems]
    assert kept == reports[0].failed  # a later reader of the store learns of them, too
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_a_provider_that_fails_everywhere_leaves_no_file(tmp_path: Path) -> None:
    path = write_worlds(tmp_path / "lost.h5", 1, flow=False, poses=False)
    with pytest.raises(FlowError, match=r"got it for none, the first because: .* expected a pose"):
        write_flow_store(path, tmp_path / "out.h5", "ego")
    assert [file.name for file in tmp_path.iterdir()] == ["lost.h5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": 0}, "expected gap >= 1"),
        ({"gap": 2}, "expected gap=1 with flow='stored', got gap=2"),
        ({"max_points": 0}, "expected max_points of at least 1"),
        ({"crop": 400}, r"angle in \(0, 360\] degrees"),
        ({"flow_options": {"speed": 3}}, "expected no flow_options with flow='stored'"),
        ({"flow": "eggo"}, "did you mean 'ego'"),
    ],
)
def test_impossible_options(store: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SweepPairs(store, None, **options)


def test_unknown_poses_give_no_motion(tmp_path: Path) -> None:
    path = write_worlds(tmp_path / "lost.h5", 2, poses=False)
    assert SweepPairs(path, None)[(0, 0)].motion is None
    sweeps = [(drive("a")[0], drive("a")[1]), (drive("b", poses=False)[0], drive("b")[1])]
    assert make_pairs(sweeps, torch.zeros(2), [("a", 0, 1), ("b", 0, 1)]).motion is None


def test_a_damaged_sweep_names_file_and_frame(store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.h5"
    broken.write_bytes(store.read_bytes())
    with h5py.File(broken, "r+") as file:
        del file["drive1"]["1200000000"]["lidar"]
    dataset = SweepPairs(broken, None)
    dataset[(0, 0)]
    with pytest.raises(DriveStoreError, match=r"expected lidar of shape .*broken.h5:/drive1/1200000000"):
        dataset[(0, 8)]
    broken.write_bytes(store.read_bytes()[:3000])
    with pytest.raises(DriveStoreError, match=r"expected a whole .*drive store at .*damaged"):
        SweepPairs(broken, None)
