"""Road planes of KITTI object: from the camera's frame to the LiDAR's, through the store, under pasted objects."""

from __future__ import annotations

from pathlib import Path

import lidar_layouts as layouts
import numpy as np
import pytest

from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.ground import plane_height
from equissl.datasets.drives.ingest import ingest
from equissl.datasets.drives.kitti.files import camera_from_lidar, read_plane
from equissl.datasets.drives.readers import open_reader
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweeps
from equissl.datasets.sweeps.object_classes import ObjectClass

AXES = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # LiDAR -> camera: right, down, ahead


def write_plane(path: Path, numbers: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# Plane\nWidth 4\nHeight 1\n{numbers}\n")
    return path


@pytest.mark.parametrize("numbers", ["0 -1 0 1.65", "0 1 0 -1.65", "0 -2 0 3.3"])
def test_a_level_road_below_the_camera(tmp_path: Path, numbers: str) -> None:
    """Down is the camera's y: the road y = 1.65 is z = -1.65 of a LiDAR in the same place, however it is written."""
    np.testing.assert_allclose(read_plane(write_plane(tmp_path / "p.txt", numbers), AXES), [0, 0, 1, 1.65], atol=1e-12)


def test_a_camera_in_another_place_that_looks_up(tmp_path: Path) -> None:
    """0.27 m behind the LiDAR's origin, 0.08 m below, pitched by 0.1 rad: points of a sloped road lie on the plane."""
    cos, sin = np.cos(0.1), np.sin(0.1)
    pitch = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    camera_lidar = np.eye(4)
    camera_lidar[:3, :3] = pitch @ AXES[:3, :3]
    camera_lidar[:3, 3] = -camera_lidar[:3, :3] @ [-0.27, 0.0, -0.08]
    place = np.random.default_rng(0).uniform(-30, 30, (40, 2))
    road = np.column_stack([place, -1.7 + 0.03 * place[:, 0] - 0.02 * place[:, 1]])
    seen = road @ camera_lidar[:3, :3].T + camera_lidar[:3, 3]
    normal = np.linalg.svd(seen - seen.mean(axis=0))[2][2]
    numbers = " ".join(f"{value:.12e}" for value in (*normal, -normal @ seen.mean(axis=0)))
    plane = read_plane(write_plane(tmp_path / "p.txt", numbers), camera_lidar)
    np.testing.assert_allclose(plane_height(plane, road), road[:, 2], atol=1e-9)
    assert plane[2] > 0 and np.linalg.norm(plane[:3]) == pytest.approx(1)


def test_heights_are_those_of_the_benchmarks_camera(shared: Path, tmp_path: Path) -> None:
    """With a real calibration: by way of the camera, straight down its own y instead of the LiDAR's z."""
    camera_lidar = camera_from_lidar(shared / "data" / "kitti_object_3frames" / "training" / "calib" / "000001.txt")
    a, b, c, d = -0.007, -0.9996, -0.022, 1.68
    plane = read_plane(write_plane(tmp_path / "p.txt", f"{a} {b} {c} {d}"), camera_lidar)
    centres = np.array([[10.0, 2, -0.8], [25, -6, -0.3], [45, 9, 0.2]])
    seen = centres @ camera_lidar[:3, :3].T + camera_lidar[:3, 3]
    seen[:, 1] = (-d - a * seen[:, 0] - c * seen[:, 2]) / b
    expected = (seen - camera_lidar[:3, 3]) @ np.linalg.inv(camera_lidar[:3, :3]).T
    np.testing.assert_allclose(plane_height(plane, centres), expected[:, 2], atol=1e-3)
    assert np.ptp(expected[:, 2]) > 0.3  # the road rises or falls


def test_pasted_objects_stand_on_the_roads_of_a_store(shared: Path, tmp_path: Path) -> None:
    root = layouts.kitti_object(shared, tmp_path / "kitti")
    plain = ingest("kitti-object", root, tmp_path / "plain.h5", check=False, workers=0, progress=False).path
    # 3 m below the camera, where no road is: what is pasted is there, what was recorded is not
    write_plane(root / "training" / "planes" / "000000.txt", "0 -1 0 3")
    with_planes = ingest("kitti-object", root, tmp_path / "planes.h5", check=False, workers=0, progress=False).path
    classes = (ObjectClass("Car", paste=3),)
    still = {"rotation": (0, 0), "scale": (1, 1), "flip": 0.0}
    before, after = (LabelledSweeps(path, None, classes, **still)[0, 0] for path in (plain, with_planes))
    assert len(after.boxes[0]) == len(before.boxes[0]) > 0
    plane = open_reader("kitti-object", root).open("training")[0].ground_plane
    boxes, old = after.boxes[0].numpy(), before.boxes[0].numpy()
    bottoms = boxes[:, 2] - boxes[:, 5] / 2
    np.testing.assert_allclose(bottoms, plane_height(plane, boxes), atol=1e-5)  # type: ignore[arg-type]
    assert (bottoms < -2.4).all() and (old[:, 2] - old[:, 5] / 2 > -2.4).all()
    np.testing.assert_allclose(np.delete(boxes, 2, axis=1), np.delete(old, 2, axis=1))
    # frames without a plane are as before
    same = [LabelledSweeps(path, None, classes, **still)[0, 1].boxes[0].tolist() for path in (plain, with_planes)]
    assert same[0] == same[1]


DAMAGED = {
    "0 -1 0": "four numbers",
    "0 -1 x 2": "four numbers",
    "nan 1 0 2": "four numbers",
    "0 0 1 -5": "like a road's",
}


@pytest.mark.parametrize(("numbers", "why"), DAMAGED.items())
def test_damaged_planes_are_named(shared: Path, tmp_path: Path, numbers: str, why: str) -> None:
    with pytest.raises(IngestError, match=rf"expected .*{why}.* on the last line of .*p\.txt"):
        read_plane(write_plane(tmp_path / "p.txt", numbers), AXES)
    root = layouts.kitti_object(shared, tmp_path / "kitti")
    write_plane(root / "training" / "planes" / "000002.txt", numbers)
    sequence = open_reader("kitti-object", root).open("training")
    assert sequence[0].ground_plane is None
    with pytest.raises(SweepError, match=r"planes/000002\.txt: frame 000002"):
        sequence[2]


def test_a_plane_file_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("# Plane\nWidth 4\n")
    with pytest.raises(IngestError, match="expected the four numbers of a plane on the last line"):
        read_plane(tmp_path / "p.txt", AXES)
