"""KITTI's label and result files, and where a box is in the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.kitti.labels import KittiCamera, read_kitti_labels, write_kitti_results

FRAMES = ("000000", "000001", "000002")
# a camera of focal length 100 in the LiDAR's place: x right, y down, z ahead
CALIBRATION = """P2: 100 0 50 0 0 100 40 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "calib.txt"
    path.write_text(CALIBRATION)
    return path


def files(shared: Path, frame: str) -> tuple[Path, Path]:
    folder = shared / "data" / "kitti_object_3frames" / "training"
    return folder / "label_2" / f"{frame}.txt", folder / "calib" / f"{frame}.txt"


@pytest.mark.parametrize("frame", FRAMES)
def test_labels_come_back_from_results(shared: Path, tmp_path: Path, frame: str) -> None:
    path, calib = files(shared, frame)
    labels = read_kitti_labels(path, calib)
    scores = np.linspace(0.12345678, 0.9, len(labels))
    out = tmp_path / "results" / f"{frame}.txt"
    assert write_kitti_results(out, labels.boxes, scores, labels.names, calib, (1242, 375)) == len(labels) > 0
    again = read_kitti_labels(out, calib)
    assert again.names == labels.names
    np.testing.assert_allclose(again.boxes, labels.boxes, atol=1e-4)
    assert again.scores is not None
    np.testing.assert_allclose(again.scores, scores, rtol=1e-8)
    # the same geometry as whoever drew the labels used
    np.testing.assert_allclose(again.alpha, labels.alpha, atol=0.02)
    assert (again.truncation == -1).all()
    stated = [line.split() for line in path.read_text().splitlines() if not line.startswith("DontCare")]
    written = [line.split() for line in out.read_text().splitlines()]
    for old, new in zip(stated, written, strict=True):
        np.testing.assert_allclose(np.array(new[8:15], float), np.array(old[8:15], float), atol=1e-4)


@pytest.mark.parametrize("frame", FRAMES)
def test_boxes_are_where_they_were_drawn_in_the_picture(shared: Path, frame: str) -> None:
    path, calib = files(shared, frame)
    labels = read_kitti_labels(path, calib)
    seen, drawn = KittiCamera.read(calib).image_boxes(labels.boxes), labels.image_boxes
    low, high = np.maximum(seen[:, :2], drawn[:, :2]), np.minimum(seen[:, 2:], drawn[:, 2:])
    common, areas = np.prod(high - low, axis=1), [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (seen, drawn)]
    assert (common / (areas[0] + areas[1] - common) > 0.85).all()
    np.testing.assert_allclose(labels.height2d, drawn[:, 3] - drawn[:, 1])


def test_what_a_label_says(shared: Path) -> None:
    labels = read_kitti_labels(*files(shared, "000001"))
    assert labels.names == ("Truck", "Car", "Cyclist")  # without DontCare
    assert labels.occlusion.tolist() == [0, 0, 3]
    assert labels.truncation.tolist() == [0, 0, 0]
    assert labels.scores is None
    assert labels.boxes[1, 0] == pytest.approx(58.5, abs=0.5)  # 58 m ahead, 16 m to the left
    assert labels.boxes[1, 1] == pytest.approx(16.5, abs=0.5)


def test_rectified_boxes_are_the_stated_ones(shared: Path) -> None:
    """Upright in the camera's frame: bottom (x, y, z) becomes z ahead, -x left, and -y + h/2 up."""
    path, calib = files(shared, "000001")
    labels = read_kitti_labels(path, calib)
    boxes = KittiCamera.read(calib).rectified(labels.boxes)
    np.testing.assert_allclose(boxes[1, :6], [58.49, 16.53, -2.39 + 1.67 / 2, 3.69, 1.87, 1.67], atol=1e-9)
    assert boxes[1, 6] == pytest.approx(-1.57 - np.pi / 2)


def test_projection_of_a_simple_camera(calibration: Path) -> None:
    camera = KittiCamera.read(calibration, (100, 80))
    ahead = np.array([[11.0, 0.0, 0.0, 2.0, 4.0, 2.0, 0.0]])  # its near face is 10 m away
    np.testing.assert_allclose(camera.image_boxes(ahead), [[30, 30, 70, 50]])
    cases = np.array(
        [
            [-11.0, 0, 0, 2, 4, 2, 0],  # behind
            [11.0, 50, 0, 2, 4, 2, 0],  # far to the left
            [0.0, 0, 0, 2, 4, 2, 0],  # all around
            [11.0, 6, 0, 2, 4, 2, 0],  # partly out to the left
        ]
    )
    found = camera.image_boxes(cases)
    assert not found[:2].any()
    np.testing.assert_allclose(found[2], [0, 0, 99, 79])
    np.testing.assert_allclose(found[3], [0, 30, 50 - 100 * 4 / 12, 50])
    assert camera.image_boxes(np.zeros((0, 7))).shape == (0, 4)


def test_results_that_the_picture_does_not_show_are_left_out(calibration: Path, tmp_path: Path) -> None:
    boxes = np.array([[-11.0, 0, 0, 2, 4, 2, 0], [11.0, 0, 0, 2, 4, 2, 9 * np.pi + 0.1]])
    out = tmp_path / "000000.txt"
    assert write_kitti_results(out, boxes, np.array([0.9, 1e-7]), ["Car", "Van"], calibration, (100, 80)) == 1
    labels = read_kitti_labels(out, calibration)
    assert labels.names == ("Van",)
    assert labels.scores == pytest.approx(np.array([1e-7]))
    assert labels.boxes[0, 6] == pytest.approx(0.1 - np.pi, abs=1e-4)  # whole turns are gone
    assert write_kitti_results(out, boxes[:0], np.zeros(0), [], calibration) == 0
    assert len(read_kitti_labels(out, calibration)) == 0


def test_wrong_files_and_columns(calibration: Path, tmp_path: Path) -> None:
    path, line = tmp_path / "labels.txt", "Car 0 0 0 1 2 3 4 1.5 1.6 3.9 0 1 10 0"
    with pytest.raises(IngestError, match="expected labels at"):
        read_kitti_labels(path, calibration)
    path.write_text(f"{line}\nCar 0 0\n")
    with pytest.raises(IngestError, match="line 2: expected the 15 fields"):
        read_kitti_labels(path, calibration)
    path.write_text(f"{line}\n{line} 0.5\n")
    with pytest.raises(IngestError, match="found 1 of 2"):
        read_kitti_labels(path, calibration)
    with pytest.raises(IngestError, match="expected a calibration"):
        write_kitti_results(path, np.zeros((1, 7)), np.zeros(1), ["Car"], tmp_path / "none.txt")
    with pytest.raises(ValueError, match="expected boxes and scores of 2 labels"):
        write_kitti_results(path, np.zeros((1, 7)), np.zeros(1), ["Car", "Van"], calibration)
    with pytest.raises(ValueError, match="finite"):
        write_kitti_results(path, np.full((1, 7), np.nan), np.zeros(1), ["Car"], calibration)
