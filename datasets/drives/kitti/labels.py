"""Labels and results of the KITTI object benchmark: text lines in the camera's frame, and our boxes.

A line has the centre of the box's bottom in the rectified camera frame (x right, y down, z ahead), its height, width
and length, and the rotation about the camera's y axis: 0 points to the right, -π/2 ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.kitti.files import camera_from_lidar, matrix_from, parse_labels, read_calibration, to_boxes

NEAR = 0.1  # metres ahead of the camera from which on things have a place in the picture
# x, y, z of the corners in halves of (length, width, height), z up; and which corners an edge of the box joins
_CORNERS = np.array([(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)], dtype=np.float64)
_EDGES = np.array([(i, i | bit) for bit in (4, 2, 1) for i in range(8) if not i & bit])


@dataclass(frozen=True)
class KittiLabels:
    """M lines of a label or result file, without ``DontCare``.

    Attributes:
        boxes: (M, 7) float64 in the LiDAR frame: x, y, z of the centre, dx, dy, dz, heading in [-π, π).
        names: M classes.
        truncation: (M,) share outside of the picture; -1 where not stated.
        occlusion: (M,) 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 where not stated.
        alpha: (M,) heading as the camera sees it, radians.
        image_boxes: (M, 4) left, top, right, bottom in pixels.
        scores: (M,) of results, or None.
    """

    boxes: np.ndarray
    names: tuple[str, ...]
    truncation: np.ndarray
    occlusion: np.ndarray
    alpha: np.ndarray
    image_boxes: np.ndarray
    scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def height2d(self) -> np.ndarray:
        """(M,) pixels from top to bottom in the picture, by which KITTI tells easy from hard."""
        return self.image_boxes[:, 3] - self.image_boxes[:, 1]


@dataclass(frozen=True)
class KittiCamera:
    """Left colour camera of a sweep.

    Attributes:
        camera_lidar: (4, 4) LiDAR -> rectified camera.
        projection: (4, 4) with P2 in its first rows.
        image_size: width and height in pixels.
    """

    camera_lidar: np.ndarray
    projection: np.ndarray
    image_size: tuple[int, int] = (1242, 375)

    @classmethod
    def read(cls, calib: Path | str, image_size: tuple[int, int] = (1242, 375)) -> KittiCamera:
        """Read a calibration file of the object or tracking benchmark.

        Args:
            calib: the file.
            image_size: (width, height) in pixels.

        Raises:
            IngestError: for a file that is missing or lacks a matrix.
        """
        path = Path(calib)
        return cls(camera_from_lidar(path), matrix_from(read_calibration(path), path, 12, "P2"), image_size)

    def bottoms(self, boxes: np.ndarray) -> np.ndarray:
        """Compute (M, 3) centres of the bottoms of boxes (M, 7), in the rectified camera frame."""
        low = boxes[:, :3].astype(np.float64)
        low[:, 2] -= boxes[:, 5] / 2
        return low @ self.camera_lidar[:3, :3].T + self.camera_lidar[:3, 3]

    def rectified(self, boxes: np.ndarray) -> np.ndarray:
        """(M, 7) boxes as KITTI's evaluation has them: upright in the rectified camera frame, but x ahead and z up.

        The LiDAR is tilted against the camera by about a degree, so that overlaps differ a little between the two.
        """
        x, y, z = self.bottoms(boxes).T
        centres = np.stack([z, -x, -y + boxes[:, 5] / 2], axis=1)
        return np.concatenate([centres, boxes[:, 3:].astype(np.float64)], axis=1)

    def image_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(M, 4) left, top, right, bottom in pixels of the part of each box (M, 7) in the picture; zeros where none is.

        Parts nearer than 0.1 m and behind the camera are cut off before they are projected.
        """
        upright = self.rectified(boxes)
        cos, sin = np.cos(upright[:, 6:]), np.sin(upright[:, 6:])
        x, y, z = np.moveaxis(_CORNERS * upright[:, None, 3:6] / 2, -1, 0)
        ahead, left = cos * x - sin * y + upright[:, :1], sin * x + cos * y + upright[:, 1:2]
        ends = np.stack([-left, -(z + upright[:, 2:3]), ahead], axis=-1)[:, _EDGES]  # (M, 12, 2, 3)
        pixels, seen = self._project(_cut(ends).reshape(len(boxes), 24, 3))
        width, height = self.image_size
        low = np.where(seen[..., None], pixels, np.inf).min(axis=1, initial=np.inf).clip(0, (width - 1, height - 1))
        high = np.where(seen[..., None], pixels, -np.inf).max(axis=1, initial=-np.inf).clip(0, (width - 1, height - 1))
        found = np.concatenate([low, high], axis=1)
        return np.where(((high > low).all(axis=1))[:, None], found, 0.0)

    def _project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, K, 2) pixels of points in the rectified camera frame, and whether they are ahead of it."""
        ahead = points[..., 2] >= NEAR - 1e-9
        moved = points @ self.projection[:3, :3].T + self.projection[:3, 3]
        return moved[..., :2] / np.where(ahead, moved[..., 2], 1.0)[..., None], ahead


def read_kitti_labels(path: Path | str, calib: Path | str) -> KittiLabels:
    """Read ``label_2/000000.txt``, or results in the same format with a score.

    Args:
        path: path of the labels.
        calib: ``calib/000000.txt``.

    Raises:
        IngestError: for a missing file, lines that are no labels, or some lines with a score and some without.
    """
    path = Path(path)
    if not path.is_file():
        raise IngestError(f"expected labels at {path}, the file is missing")
    labels, problems = parse_labels(path, tracking=False)
    if problems:
        raise IngestError(f"{path}: {'; '.join(problems.values())}")
    scored = [label.score for label in labels if label.score is not None]
    if scored and len(scored) != len(labels):
        raise IngestError(f"expected a score on every line of {path} or on none, found {len(scored)} of {len(labels)}")
    boxes = to_boxes(labels, camera_from_lidar(Path(calib)))
    truncation, occlusion, alpha = np.array([(x.truncated, x.occluded, x.alpha) for x in labels]).reshape(-1, 3).T
    image_boxes = np.array([label.image_box for label in labels]).reshape(-1, 4)
    seen = (truncation, occlusion, alpha, image_boxes)
    return KittiLabels(boxes.boxes, boxes.names, *seen, np.array(scored) if scored else None)


def write_kitti_results(
    path: Path | str,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: Sequence[str],
    calib: Path | str,
    image_size: tuple[int, int] = (1242, 375),
) -> int:
    """Write predictions in the benchmark's format; those that the picture does not show are left out.

    Args:
        path: path of the file, whose folder is made.
        boxes: (N, 7) in the LiDAR frame.
        scores: (N,).
        labels: N class names.
        calib: ``calib/000000.txt``.
        image_size: width and height of the left colour picture.

    Returns:
        how many were written.

    Raises:
        IngestError: for a calibration that is missing or lacks a matrix.
        ValueError: for columns of unequal length, or numbers that are not finite.
    """
    boxes, scores = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if boxes.shape != (len(labels), 7) or scores.shape != (len(labels),):
        raise ValueError(f"expected boxes and scores of {len(labels)} labels, got {boxes.shape} and {scores.shape}")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("expected finite boxes and scores, got some that are not")
    camera = KittiCamera.read(calib, image_size)
    image_boxes, bottoms = camera.image_boxes(boxes), camera.bottoms(boxes)
    rotation = _limit(-boxes[:, 6] - np.pi / 2)
    alpha = _limit(rotation - np.arctan2(bottoms[:, 0], bottoms[:, 2]))
    rows = np.concatenate([alpha[:, None], image_boxes, boxes[:, [5, 4, 3]], bottoms, rotation[:, None]], axis=1)
    shown = np.flatnonzero(image_boxes[:, 3] > 0).tolist()
    lines = [f"{labels[i]} -1 -1 {' '.join(f'{value:.4f}' for value in rows[i])} {scores[i]:.9g}\n" for i in shown]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(lines))
    return len(lines)


def _cut(ends: np.ndarray) -> np.ndarray:
    """Line segments (..., 2, 3) without what is nearer than NEAR; those that are nearer as a whole stay."""
    depth = ends[..., 2]
    share = (NEAR - depth) / np.where(depth[..., ::-1] == depth, 1.0, depth[..., ::-1] - depth)
    moved = ends + share[..., None] * (ends[..., ::-1, :] - ends)
    crossing = (depth < NEAR) & (depth[..., ::-1] > NEAR)
    return np.where(crossing[..., None], moved, ends)


def _limit(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi
