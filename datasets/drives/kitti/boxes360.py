"""Boxes of KITTI-360: cuboids in the world, in one XML file a drive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.sweep import Boxes, invert_pose

# the file's own class numbers ("kittiId" of the data set's label table)
CLASSES = {
    6: "gate", 11: "building", 12: "garage", 13: "car", 14: "truck", 15: "trailer", 16: "caravan", 17: "motorcycle",
    18: "bicycle", 19: "person", 20: "rider", 21: "pole", 22: "smallpole", 23: "traffic light", 24: "traffic sign",
    25: "lamp", 26: "trash bin", 27: "vending machine", 28: "box", 29: "stop", 33: "train", 34: "bus",
    35: "unknown construction", 36: "unknown vehicle", 37: "unknown object",
}  # fmt: skip
MOVABLE = {"car", "truck", "trailer", "caravan", "motorcycle", "bicycle", "person", "rider", "train", "bus"}
ANY_TIME = -1


@dataclass(frozen=True)
class WorldBox:
    """One annotated cuboid; ``timestamp`` is the sweep at which a moving object is there, -1 for one that stands."""

    name: str
    track: str
    start: int
    end: int
    timestamp: int
    centre: np.ndarray
    axes: np.ndarray  # (3, 3): columns are the directions of length, width and height
    size: np.ndarray

    def at(self, frame: int) -> bool:
        """Return True if the box can be seen in a sweep."""
        return self.start <= frame <= self.end and self.timestamp in (ANY_TIME, frame)


def read_world_boxes(path: Path) -> list[WorldBox]:
    """Read the cuboids of vehicles and persons.

    The heading of the file's boxes is known up to a half turn: dx is the longer horizontal side.

    Raises:
        IngestError: for a damaged file, naming the object.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise IngestError(f"expected an XML file of boxes at {path}: {error}") from error
    found = []
    for node in root:
        if node.find("transform") is None:
            continue
        try:
            name = CLASSES.get(_number(node, "semanticId"), "other")
            if name in MOVABLE:
                found.append(_cuboid(node, name))
        except (AttributeError, TypeError, ValueError) as error:
            raise IngestError(f"expected a cuboid in {path}, {node.tag} is none: {error}") from error
    return found


def _cuboid(node: ElementTree.Element, name: str) -> WorldBox:
    transform, vertices = _matrix(node, "transform"), _matrix(node, "vertices")
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    scale = np.linalg.norm(transform[:3, :3], axis=0)
    size, axes = scale * (high - low), transform[:3, :3] / scale
    up = int(np.argmax(np.abs(axes[2])))
    first, second = sorted({0, 1, 2} - {up}, key=lambda axis: -size[axis])
    order = [first, second, up]
    return WorldBox(
        name=name,
        track=f"{name}_{_number(node, 'instanceId')}",
        start=_number(node, "start_frame"),
        end=_number(node, "end_frame"),
        timestamp=_number(node, "timestamp"),
        centre=transform[:3, :3] @ ((low + high) / 2) + transform[:3, 3],
        axes=axes[:, order],
        size=size[order],
    )


def boxes_at(world_boxes: list[WorldBox], frame: int, pose: np.ndarray, farthest: float = 120.0) -> Boxes:
    """Select the boxes that a sweep can see, in its own reference frame, up to ``farthest`` metres.

    Args:
        world_boxes: boxes of the drive.
        frame: its number.
        pose: (4, 4) LiDAR -> world.
        farthest: reach of the sensor; the annotation windows are longer than that.
    """
    lidar_world = invert_pose(pose)
    rows, chosen = [], []
    for box in world_boxes:
        if not box.at(frame):
            continue
        centre = lidar_world[:3, :3] @ box.centre + lidar_world[:3, 3]
        if np.linalg.norm(centre) <= farthest:
            along = lidar_world[:3, :3] @ box.axes[:, 0]
            rows.append([*centre, *box.size, np.arctan2(along[1], along[0])])
            chosen.append(box)
    names, tracks = tuple(box.name for box in chosen), tuple(box.track for box in chosen)
    return Boxes(np.array(rows, dtype=np.float64).reshape(-1, 7), names, tracks)


def _number(node: ElementTree.Element, name: str) -> int:
    return int(node.find(name).text)  # type: ignore[union-attr, arg-type]


def _matrix(node: ElementTree.Element, name: str) -> np.ndarray:
    """A matrix as OpenCV writes it: rows, cols, data."""
    part = node.find(name)
    values = np.array(part.find("data").text.split(), dtype=np.float64)  # type: ignore[union-attr]
    return values.reshape(_number(part, "rows"), _number(part, "cols"))  # type: ignore[arg-type]
