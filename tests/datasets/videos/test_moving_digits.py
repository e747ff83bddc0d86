"""Flowing digits: real MNIST, velocities that mean what they say, and sequences that can be made again."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from equissl.datasets.images.idx import IdxError, read_idx, read_idx_folder
from equissl.datasets.videos.moving_digits import MovingDigits, MovingSpec, load_digits

SMALL = MovingSpec(frames=6, size=12, digit_size=8, digits=2)


def write_idx(path: Path, array: np.ndarray) -> Path:
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 pictures of 8 × 8 in one file: number k is k everywhere, on a dark border."""
    images = np.zeros((40, 8, 8), np.uint8)
    images[:, 1:-1, 1:-1] = np.arange(1, 41)[:, None, None]
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", (np.arange(40) % 10).astype(np.uint8))
    return tmp_path


def test_real_mnist(shared: Path) -> None:
    images, labels = read_idx_folder(shared / "data" / "mnist_t10k")["t10k"]
    assert images.shape == (10000, 28, 28)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    batch = MovingDigits(shared / "data" / "mnist_t10k", "val").__getitems__([(0, 3), (0, 5)])
    assert batch.frames.shape == (2, 20, 1, 28, 28)
    assert batch.frames.min() == 0
    assert 0.9 < batch.frames.max() <= 1
    assert 0.05 < batch.frames.mean() < 0.35, "two digits of MNIST cover about a fifth of the frame"


def test_training_and_validation_digits_are_disjoint(folder: Path) -> None:
    train, val = (load_digits(folder, split) for split in ("train", "val"))
    assert (len(train.labels), len(val.labels)) == (36, 4)
    assert sorted([*train.indices, *val.indices]) == list(range(40))
    addresses = [(0, i) for i in range(100)]
    seen = {}
    for split in ("train", "val"):
        batch = MovingDigits(folder, split, SMALL, 100, seed=3).__getitems__(addresses)
        seen[split] = set(batch.digits.flatten().tolist())
    assert seen["val"] == set(val.indices.tolist())
    assert not seen["train"] & seen["val"]


def test_train_and_test_files_keep_their_division(folder: Path) -> None:
    write_idx(folder / "train-images-idx3-ubyte", np.full((5, 8, 8), 200, np.uint8))
    write_idx(folder / "train-labels-idx1-ubyte", np.arange(5, dtype=np.uint8))
    assert (load_digits(folder, "train").images == 200).all()
    assert len(load_digits(folder, "val").labels) == 40


def test_a_sequence_is_the_same_in_any_batch_and_order(folder: Path) -> None:
    data = MovingDigits(folder, "train", SMALL, length=10, seed=7)
    batch = data.__getitems__([(2, 4), (0, 1), (2, 4)])
    alone = MovingDigits(folder, "train", SMALL, length=10, seed=7)[2, 4]
    for name in ("frames", "velocities", "labels", "digits"):
        values = getattr(batch, name)
        assert torch.equal(values[0], getattr(alone, name)[0])
        assert torch.equal(values[0], values[2])
    others = [data[0, 4], MovingDigits(folder, "train", SMALL, 10, seed=8)[2, 4]]
    assert all(not torch.equal(o.frames, alone.frames) for o in others)


def test_labelled_translation_is_the_motion(folder: Path) -> None:
    one = replace(SMALL, digits=1, radius=3)
    batch = MovingDigits(folder, "train", one, seed=1).__getitems__([(0, i) for i in range(20)])
    for frames, velocity in zip(batch.frames, batch.velocities[:, 0].long(), strict=True):
        right, down = velocity.tolist()
        for before, after in pairwise(frames):
            assert torch.equal(after, before.roll((down, right), (-2, -1)))
    assert {tuple(v) for v in batch.velocities[:, 0].tolist()} != {(0.0, 0.0)}
    assert batch.velocities.abs().max() <= 3


def test_all_velocities_and_places_come_up(folder: Path) -> None:
    batch = MovingDigits(folder, "train", replace(SMALL, frames=1), seed=1).__getitems__([(0, i) for i in range(800)])
    values, counts = batch.velocities.flatten(0, 1).unique(dim=0, return_counts=True)
    assert len(values) == 25
    assert counts.min() > 1600 / 25 / 2
    coverage = batch.frames.mean(dim=(0, 1, 2))
    assert coverage.std() / coverage.mean() < 0.1, "places are uniform on the torus"


def test_labelled_rotation_is_the_motion(folder: Path) -> None:
    spec = MovingSpec("rotation", radius=1, step=90, frames=5, size=12, digit_size=8, digits=1)
    batch = MovingDigits(folder, "train", spec, seed=1).__getitems__([(0, i) for i in range(12)])
    assert batch.velocities.shape == (12, 1, 1)
    for frames, degrees in zip(batch.frames, batch.velocities.flatten().tolist(), strict=True):
        for before, after in pairwise(frames):
            torch.testing.assert_close(after, before.rot90(int(degrees) // 90, (-2, -1)), atol=1e-5, rtol=0)


def test_half_turns_either_way_are_one_velocity() -> None:
    spec = MovingSpec("rotation", radius=2, step=90)
    assert spec.velocities == [(-90,), (0,), (90,), (180,)]
    assert replace(spec, step=10.0).velocities == [(-20,), (-10,), (0,), (10,), (20,)]


def test_overlapping_digits_add_up_to_at_most_one(tmp_path: Path) -> None:
    write_idx(tmp_path / "x-images-idx3-ubyte", np.full((10, 4, 4), 200, np.uint8))
    write_idx(tmp_path / "x-labels-idx1-ubyte", np.zeros(10, np.uint8))
    frames = MovingDigits(tmp_path, "train", MovingSpec(size=6, digits=3, frames=4)).__getitems__([(0, 0)]).frames
    found = set(frames.unique().tolist())
    assert found <= {0.0, float(np.float32(200) / np.float32(255)), 1.0}
    assert 1.0 in found


def test_held_out_velocities_are_never_drawn(folder: Path) -> None:
    spec = replace(SMALL, radius=1, held_out=[[1, 1], [0, 0]])
    drawn = MovingDigits(folder, "train", spec).__getitems__([(0, i) for i in range(200)]).velocities.flatten(0, 1)
    assert len(drawn.unique(dim=0)) == 7
    assert not ((drawn == 1).all(1) | (drawn == 0).all(1)).any()


def test_a_share_of_the_pixels_of_each_frame_is_shown(folder: Path) -> None:
    whole = MovingDigits(folder, "val", replace(SMALL, digits=1), 4)
    addresses = [(0, i) for i in range(4)]
    part, longer = (MovingDigits(folder, "val", replace(whole.spec, shown=0.25, frames=f), 4) for f in (6, 12))
    frames, all_frames = part.__getitems__(addresses).frames, whole.__getitems__(addresses).frames
    lit = all_frames > 0
    assert torch.equal(frames[frames > 0], all_frames[frames > 0])
    # 4 digits of 5 × 5 or so in 6 frames: a standard deviation of 0.02
    assert abs(float((frames[lit] > 0).float().mean()) - 0.25) < 0.08
    drawn = (frames > 0).flatten(0, 1)
    assert not any(torch.equal(a, b) for a, b in pairwise(drawn)), "drawn anew for each frame"
    assert torch.equal(longer.__getitems__(addresses).frames[:, :6], frames)


def test_given_velocities_change_nothing_else(folder: Path) -> None:
    plain = MovingDigits(folder, "val", SMALL, 4)
    fast = MovingDigits(folder, "val", SMALL, 4, velocities=[(5, 0)])
    addresses = [(0, i) for i in range(4)]
    a, b = plain.__getitems__(addresses), fast.__getitems__(addresses)
    assert torch.equal(a.frames[:, 0], b.frames[:, 0])
    assert torch.equal(a.digits, b.digits)
    assert (b.velocities == torch.tensor([5.0, 0.0])).all()


def test_batches_move_between_devices(folder: Path) -> None:
    batch = MovingDigits(folder, "val", SMALL, 4)[0, 0]
    assert len(batch.to("meta")) == 1
    assert batch.to("meta").frames.device.type == "meta"


def test_damaged_files_are_named(folder: Path) -> None:
    images = folder / "t10k-images-idx3-ubyte.gz"
    good = images.read_bytes()
    for damaged in (good[:-20], b"", b"\x00\x00\x0d\x01aaaa", gzip.compress(gzip.decompress(good)[:-1])):
        images.write_bytes(damaged)
        with pytest.raises(IdxError, match="t10k-images"):
            load_digits(folder, "train")
    images.write_bytes(good)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(39, np.uint8))
    with pytest.raises(IdxError, match=r"\(40, 8, 8\) and \(39,\)"):
        load_digits(folder, "train")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder of IDX files"):
        read_idx_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="images-idx3"):
        read_idx_folder(tmp_path)
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(FileNotFoundError, match="train-labels"):
        read_idx_folder(tmp_path)
    assert read_idx(tmp_path / "train-images-idx3-ubyte").shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion": "shear"}, "shear"),
        ({"digit_size": 40}, "digit_size"),
        ({"frames": 0}, "frames"),
        ({"radius": -1}, "radius"),
        ({"radius": 0, "held_out": [[0, 0]]}, "held out"),
        ({"shown": 0.0}, "shown"),
        ({"shown": 1.5}, "shown"),
    ],
)
def test_impossible_specs(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MovingSpec(**change)


def test_impossible_datasets(folder: Path) -> None:
    with pytest.raises(ValueError, match="2 parts"):
        MovingDigits(folder, "val", SMALL, velocities=[(10.0,)])
    with pytest.raises(ValueError, match="split"):
        MovingDigits(folder, "test", SMALL)
    with pytest.raises(ValueError, match="fit frames"):
        MovingDigits(folder, "val", MovingSpec(size=6))
