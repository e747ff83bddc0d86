"""Labelled frames: which, in which split, with which labels; bad labels; augmentation that repeats itself."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from equissl.datasets.drives.box_points import count_points_in_boxes
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep
from equissl.datasets.loader import ViewLoader
from equissl.datasets.sweeps.clean_boxes import LabelCounts, clean_boxes
from equissl.datasets.sweeps.ground_truth_sampling import ObjectBank
from equissl.datasets.sweeps.label_subset import choose_labelled, write_label_list
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweeps, LabelledSweepsError
from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.geometry.boxes import bev_iou

CLASSES = (ObjectClass("Car", paste=4, fewest_points=5), ObjectClass("Pedestrian"))
PASTED = [ObjectClass("Car", paste=1, fewest_points=1)]
RANGE = (-20.0, -20.0, -3.0, 20.0, 20.0, 1.0)


def sweep(number: int, drive: int = 0, labelled: bool = True) -> Sweep:
    """200 points anywhere, 30 in a car, 8 in a pedestrian."""
    rng = np.random.default_rng([drive, number])
    car = np.array([rng.uniform(-8, 8), rng.uniform(-8, 8), -1.0, 4.0, 2.0, 1.5, rng.uniform(-3, 3)])
    person = np.array([15.0, number % 7, -1.0, 0.8, 0.6, 1.7, 0.0])
    inside = [b[:3] + rng.uniform(-0.3, 0.3, (n, 3)) for b, n in ((car, 30), (person, 8))]
    points = np.concatenate([rng.uniform((-20, -20, 2), (20, 20, 3), (200, 3)), *inside]).astype(np.float32)
    boxes = Boxes(np.stack([car, person]), ("Car", "Pedestrian"), ("1", "2")) if labelled else None
    pose = np.eye(4)
    pose[0, 3] = number
    intensity = rng.random(len(points)).astype(np.float32)
    return Sweep(points, 1_000_000_000 + number * 100_000_000, pose, intensity, boxes=boxes, frame=f"{number:06d}")


def write(path: Path, drives: int = 5, sweeps: int = 8, unlabelled: int = 0, **attributes) -> Path:
    made = [
        Drive.of(f"d{d}", [sweep(k, d, k >= unlabelled) for k in range(sweeps)], 10.0, "test", **attributes)
        for d in range(drives)
    ]
    return write_drives(path, made)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("frames") / "frames.h5")


def frames(store: Path, split: str | None = "train", **options) -> LabelledSweeps:
    return LabelledSweeps(store, split, CLASSES, RANGE, **options)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for name in ("clouds", "boxes", "labels")
               for x, y in zip(getattr(a, name), getattr(b, name), strict=True))  # fmt: skip


def test_splits_are_whole_drives(store) -> None:
    train, val = frames(store), frames(store, "val")
    drives = [{name.partition("/")[0] for name in part.ids} for part in (train, val)]
    assert not drives[0] & drives[1] and len(train) == 32 and len(val) == 8
    assert len(frames(store, None)) == 40


def test_of_a_single_drive_the_end_is_held_out(tmp_path) -> None:
    path = write(tmp_path / "one.h5", drives=1, sweeps=20)
    assert frames(path).ids == [f"d0/{k:06d}" for k in range(15)]
    assert frames(path, "val").ids == [f"d0/{k:06d}" for k in range(16, 20)]


def test_published_lists_divide_a_store(tmp_path) -> None:
    lists = {"train": ["000000", "000002", "000009"], "val": ["000001"]}
    path = write(tmp_path / "lists.h5", drives=1, sweeps=4, splits=lists)
    assert frames(path).ids == ["d0/000000", "d0/000002"]  # 000009 is not in the store
    assert frames(path, "val").ids == ["d0/000001"]


def test_sweeps_without_labels_are_left_out_unless_asked_for(tmp_path) -> None:
    path = write(tmp_path / "part.h5", drives=1, sweeps=6, unlabelled=4)
    assert len(frames(path, None)) == 2
    assert len(frames(path, None, labelled=False)) == 6
    with pytest.raises(LabelledSweepsError, match=r"expected labelled sweeps .* got none: it has 3 sweeps"):
        frames(write(tmp_path / "none.h5", drives=1, sweeps=3, unlabelled=3), None)


# shares


def test_shares_are_nested_and_repeat_themselves() -> None:
    ids = [f"d/{k:06d}" for k in range(3712)]
    chosen = [choose_labelled(ids, share, seed=3) for share in (0.05, 0.2, 1.0)]
    assert [len(part) for part in chosen] == [186, 742, 3712]
    assert set(chosen[0]) < set(chosen[1]) < set(chosen[2])
    assert chosen[0] == choose_labelled(ids, 0.05, seed=3) == sorted(chosen[0])
    other = choose_labelled(ids, 0.05, seed=4)
    assert 0 < len(set(other) & set(chosen[0])) < 40  # expected 9
    # which frames they are is decided by their names alone
    assert {ids[::-1][i] for i in choose_labelled(ids[::-1], 0.05, seed=3)} == {ids[i] for i in chosen[0]}
    assert [ids[i] for i in choose_labelled(ids[:20], 0.1)] == ["d/000011", "d/000019"]  # sha256sum's order


def test_a_share_is_at_least_one_frame(store) -> None:
    assert len(choose_labelled(["a", "b"], 0.01)) == 1
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match=r"share of labels in \(0, 1\]"):
            frames(store, labels=wrong)


def test_lists_of_ids(store, tmp_path) -> None:
    data = frames(store, labels=0.2, label_seed=1)
    data.write_ids(tmp_path / "labels.txt")
    text = (tmp_path / "labels.txt").read_text()
    assert text.startswith(f"# {len(data.ids)} of the 32 labelled sweeps") and "share 0.2, label seed 1" in text
    assert frames(store, labels=str(tmp_path / "labels.txt")).ids == data.ids
    (tmp_path / "short.txt").write_text("# remark\n\n000003  # of which drive?\n")
    with pytest.raises(ValueError, match=r"1 of its 1 are not: 000003"):
        frames(store, labels=str(tmp_path / "short.txt"))
    with pytest.raises(ValueError, match="at least one sweep"):
        write_label_list(tmp_path / "empty.txt", [], "nothing")
        frames(store, labels=str(tmp_path / "empty.txt"))
    with pytest.raises(FileNotFoundError, match=r"0\.05, or a file of ids"):
        frames(store, labels="nowhere.txt")


def test_a_drive_may_be_left_out_of_ids(tmp_path) -> None:
    path = write(tmp_path / "one.h5", drives=1, sweeps=20)
    (tmp_path / "ids.txt").write_text("000003\nd0/000001\n")
    assert frames(path, labels=str(tmp_path / "ids.txt")).ids == ["d0/000001", "d0/000003"]


# items


def test_items_depend_on_their_address_alone(store) -> None:
    data = frames(store, seed=5, max_points=150)
    again = pickle.loads(pickle.dumps(frames(store, seed=5, max_points=150)))
    batch = data.__getitems__([(2, 3), (0, 1), (2, 4)])
    assert same(again[2, 3], data.__getitems__([(2, 3)]))
    assert torch.equal(batch.clouds[2], again[2, 4].clouds[0]) and torch.equal(batch.boxes[2], again[2, 4].boxes[0])
    assert not torch.equal(data[0, 3].clouds[0][:, :3], data[1, 3].clouds[0][:, :3])  # another epoch, other draws
    assert not torch.equal(frames(store, seed=6)[0, 3].boxes[0], data[0, 3].boxes[0])


def test_a_loader_continues_where_it_stopped_and_workers_change_nothing(store) -> None:
    whole = list(ViewLoader(frames(store), 4))
    loader = ViewLoader(frames(store), 4)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    rest = ViewLoader(frames(store), 4, workers=2)
    rest.load_state_dict(loader.state_dict())
    assert all(same(a, b) and a.ids == b.ids for a, b in zip(whole[3:], rest, strict=True))


def test_few_frames_make_an_epoch_of_a_batch(store) -> None:
    data = frames(store, labels=0.01, at_least=4, paste=False)
    assert len(data.entries) == 1 and len(data) == 4
    batch = data.__getitems__([(0, k) for k in range(4)])
    assert set(batch.ids) == {data.ids[0]}
    assert not torch.equal(batch.clouds[0], batch.clouds[1])  # each augmented anew


def test_points_and_boxes_move_together(store) -> None:
    """After mirror, turn and scale every object holds the very points that it held before."""
    data = frames(store, paste=False)
    for index in range(8):
        item = data[3, index]
        counts = count_points_in_boxes(item.clouds[0].double().numpy()[:, :3], item.boxes[0].double().numpy())
        assert counts.tolist() == [(30, 8)[label] for label in item.labels[0].tolist()]
    assert data[0, 0].boxes[0].dtype == torch.float32 and data[0, 0].labels[0].dtype == torch.int64


def test_without_augmentation_items_are_what_was_recorded(store) -> None:
    data = frames(store, augment=False)
    frame, item = data.read(2), data[7, 2]
    assert torch.equal(item.clouds[0], torch.from_numpy(frame.points))
    assert torch.equal(item.boxes[0], torch.from_numpy(frame.objects.boxes).float())


def test_objects_that_leave_the_range_are_no_targets(store) -> None:
    narrow = (-20.0, -20.0, -3.0, 14.0, 20.0, 1.0)  # pedestrians stand at x = 15
    data = LabelledSweeps(store, "train", CLASSES, narrow, rotation=(0.0, 0.0), scale=(1.0, 1.0), flip=0.0, paste=False)
    assert all(data[0, k].labels[0].tolist() == [0] for k in range(5))
    turned = LabelledSweeps(store, "train", CLASSES, narrow, rotation=(np.pi, np.pi), scale=(1.0, 1.0), paste=False)
    assert all(sorted(turned[0, k].labels[0].tolist()) == [0, 1] for k in range(5))


def test_earlier_sweeps_are_joined_by_their_poses(store) -> None:
    data = frames(store, None, sweeps=3, augment=False)
    first, third = data.read(0), data.read(2)
    assert first.points.shape == (238, 5) and third.points.shape == (3 * 238, 5)
    assert np.unique(third.points[:, 4]).tolist() == pytest.approx([0, 0.1, 0.2])
    # the car is 1 m further ahead each sweep: what was at x is at x - 2 after two of them
    oldest = third.points[third.points[:, 4] > 0.15]
    np.testing.assert_allclose(oldest[:, 0], first.points[:, 0] - 2, atol=1e-5)


def test_crop_keeps_what_is_ahead(store) -> None:
    points = frames(store, crop=90.0).read(0).points
    assert len(points) > 0 and (np.abs(np.arctan2(points[:, 1], points[:, 0])) <= np.pi / 4 + 1e-6).all()


@pytest.mark.parametrize("wrong", [{"sweeps": 0}, {"max_points": 0}, {"min_points": -1}, {"crop": 0.0}, {"seed": -1}])
def test_impossible_options_are_refused(store, wrong) -> None:
    with pytest.raises(ValueError, match="expected"):
        frames(store, **wrong)
    with pytest.raises(LabelledSweepsError, match="expected drives of"):
        frames(store, drives=["nowhere"])


# labels


def test_bad_labels_are_counted_and_stop_nothing() -> None:
    good = [1.0, 2.0, -1.0, 4.0, 2.0, 1.5, 0.3]
    values = np.array(
        [
            good,
            [*good[:3], 0.0, 2.0, 1.5, 0.3],  # no length
            [*good[:3], 4.0, -2.0, 1.5, 0.3],
            [np.nan, *good[1:]],
            good,  # a class that nobody asked for
            [900.0, *good[1:]],  # out of range
            [-6.0, *good[1:]],  # without points
            [*good[:6], 0.3 + 6 * np.pi],  # a heading three turns too far
        ]
    )
    names = ("Car", "Car", "Car", "Car", "Tram", "Car", "Car", "Car")
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3)) + good[:3]
    found = clean_boxes(Boxes(values, names, ("",) * 8), points, CLASSES, RANGE)
    assert found.counts == LabelCounts(broken=3, unknown=1, out_of_range=1, empty=1, kept=2)
    np.testing.assert_allclose(found.boxes, [good, good], atol=1e-12)
    assert found.labels.tolist() == [0, 0] and len(found.others) == 3
    assert len(clean_boxes(Boxes(values, names, ("",) * 8), points, CLASSES, RANGE, min_points=21).boxes) == 0
    nothing = LabelCounts()
    assert clean_boxes(None, points, CLASSES).counts == clean_boxes(Boxes.empty(), points, CLASSES).counts == nothing


@pytest.mark.parametrize("heading", [-np.pi, -1.0, 0.0, 3.0])
def test_headings_in_range_stay_bit_by_bit(heading) -> None:
    box = np.array([[0.0, 0, 0, 2, 2, 2, heading]])
    assert clean_boxes(Boxes(box, ("Car",), ("",)), np.zeros((1, 3)), CLASSES).boxes[0, 6] == heading


def test_frames_without_objects_are_learnt_from_too(tmp_path) -> None:
    empty = Sweep(np.zeros((5, 3), np.float32), 10**9, boxes=Boxes.empty(), frame="0")
    path = write_drives(tmp_path / "empty.h5", [Drive.of("d", [empty], None, "test")])
    item = frames(path, None)[0, 0]
    assert item.boxes[0].shape == (0, 7) and item.labels[0].shape == (0,)
    assert item.clouds[0].shape == (5, 4)  # intensity 0 where the data set has none


# ground-truth sampling


def test_the_bank_is_made_of_the_labelled_frames_alone(store) -> None:
    data = frames(store, labels=0.1, label_seed=2)
    own = {tuple(data.read(k).objects.boxes[0]) for k in range(len(data.entries))}
    assert {tuple(item.box) for item in data.bank.objects[0]} == own and len(own) == 3
    assert data.bank.objects[1] == []  # pedestrians are not pasted
    # and so no item of any epoch holds a car of another frame
    plain = LabelledSweeps(
        store, "train", CLASSES, RANGE, labels=0.1, label_seed=2, rotation=(0, 0), scale=(1, 1), flip=0.0
    )
    seen = {tuple(box) for epoch in range(4) for k in range(3) for box in plain[epoch, k].boxes[0].tolist()
            if box[3] > 2}  # fmt: skip
    assert seen <= {tuple(np.float32(box).tolist()) for box in own}
    assert len(seen) > 1


def test_pasted_objects_bring_their_points_and_touch_nothing(store) -> None:
    data = frames(store, rotation=(0, 0), scale=(1, 1), flip=0.0)
    pasted = 0
    for index in range(10):
        recorded, item = data.read(index), data[1, index]
        boxes = item.boxes[0].double()
        overlaps = bev_iou(boxes, boxes) - torch.eye(len(boxes))
        assert float(overlaps.abs().max()) < 1e-6
        assert (item.labels[0] == 0).sum() <= 4
        pasted += len(boxes) - len(recorded.objects.boxes)
        cars = boxes[item.labels[0] == 0].numpy()
        assert (count_points_in_boxes(item.clouds[0].double().numpy()[:, :3], cars) == 30).all()
    assert pasted > 5


def test_points_inside_a_pasted_object_go() -> None:
    box = np.array([5.0, 0, 0, 2, 2, 2, 0.0])
    own = np.array([[5.1, 0, 0, 0.5]], np.float32)
    car = Boxes(box[None], ("Car",), ("",), velocities=np.array([[3.0, -1.0]]))
    bank = ObjectBank(PASTED, [(own, clean_boxes(car, own, PASTED))])
    scene = np.array([[5.0, 0.5, 0.5, 0.1], [9.0, 0, 0, 0.2]], np.float32)
    points, objects = bank.paste(scene, clean_boxes(None, scene, PASTED), np.random.default_rng(0))
    assert points.tolist() == [scene[1].tolist(), own[0].tolist()] and objects.boxes.tolist() == [box.tolist()]
    assert objects.labels.tolist() == [0] and objects.velocities.tolist() == [[3.0, -1.0]]
    # boxes that are no objects stand in the way as well
    tree = clean_boxes(Boxes(box[None] + [1.5, 0, 0, 0, 0, 0, 0], ("tree",), ("",)), scene, PASTED)
    blocked, objects = bank.paste(scene, tree, np.random.default_rng(0))
    assert blocked.tolist() == scene.tolist() and len(objects.boxes) == 0


def test_pasted_objects_are_put_down_on_the_road() -> None:
    """A road that falls 0.1 m a metre ahead: 1.7 m below the sensor, at x = 5 it is at -2.2; the box's half is 1 m."""
    own = np.array([[5.5, 0, 0.25, 0.5]], np.float32)
    car = Boxes(np.array([[5.0, 0, 0, 2, 2, 2, 0.0]]), ("Car",), ("",))
    bank = ObjectBank(PASTED, [(own, clean_boxes(car, own, PASTED))])
    road = np.array([0.1, 0.0, 1.0, 1.7]) / np.sqrt(1.01)
    hidden = np.array([[5.0, 0, -2.0, 0.1], [5.0, 0, 0.5, 0.2]], np.float32)  # inside the box where it is put; above it
    points, objects = bank.paste(hidden, clean_boxes(None, hidden, PASTED), np.random.default_rng(0), road)
    np.testing.assert_allclose(objects.boxes, [[5.0, 0, -1.2, 2, 2, 2, 0]], atol=1e-12)
    np.testing.assert_allclose(points, [hidden[1], [5.5, 0, -0.95, 0.5]], atol=1e-6)
    assert bank.objects[0][0].box[2] == 0  # the bank keeps it as it was


# velocities


def test_velocities_move_with_their_boxes(tmp_path) -> None:
    """A car that drives along its heading still does so after mirror, turn and scale, at the scaled speed."""
    path = moving_frames(tmp_path / "moving.h5")
    options = {"flip_x": 0.5, "scale": (0.5, 2.0), "paste": False}
    data = LabelledSweeps(path, None, CLASSES, None, rotation=(-3.0, 3.0), **options)
    speeds = set()
    for epoch in range(6):
        batch = data[epoch, 0]
        box, velocity = batch.boxes[0][0], batch.velocities[0][0]
        ahead = torch.stack([box[6].cos(), box[6].sin()])
        assert torch.allclose(velocity, ahead * 5 * box[3] / 4, atol=1e-4)  # 4 m long and 5 m/s when recorded
        assert velocity.dtype == torch.float32 and bool(batch.velocities[0][1].isnan().all())
        speeds.add(round(float(velocity.norm()), 3))
    assert len(speeds) > 3
    plain = LabelledSweeps(path, None, CLASSES, RANGE, augment=False)
    np.testing.assert_allclose(plain[0, 0].velocities[0][0], [5 * np.cos(0.4), 5 * np.sin(0.4)], rtol=1e-6)
    assert plain[0, 0].to("cpu").velocities is not None


def test_pasted_objects_keep_their_velocities(tmp_path) -> None:
    data = LabelledSweeps(moving_frames(tmp_path / "m.h5"), None, CLASSES, RANGE, rotation=(0, 0), scale=(1, 1), flip=0)
    own = {tuple(item.box): item.velocity for item in data.bank.objects[0]}
    pasted = 0
    for index in range(4):
        batch = data[0, index]
        for box, label, velocity in zip(batch.boxes[0], batch.labels[0].tolist(), batch.velocities[0], strict=True):
            if label == 0:
                expected = next(v for b, v in own.items() if np.allclose(b, box, atol=1e-5))
                np.testing.assert_allclose(velocity, expected, rtol=1e-6)
        pasted += len(batch.boxes[0]) - 2
    assert pasted > 0


def test_velocities_can_be_required(store, tmp_path) -> None:
    LabelledSweeps(moving_frames(tmp_path / "m.h5"), None, CLASSES).require_velocities()
    with pytest.raises(LabelledSweepsError, match=r"expected labels with velocities in .*frames\.h5, got none"):
        frames(store).require_velocities()
    batch = frames(store, augment=False)[0, 0]  # and unknown ones do no harm
    assert all(bool(v.isnan().all()) and len(v) == len(b) for v, b in zip(batch.velocities, batch.boxes, strict=True))


def moving_frames(path: Path) -> Path:
    """Cars at 5 m/s along their headings, the first of which is 0.4; pedestrians whose velocity is unknown."""
    made = []
    for k in range(4):
        recorded = sweep(k, 7)
        boxes = recorded.boxes.boxes.copy()
        boxes[0, 6] = 0.4 + k
        speed = [[5 * np.cos(boxes[0, 6]), 5 * np.sin(boxes[0, 6])], [np.nan, np.nan]]
        labels = Boxes(boxes, recorded.boxes.names, recorded.boxes.tracks, velocities=np.array(speed))
        made.append(replace(recorded, boxes=labels))
    return write_drives(path, [Drive.of("m", made, 10.0, "test")])
