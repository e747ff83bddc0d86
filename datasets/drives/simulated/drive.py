"""Sweeps of a simulated drive, any one alone, with pose, boxes and exact flow."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import asdict
from typing import Any

import numpy as np

from equissl.datasets.drives.box_points import count_points_in_boxes
from equissl.datasets.drives.box_velocities import in_axes
from equissl.datasets.drives.simulated.options import (
    CAR,
    CATEGORIES,
    CYCLIST,
    GROUND,
    PEDESTRIAN,
    TRUCK,
    DriveOptions,
    DriveSeed,
    SimulationError,
    Stream,
)
from equissl.datasets.drives.simulated.road import Road
from equissl.datasets.drives.simulated.sensor import Raycaster, measure, ray_directions
from equissl.datasets.drives.simulated.shapes import join
from equissl.datasets.drives.simulated.street import BLOCK, Block, block_origin, build_block
from equissl.datasets.drives.simulated.traffic import Actor, Traffic
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep, ego_motion, invert_pose, rigid_flow

# numbers of Argoverse 2 for the categories of labelled flow (0: background)
FLOW_CLASSES = {CAR: 19, TRUCK: 6, CYCLIST: 4, PEDESTRIAN: 17}
_VERSION = 1
_CACHED_BLOCKS = 64


class SimulatedDrive:
    """A drive along an endless street.

    The world of a drive follows from (seed, number), a sweep from (seed, number, frame) and the options: frames can
    be made in any order, on any worker, and a longer drive begins like a shorter one. A sweep is taken at one instant:
    nothing has moved between its first and its last ray.

    Args:
        seed: seed of the data set.
        number: number of the drive.
        options: what is simulated; the defaults when None.

    Raises:
        SimulationError: for a negative seed or number.
    """

    def __init__(self, seed: int = 0, number: int = 0, options: DriveOptions | None = None) -> None:
        if seed < 0 or number < 0:
            raise SimulationError(f"expected seed and number >= 0, got {seed} and {number}")
        self.seed, self.options = DriveSeed(int(seed), int(number)), options or DriveOptions()
        self.road = Road.draw(self.seed)
        self.traffic = Traffic(self.seed, self.options)
        self._directions = ray_directions(self.options)
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._window: tuple[int, Raycaster, np.ndarray] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Embree scenes cannot be pickled; a worker builds its own
        return type(self), (self.seed.seed, self.seed.number, self.options)

    def time(self, frame: int) -> float:
        """Compute the seconds since frame 0."""
        return frame / self.options.rate

    def timestamp(self, frame: int) -> int:
        """Return the nanoseconds since frame 0."""
        return round(frame * 1e9 / self.options.rate)

    def pose(self, frame: int) -> np.ndarray:
        """Compute (4, 4) float64 sensor -> world at a frame."""
        pose = self.traffic.ego.frame(self.road, self.time(frame))
        pose[2, 3] += self.options.sensor_height
        return pose

    def sweep(self, frame: int) -> Sweep:
        """Simulate the sweep of a frame, with intensity, boxes, ground, categories and the flow to frame + 1.

        Raises:
            SimulationError: for a negative frame.
        """
        if frame < 0:
            raise SimulationError(f"expected a frame >= 0, got {frame}")
        pose, actors = self.pose(frame), self._actors(frame)
        hits = self._cast(frame, pose, actors)
        rng = self.seed.generator(Stream.NOISE, frame)
        index, distance, intensity = measure(hits["range"], hits["cosine"], hits["albedo"], self.options, rng)
        points = (self._directions[index] * distance[:, None]).astype(np.float32)
        limb, category = hits["limb"][index], hits["category"][index]
        return Sweep(
            points=points,
            timestamp=self.timestamp(frame),
            pose=pose,
            intensity=intensity.astype(np.float32),
            boxes=self._boxes(frame, pose, actors, points),
            ground=category == GROUND,
            flow=self._flow(frame, points, limb, actors),
            flow_valid=np.ones(len(points), bool),
            flow_provider="simulated",
            flow_classes=_flow_class(category),
            semantic=category.astype(np.int32),
            frame=f"{frame:06d}",
            vehicle_lidar=_shift(np.array([0.0, 0.0, self.options.sensor_height])),
        )

    def surface(self, frame: int) -> Raycaster:
        """Return everything there is at a frame, in the sensor's frame of that moment: what its points lie on."""
        pose, actors = self.pose(frame), self._actors(frame)
        to_sensor = invert_pose(pose)
        still = [b.solid.moved(_shift(b.origin)).moved(to_sensor) for b in self._near_blocks(self._block_number(frame))]
        return Raycaster(join([*still, *(solid.moved(to_sensor) for solid, _ in self._limbs(frame, actors))]))

    def _actors(self, frame: int) -> list[Actor]:
        time = self.time(frame)
        return list(self.traffic.near(self.traffic.ego.along(time), time, self.options.max_range))

    def _limb_frames(self, frame: int, actors: list[Actor]) -> list[np.ndarray]:
        """Limb -> world of every limb of every actor, in order."""
        time, frames = self.time(frame), []
        for actor in actors:
            body, phase = actor.frame(self.road, time), actor.phase(time, self.options.articulated)
            frames += [body @ limb.transform(phase) for limb in actor.body.limbs]
        return frames

    def _limbs(self, frame: int, actors: list[Actor]) -> list[tuple[Any, int]]:
        """World-frame solid and category of every limb."""
        limbs = [(limb.solid, actor.body.category) for actor in actors for limb in actor.body.limbs]
        frames = self._limb_frames(frame, actors)
        return [(solid.moved(pose), category) for (solid, category), pose in zip(limbs, frames, strict=True)]

    def _cast(self, frame: int, pose: np.ndarray, actors: list[Actor]) -> dict[str, np.ndarray]:
        """First hits of all rays: of the cached street and of the frame's actors, whichever is nearer."""
        number = self._block_number(frame)
        origin = block_origin(self.road, number)
        street, categories = self._street(number)
        limbs = self._limbs(frame, actors)
        moving = Raycaster(join([solid.moved(_shift(-origin)) for solid, _ in limbs]))
        directions = self._directions @ pose[:3, :3].T
        start = pose[:3, 3] - origin
        still_hits, moving_hits = street.cast(start, directions), moving.cast(start, directions)
        nearer = moving_hits["range"] < still_hits["range"]
        hits = {k: np.where(nearer, moving_hits[k], still_hits[k]) for k in ("range", "cosine", "albedo")}
        sizes = [len(solid.faces) for solid, _ in limbs]
        # face -1 (no hit) reads the last entry, and is not used
        limb_of = np.append(np.repeat(np.arange(len(limbs)), sizes), -1)
        category_of = np.append(np.repeat([category for _, category in limbs], sizes), 0).astype(np.uint8)
        hits["limb"] = np.where(nearer, limb_of[moving_hits["face"]], -1)
        hits["category"] = np.where(nearer, category_of[moving_hits["face"]], categories[still_hits["face"]])
        return hits

    def _flow(self, frame: int, points: np.ndarray, limb: np.ndarray, actors: list[Actor]) -> np.ndarray:
        """Static points move with the world, the others with the limb they lie on."""
        pose, following = self.pose(frame), self.pose(frame + 1)
        flow = rigid_flow(points, ego_motion(pose, following))
        before, after = self._limb_frames(frame, actors), self._limb_frames(frame + 1, actors)
        moving = np.flatnonzero(limb >= 0)
        for number in np.unique(limb[moving]):
            on = moving[limb[moving] == number]
            # relative transforms first: they are small, however far the drive has come
            motion = ego_motion(after[number], following) @ ego_motion(pose, before[number])
            flow[on] = rigid_flow(points[on], motion)
        return flow

    def _boxes(self, frame: int, pose: np.ndarray, actors: list[Actor], points: np.ndarray) -> Boxes:
        time, number = self.time(frame), self._block_number(frame)
        road, parked = self.road, [user for block in self._near_blocks(number) for user in block.parked]
        users = [(a.track, a.body.category, a.body.size, a.frame(road, time), a.velocity(road, time)) for a in actors]
        users += [(user.track, user.category, user.size, user.pose, np.zeros(3)) for user in parked]
        rows = []
        for _, _, size, frame_of, _ in users:
            local = ego_motion(frame_of, pose)
            rows.append([*local[:3, 3] + [0, 0, size[2] / 2], *size, math.atan2(local[1, 0], local[0, 0])])
        boxes = np.array(rows, dtype=np.float64).reshape(-1, 7)
        near = np.linalg.norm(boxes[:, :2], axis=1) <= self.options.max_range
        counts = count_points_in_boxes(points, boxes)
        names, tracks = tuple(CATEGORIES[user[1]] for user in users), tuple(user[0] for user in users)
        velocities = np.array([user[4] for user in users]).reshape(-1, 3)
        return Boxes(boxes, names, tracks, counts, in_axes(velocities, pose)).select(near)

    def _block_number(self, frame: int) -> int:
        return math.floor(self.traffic.ego.along(self.time(frame)) / BLOCK)

    def _near_blocks(self, number: int) -> list[Block]:
        """Blocks that rays from block ``number`` can reach; one more to cover the road's bends."""
        reach = math.ceil(self.options.max_range / BLOCK) + 1
        return [self._block(k) for k in range(number - reach, number + reach + 1)]

    def _block(self, number: int) -> Block:
        if number not in self._blocks:
            self._blocks[number] = build_block(self.road, self.seed, number)
            if len(self._blocks) > max(_CACHED_BLOCKS, 2 * self.options.max_range / BLOCK + 4):
                self._blocks.popitem(last=False)
        return self._blocks[number]

    def _street(self, number: int) -> tuple[Raycaster, np.ndarray]:
        """The street around a block, about that block's origin; and the category of each of its triangles."""
        if self._window is None or self._window[0] != number:
            origin, blocks = block_origin(self.road, number), self._near_blocks(number)
            solid = join([b.solid.moved(_shift(b.origin - origin)) for b in blocks])
            categories = np.concatenate([*(b.categories for b in blocks), [0]])
            self._window = (number, Raycaster(solid), categories)
        return self._window[1], self._window[2]


def simulated_drive(
    sweeps: int, seed: int = 0, number: int = 0, options: DriveOptions | None = None, start: int = 0
) -> Drive:
    """Return sweeps ``start`` .. ``start + sweeps - 1`` of a simulated drive, made when they are read.

    Args:
        sweeps: how many.
        seed: seed of the data set.
        number: number of the drive.
        options: options of the simulation.
        start: first sweep.
    """
    if sweeps < 1 or start < 0:
        raise SimulationError(f"expected sweeps >= 1 from start >= 0, got {sweeps} from {start}")
    drive = SimulatedDrive(seed, number, options)
    timestamps = np.array([drive.timestamp(start + k) for k in range(sweeps)], dtype=np.int64)
    attributes = {"seed": seed, "number": number, "simulator": _VERSION, "options": asdict(drive.options)}
    poses = np.stack([drive.pose(start + k) for k in range(sweeps)])
    reader = _Sweeps(drive, start)
    return Drive(f"drive_{number:04d}", timestamps, reader, drive.options.rate, "simulated", attributes, poses)


class _Sweeps:
    """Reader of sweeps from ``start`` on; unlike a closure it can be sent to workers."""

    def __init__(self, drive: SimulatedDrive, start: int) -> None:
        self._drive, self._start = drive, start

    def __call__(self, index: int) -> Sweep:
        return self._drive.sweep(self._start + index)


def _shift(offset: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def _flow_class(category: np.ndarray) -> np.ndarray:
    table = np.zeros(len(CATEGORIES), np.uint8)
    for ours, theirs in FLOW_CLASSES.items():
        table[ours] = theirs
    return table[category]
