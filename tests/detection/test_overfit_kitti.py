"""Three real frames learnt by heart: labels, frames, targets, decoding and both metrics are then right together."""

from __future__ import annotations

import json
from pathlib import Path

import lidar_layouts
import pytest

from equissl import cli

FLAGS = [
    "--method.encoder.point_range=[0.0,-20.8,-3.0,70.4,20.8,1.0]",
    "--method.encoder.voxel_size=[0.2,0.2,0.16]",
    "--method.encoder.backend=torch",
    "--method.neck.layers=[2,2]",
    "--method.neck.widths=[32,64]",
    "--method.neck.up_strides=[2,4]",
    "--method.neck.up_widths=[32,32]",
    "--method.norm_momentum=0.1",
    "--data.batch_size=3",
    "--data.workers=0",
    "--data.augment=false",
    "--optim.lr=0.005",
    "--trainer.max_steps=60",
    "--trainer.precision=32",
    "--trainer.accelerator=cpu",
    "--trainer.loggers=[csv]",
]

# a second stage for the coarse voxels, and for a CPU
SECOND_STAGE = [
    "--method.pool.query=manhattan",
    "--method.pool.stages=[conv2,conv3]",
    "--method.pool.points=4",
    "--method.pool.samples=8",
    "--method.pool.width=16",
    "--method.sample.count=32",
    "--method.layers.shared=[64]",
    "--method.layers.classes=[64]",
    "--method.layers.boxes=[64]",
    "--method.train_proposals.before=1024",
    "--method.train_proposals.after=128",
]
MORE = {"kitti_voxel_rcnn": SECOND_STAGE}


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three frames of the benchmark, all of them in both splits, as folder ``root`` and store ``kitti.h5``."""
    folder = tmp_path_factory.mktemp("kitti")
    root = lidar_layouts.kitti_object(shared, folder / "root")
    (root / "ImageSets").mkdir(exist_ok=True)
    for split in ("train", "val"):
        (root / "ImageSets" / f"{split}.txt").write_text("000000\n000001\n000002\n")
    words = ["--out", str(folder / "kitti.h5"), "--camera_only", "true", "--need_pairs", "false", "--check", "false"]
    assert cli.main(["ingest", "kitti-object", str(root), *words]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["kitti_second", "kitti_centerpoint", "kitti_voxel_rcnn"])
def test_three_frames_are_learnt_by_heart(recipe, folder: Path) -> None:
    run, store = folder / recipe, f"--data.store={folder / 'kitti.h5'}"
    flags = FLAGS + MORE.get(recipe, [])
    assert cli.main(["finetune", "--config", f"detection/{recipe}", "--out", str(run), store, *flags]) == 0
    assert cli.main(["evaluate", str(run), "--kitti", str(folder / "root" / "training")]) == 0
    results = json.loads((run / "results.json").read_text())
    for name, count in (("car", 2), ("pedestrian", 1), ("cyclist", 1)):
        assert results[f"detection/{name}/labels"] == count
        assert results[f"detection/{name}/3d_ap"] > 95 and results[f"detection/{name}/bev_ap"] > 95
    assert results["detection/mean/3d_aph"] > 95  # headings too
    assert (results["labels/kept"], results["labels/unknown"]) == (4, 2)
    # by KITTI's own rules a perfect detector of a single object scores 100 / 11 and 0: its curve has one recall
    assert results["kitti/car/labels_moderate"] == results["kitti/pedestrian/labels_easy"] == 1
    assert results["kitti/car/3d_r11_moderate"] == pytest.approx(100 / 11)
    assert results["kitti/pedestrian/3d_r11_easy"] == pytest.approx(100 / 11)
    assert results["kitti/pedestrian/3d_r40_easy"] == 0
    assert results["kitti/cyclist/3d_r11_hard"] is None  # its only one is too far occluded to count
    words = ["--calib", str(folder / "root" / "training" / "calib"), "--score", "0.3", "--pictures", "1"]
    assert cli.main(["predict", str(run), "--out", str(folder / f"{recipe}_out"), *words]) == 0
    line = (folder / f"{recipe}_out" / "results" / "training" / "000000.txt").read_text().split()
    assert line[0] == "Pedestrian" and len(line) == 16
    # height, width, length, place and turn of the label of this frame
    expected = [1.89, 0.48, 1.20, 1.84, 1.47, 8.41, 0.01]
    assert [float(value) for value in line[8:15]] == pytest.approx(expected, abs=0.3)
