"""One LiDAR sweep, whatever recorded it, and the one convention for scene flow.

**Frames.** Points and boxes are in the frame of their own sweep: x forward, y left, z up, metres. ``pose`` takes that
frame to a world fixed over the drive (column vectors).

**Flow.** ``flow[i]`` is where point i of this sweep will be at the time of the *next* sweep, **expressed in the next
sweep's frame**, minus where it is now in this sweep's frame. So ``points + flow`` lies on the next cloud as it is
stored, and flow contains the apparent motion by ego motion: with the ego 1 m further ahead every static point has flow
(-1, 0, 0). This is the definition of the Argoverse 2 labels and of OpenSceneFlow
files. The functions below separate the two parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "Boxes",
    "Drive",
    "Sweep",
    "ego_motion",
    "flow_from_own_motion",
    "invert_pose",
    "level_vehicle",
    "move",
    "own_motion",
    "rigid_flow",
    "stack_poses",
]


@dataclass(frozen=True)
class Boxes:
    """M upright boxes of one sweep.

    Attributes:
        boxes: (M, 7) float64: x, y, z of the centre, dx (length, along the heading), dy, dz, heading in radians about
            +z from +x.
        names: M class names, as the data set spells them.
        tracks: M identities that hold over the drive; empty strings where the data set has none.
        num_points: (M,) points inside as the data set states them, or None.
        velocities: (M, 2) float64 metres a second over ground, along x and y of the boxes' frame; NaN where unknown.
            None where the data set tells of none.
    """

    boxes: np.ndarray
    names: tuple[str, ...]
    tracks: tuple[str, ...]
    num_points: np.ndarray | None = None
    velocities: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.boxes.shape != (count, 7):
            raise ValueError(f"expected boxes of shape ({count}, 7) for {count} names, got {self.boxes.shape}")
        if len(self.tracks) != count or (self.num_points is not None and self.num_points.shape != (count,)):
            raise ValueError(f"expected {count} tracks and point counts, as there are names, got {len(self.tracks)}")
        if self.velocities is not None and self.velocities.shape != (count, 2):
            raise ValueError(f"expected velocities of shape ({count}, 2), got {self.velocities.shape}")

    def __len__(self) -> int:
        return len(self.names)

    def select(self, chosen: np.ndarray) -> Boxes:
        """Select boxes by index or mask."""
        where = np.arange(len(self))[chosen]
        arrays = (None if array is None else array[where] for array in (self.num_points, self.velocities))
        names, tracks = (tuple(column[i] for i in where) for column in (self.names, self.tracks))
        return Boxes(self.boxes[where], names, tracks, *arrays)

    @classmethod
    def empty(cls) -> Boxes:
        return cls(np.zeros((0, 7)), (), ())


@dataclass
class Sweep:
    """One turn of the sensor.

    Attributes:
        points: (N, 3) float32, metres, x forward, y left, z up.
        timestamp: integer nanoseconds; only differences have a meaning over data sets.
        pose: (4, 4) float64, this sweep's frame -> world; None where unknown.
        intensity: (N,) float32 in [0, 1], or None.
        times: (N,) float32 seconds from ``timestamp``, or None.
        boxes: labels, or None where the sweep is not labelled (an empty ``Boxes`` means: labelled, nothing there).
        ground: (N,) bool, or None.
        flow: (N, 3) float32 to the next sweep, in the convention of this module, or None.
        flow_valid: (N,) bool: where ``flow`` may be used; None with ``flow`` given means everywhere.
        flow_provider: who made ``flow``.
        flow_classes: (N,) uint8 category indices of the flow labels, or None.
        semantic: (N,) int32 class ids of the data set, or None.
        frame: name of the frame in its data set, for messages.
        vehicle_lidar: (4, 4) float64, this sweep's frame -> the frame that the data set gives the vehicle (of nuScenes
            above the rear axle); None where unknown.
        ground_plane: (4,) float64 a, b, c, d of the road a x + b y + c z + d = 0, (a, b, c) of length 1 and pointing
            up; None where the data set has none.
        no_returns: points of the file without coordinates, which were left out.
    """

    points: np.ndarray
    timestamp: int
    pose: np.ndarray | None = None
    intensity: np.ndarray | None = None
    times: np.ndarray | None = None
    boxes: Boxes | None = None
    ground: np.ndarray | None = None
    flow: np.ndarray | None = None
    flow_valid: np.ndarray | None = None
    flow_provider: str | None = None
    flow_classes: np.ndarray | None = None
    semantic: np.ndarray | None = None
    frame: str = ""
    vehicle_lidar: np.ndarray | None = None
    ground_plane: np.ndarray | None = None
    no_returns: int = 0

    PER_POINT = ("intensity", "times", "ground", "flow", "flow_valid", "flow_classes", "semantic")

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise ValueError(f"expected points of shape (N, 3), got {self.points.shape}")
        for name in self.PER_POINT:
            value = getattr(self, name)
            expected = self.points.shape if name == "flow" else (len(self.points),)
            if value is not None and value.shape != expected:
                raise ValueError(f"expected {name} of shape {expected}, got {value.shape}")
        for name, shape in (("pose", (4, 4)), ("vehicle_lidar", (4, 4)), ("ground_plane", (4,))):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"expected {name} of shape {shape}, got {value.shape}")

    def __len__(self) -> int:
        return len(self.points)

    def select(self, chosen: np.ndarray) -> Sweep:
        """Select points, by index or mask."""
        cut = {name: value[chosen] for name in self.PER_POINT if (value := getattr(self, name)) is not None}
        return Sweep(**{**vars(self), "points": self.points[chosen], **cut})


@dataclass(frozen=True)
class Drive:
    """Sweeps of one drive in the order of time, read when asked for.

    Attributes:
        name: name of the drive; unique in its data set, without slashes.
        timestamps: (T,) int64 nanoseconds, increasing.
        read: sweep number -> Sweep. Readers raise ``SweepError`` for a damaged one.
        rate: sweeps a second by the sensor's setting; None where unknown.
        dataset: for example ``kitti-tracking``.
        attributes: anything else worth keeping: plain JSON values.
        poses: (T, 4, 4) float64, NaN where unknown, as the sweeps have them; None where no sweep has one.
    """

    name: str
    timestamps: np.ndarray
    read: Callable[[int], Sweep] = field(repr=False)
    rate: float | None = None
    dataset: str = ""
    attributes: dict = field(default_factory=dict)
    poses: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, name: str, sweeps: list[Sweep], rate: float | None = None, dataset: str = "", **attributes) -> Drive:
        """Create a drive in memory.

        Args:
            name: name of the drive.
            sweeps: in order of time.
            rate: sweeps a second, or None.
            dataset: it comes from.
            **attributes: anything else worth keeping.
        """
        timestamps = np.array([sweep.timestamp for sweep in sweeps], dtype=np.int64)
        poses = stack_poses([sweep.pose for sweep in sweeps])
        return cls(name, timestamps, sweeps.__getitem__, rate, dataset, attributes, poses)

    def __len__(self) -> int:
        return len(self.timestamps)

    def __getitem__(self, index: int) -> Sweep:
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected a sweep in 0..{len(self) - 1} of {self.name}, got {index}")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Sweep]:
        return (self.read(index) for index in range(len(self)))


def stack_poses(poses: list[np.ndarray | None]) -> np.ndarray | None:
    """Stack poses to (T, 4, 4), NaN for unknown ones; None where all are."""
    if all(pose is None for pose in poses):
        return None
    return np.stack([np.full((4, 4), np.nan) if pose is None else pose for pose in poses])


def invert_pose(pose: np.ndarray) -> np.ndarray:
    """Compute the inverse of rigid transforms (..., 4, 4)."""
    inverse = np.zeros_like(pose)
    inverse[..., :3, :3] = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", inverse[..., :3, :3], pose[..., :3, 3])
    inverse[..., 3, 3] = 1
    return inverse


def move(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move points by ``R p + t``, computed in float64; returns the type of ``points``.

    Args:
        transform: (4, 4).
        points: (N, 3).
    """
    return (points.astype(np.float64) @ transform[:3, :3].T + transform[:3, 3]).astype(points.dtype)


def ego_motion(pose: np.ndarray, next_pose: np.ndarray) -> np.ndarray:
    """Compute the motion (4, 4) from this sweep's reference frame to the next one's: ``next_pose⁻¹ pose``.

    The translations are subtracted first, which keeps the digits of a small motion far from the world's origin.

    Args:
        pose: (4, 4) of this sweep.
        next_pose: (4, 4) of the next sweep.
    """
    motion = np.eye(4)
    to_next = next_pose[:3, :3].T
    motion[:3, :3] = to_next @ pose[:3, :3]
    motion[:3, 3] = to_next @ (pose[:3, 3] - next_pose[:3, 3])
    return motion


def level_vehicle(pose: np.ndarray, vehicle_lidar: np.ndarray) -> np.ndarray:
    """(4, 4) from this sweep's frame to one where the vehicle's own frame begins, level with the world, x ahead.

    Horizontal distances from its origin are those in the world between a place and the vehicle, however the sensor is
    tilted; headings stay.

    Args:
        pose: (4, 4) of the sweep.
        vehicle_lidar: (4, 4), see ``Sweep``.
    """
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    level = np.eye(4)
    level[:2, :2] = [[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]]
    level[:3, :3] = level[:3, :3] @ pose[:3, :3]
    level[:3, 3] = -level[:3, :3] @ invert_pose(vehicle_lidar)[:3, 3]
    return level


def rigid_flow(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Compute the scene flow (N, 3) float32 of a static world.

    Args:
        points: (N, 3).
        motion: (4, 4), as ``ego_motion`` gives it.
    """
    wide = points.astype(np.float64)
    return (move(motion, wide) - wide).astype(np.float32)


def own_motion(points: np.ndarray, flow: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Compute each point's own motion over ground, in the axes of *this* sweep: ``motion⁻¹(p + flow) - p``.

    Args:
        points: (N, 3).
        flow: (N, 3).
        motion: (4, 4), as ``ego_motion`` gives it.
    """
    wide = points.astype(np.float64)
    return (move(invert_pose(motion), wide + flow) - wide).astype(np.float32)


def flow_from_own_motion(points: np.ndarray, own: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Compute the scene flow of points that move over ground; inverse of ``own_motion``.

    Args:
        points: (N, 3).
        own: (N, 3) motion over ground, in the axes of this sweep.
        motion: (4, 4), as ``ego_motion`` gives it.
    """
    wide = points.astype(np.float64)
    return (move(motion, wide + own) - wide).astype(np.float32)
