"""The real samples unpacked into the folders of their benchmarks."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def delta_sweeps(archive: Path, scale: int, most: int | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (N, 4) float32 of the sweeps of an archive of first differences."""
    with tarfile.open(archive, "r:xz") as tar:
        count = 0
        for member in tar:
            if not member.isfile():
                continue
            if most is not None and count >= most:
                return
            data = np.load(io.BytesIO(tar.extractfile(member).read()))  # type: ignore[union-attr]
            points = (np.cumsum(data, axis=1).T / [1000, 1000, 1000, scale]).astype(np.float32)
            yield Path(member.name).stem, points
            count += 1


def tracking(shared: Path, root: Path, most: int | None = 6) -> Path:
    """KITTI tracking 0000, its first sweeps."""
    source = shared / "data" / "kitti_tracking_0000"
    for kind, name in (("calib", "calib_0000"), ("label_02", "label_02_0000"), ("oxts", "oxts_0000")):
        copy(source / f"{name}.txt", root / "training" / kind / "0000.txt")
    folder = root / "training" / "velodyne" / "0000"
    folder.mkdir(parents=True)
    for archive in sorted(source.glob("velodyne_delta_*.tar.xz")):
        left = None if most is None else most - len([*folder.iterdir()])
        if left is None or left > 0:
            for name, points in delta_sweeps(archive, 100, left):
                points.tofile(folder / f"{name}.bin")
    return root


def copy(source: Path, target: Path) -> None:
    """Copies a read-only file to one that can be written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive, "r:xz") as tar:
        # Python 3.11 has the filter from 3.11.4 on; the archives are our own
        tar.extractall(target, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def raw(shared: Path, root: Path, most: int = 3) -> Path:
    """The same drive in the raw layout; times every 0.1 s."""
    source = shared / "data" / "kitti_tracking_0000"
    drive = root / "2011_09_26" / "2011_09_26_drive_0005_sync"
    for folder in (drive / "velodyne_points" / "data", drive / "oxts" / "data"):
        folder.mkdir(parents=True)
    for name, points in delta_sweeps(source / "velodyne_delta_000-076.tar.xz", 100, most):
        points.tofile(drive / "velodyne_points" / "data" / f"{int(name):010d}.bin")
    for frame, line in enumerate((source / "oxts_0000.txt").read_text().splitlines()[:most]):
        (drive / "oxts" / "data" / f"{frame:010d}.txt").write_text(line + "\n")
    times = "".join(f"2011-09-26 13:02:{25.594360375 + 0.1 * i:.9f}\n" for i in range(most))
    (drive / "velodyne_points" / "timestamps.txt").write_text(times)
    numbers = next(
        line.split()[1:]
        for line in (source / "calib_0000.txt").read_text().splitlines()
        if line.startswith("Tr_imu_to_velo")
    )
    rotation = " ".join(numbers[i] for i in (0, 1, 2, 4, 5, 6, 8, 9, 10))
    text = f"calib_time: 25-May-2012 16:47:16\nR: {rotation}\nT: {numbers[3]} {numbers[7]} {numbers[11]}\n"
    (root / "2011_09_26" / "calib_imu_to_velo.txt").write_text(text)
    return root


def odometry(shared: Path, root: Path) -> Path:
    """KITTI odometry 00, three sweeps."""
    source = shared / "data" / "kitti_odometry_00_3frames"
    folder = root / "dataset" / "sequences" / "00"
    folder.mkdir(parents=True)
    unpack(source / "velodyne.tar.xz", folder)
    copy(source / "calib.txt", folder / "calib.txt")
    copy(source / "poses_first20.txt", root / "dataset" / "poses" / "00.txt")
    return root


def kitti_object(shared: Path, root: Path) -> Path:
    """KITTI object, three frames."""
    source = shared / "data" / "kitti_object_3frames"
    for path in sorted(source.glob("training/*/*.txt")):
        copy(path, root / path.relative_to(source))
    unpack(source / "velodyne.tar.xz", root / "training")
    return root


DRIVE_360 = "2013_05_28_drive_0000_sync"


def kitti360(shared: Path, root: Path) -> Path:
    """KITTI-360 drive 0000: twenty single frames, their boxes in the world as XML."""
    source = shared / "data" / "kitti360_20frames"
    data = root / "data_3d_raw" / DRIVE_360 / "velodyne_points" / "data"
    data.mkdir(parents=True)
    for name, points in delta_sweeps(source / "velodyne_delta.tar.xz", 256):
        points.tofile(data / f"{int(name):010d}.bin")
    unpack(source / "boxes_calib.tar.xz", root)
    copy(source / "poses_subset.txt", root / "data_poses" / DRIVE_360 / "poses.txt")
    boxes = root / "data_3d_bboxes" / "train" / f"{DRIVE_360}.xml"
    boxes.parent.mkdir(parents=True)
    boxes.write_text(_boxes_xml(root, source / "poses_subset.txt"))
    return root


def _boxes_xml(root: Path, poses: Path) -> str:
    """Corners in camera 0, moved to the world with the poses, as cuboids with a transform of a unit cube."""
    numbers = np.loadtxt(root / "calibration" / "calib_cam_to_pose.txt", usecols=range(1, 13))[0]
    body_camera = np.vstack([numbers.reshape(3, 4), [0, 0, 0, 1]])
    nodes = []
    for row in np.loadtxt(poses):
        world_camera = np.vstack([row[1:].reshape(3, 4), [0, 0, 0, 1]]) @ body_camera
        path = root / "bboxes_3D_cam0" / f"BBoxes_{int(row[0])}.json"
        for box in read_json(path) if path.exists() else []:
            corners = np.array(box["corners_cam0"]) @ world_camera[:3, :3].T + world_camera[:3, 3]
            transform = np.eye(4)
            # sides along the length, the width and the height
            transform[:3, :3] = np.stack([corners[5] - corners[0], corners[2] - corners[0], corners[1] - corners[0]], 1)
            transform[:3, 3] = corners.mean(axis=0)
            nodes.append(_box_node(len(nodes), int(row[0]), int(box["index"]), transform))
    return "<opencv_storage>\n" + "\n".join(nodes) + "\n</opencv_storage>\n"


def _box_node(number: int, frame: int, instance: int, transform: np.ndarray, semantic: int = 13) -> str:
    cube = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    fields = {
        "index": number, "semanticId": semantic, "instanceId": instance, "start_frame": frame, "end_frame": frame,
        "timestamp": -1,
    }  # fmt: skip
    text = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f"<object{number}>{text}{_matrix('transform', transform)}{_matrix('vertices', cube)}</object{number}>"


def _matrix(name: str, values: np.ndarray) -> str:
    numbers = "\n".join(" ".join(repr(float(v)) for v in row) for row in values)
    return f"<{name}><rows>{len(values)}</rows><cols>{values.shape[1]}</cols><dt>f</dt><data>{numbers}</data></{name}>"


def nuscenes(shared: Path, root: Path) -> Path:
    """The key frame with its 69 boxes as the tables of nuScenes; and a copy of it 50 ms later without boxes."""
    source = shared / "data" / "nuscenes_one_sample"
    info = read_json(source / "info.json")
    sample = info["data_list"][0]
    first = "samples/LIDAR_TOP/a.pcd.bin"
    for name in (first, "sweeps/LIDAR_TOP/b.pcd.bin"):
        copy(source / sample["lidar_points"]["lidar_path"], root / name)
    write_nuscenes(
        root,
        np.array(sample["ego2global"]),
        np.array(sample["lidar_points"]["lidar2ego"]),
        round(sample["timestamp"] * 1e6),
        sample["instances"],
        {number: name for name, number in info["metainfo"]["categories"].items()} | {-1: "other"},
    )
    return root


def write_nuscenes(
    root: Path, ego: np.ndarray, sensor: np.ndarray, time: int, instances: list[dict], classes: dict[int, str]
) -> None:
    tables: dict[str, list[dict]] = {
        "sensor": [{"token": "lidar", "channel": "LIDAR_TOP"}, {"token": "camera", "channel": "CAM_FRONT"}],
        "scene": [{"token": "scene", "name": "scene-0061"}],
        "sample": [{"token": "sample", "scene_token": "scene", "timestamp": time}],
        "calibrated_sensor": [
            {"token": "calibrated", "sensor_token": "lidar", **_wxyz(sensor)},
            {"token": "other", "sensor_token": "camera", **_wxyz(np.eye(4))},
        ],
        "ego_pose": [{"token": "ego", **_wxyz(ego)}, {"token": "ego2", **_wxyz(ego)}],
        "category": [{"token": f"class{i}", "name": name} for i, name in classes.items()],
        "sample_data": [
            _sweep_row("a", time, "samples/LIDAR_TOP/a.pcd.bin", True, "ego"),
            _sweep_row("b", time + 50_000, "sweeps/LIDAR_TOP/b.pcd.bin", False, "ego2"),
            {**_sweep_row("c", time, "samples/CAM_FRONT/c.jpg", True, "ego"), "calibrated_sensor_token": "other"},
        ],
        "sample_annotation": [],
        "instance": [],
    }
    for number, instance in enumerate(instances):
        x, y, z, length, width, height, yaw = instance["bbox_3d"]
        box = np.eye(4)
        box[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        box[:3, 3] = x, y, z
        tables["instance"].append({"token": f"i{number}", "category_token": f"class{instance['bbox_label_3d']}"})
        tables["sample_annotation"].append(
            {
                "token": f"a{number}",
                "sample_token": "sample",
                "instance_token": f"i{number}",
                "size": [width, length, height],
                "num_lidar_pts": instance["num_lidar_pts"],
                **_wxyz(ego @ sensor @ box),
            }
        )
    (root / "v1.0-mini").mkdir(parents=True)
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))


def _sweep_row(token: str, time: int, file: str, is_key: bool, ego: str) -> dict:
    return {
        "token": token, "sample_token": "sample", "ego_pose_token": ego, "calibrated_sensor_token": "calibrated",
        "timestamp": time, "filename": file, "is_key_frame": is_key,
    }  # fmt: skip


def _wxyz(matrix: np.ndarray) -> dict:
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    return {"rotation": [w, x, y, z], "translation": matrix[:3, 3].tolist()}


def argoverse2(shared: Path, root: Path) -> Path:
    """Both logs of the sample, as they are."""
    source = shared / "data" / "argoverse2_sample"
    for path in sorted(source.glob("*/**/*.feather")):
        copy(path, root / "val" / path.relative_to(source))
    return root
