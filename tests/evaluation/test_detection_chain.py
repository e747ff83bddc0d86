"""Simulated drives -> pretraining -> fine-tuning -> evaluation -> table and page -> predictions, by the program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from equissl import cli
from equissl.bench.detection import DetectionTask, Start, bench_detection, parse_start, rises_by_seed
from equissl.datasets.drives.simulated import DriveOptions
from equissl.datasets.drives.simulated.store import simulate_drives
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Drive, Sweep
from equissl.detection import Detections
from equissl.evaluation.sweeps.detecting import read_detections, write_detections
from equissl.runs import build_method, load_config, read_checkpoint
from equissl.runs.log import seconds_a_step
from equissl.training.data import open_dataset
from equissl.util.runfolder import LAST

ENCODER = [
    "--method.encoder.point_range=[-12.8,-12.8,-3.0,12.8,12.8,1.0]",
    "--method.encoder.voxel_size=[0.4,0.4,0.16]",
    "--method.encoder.backend=torch",
]
QUICK = ["--trainer.threads=1", "--trainer.loggers=[csv]", "--data.batch_size=2", "--trainer.accelerator=cpu"]
SMALL = [*ENCODER, "--method.neck.layers=[0,0]", "--method.neck.widths=[8,8]", "--method.neck.up_widths=[8,8]", *QUICK]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = DriveOptions(beams=16, columns=120, max_range=25.0, dropout=0.0)
    return simulate_drives(tmp_path_factory.mktemp("detection") / "drives.h5", 4, 3, 0, options)


def finetune(out: Path, store: Path, *words: str, steps: int = 2) -> int:
    return cli.main(["finetune", "--config", "detection/second_small", "--out", str(out), f"--data.store={store}",
                     f"--trainer.max_steps={steps}", *SMALL, *words])  # fmt: skip


@pytest.fixture(scope="module")
def runs(store: Path) -> dict[str, Path]:
    """A pretraining run, detectors from it and from scratch with two seeds."""
    folder = store.parent
    words = [
        "--config",
        "lidar/point_contrast_small",
        f"--data.store={store}",
        "--trainer.max_steps=2",
        *ENCODER,
        *QUICK,
    ]
    assert cli.main(["pretrain", "--out", str(folder / "pretrained"), *words]) == 0
    made = {"pretrained": folder / "pretrained"}
    for start in ("scratch", "pretrained"):
        for seed in (0, 1):
            run = folder / start / "x" / f"seed{seed}" if start == "scratch" else folder / "fine" / f"seed{seed}"
            given = ["--init", str(made["pretrained"])] if start == "pretrained" else []
            assert finetune(run, store, "--labels", "0.5", f"--label_seed={seed}", f"--seed={seed}", *given) == 0
            assert cli.main(["evaluate", str(run)]) == 0
            made[f"{start}{seed}"] = run
    return made


def test_results_of_a_detector(runs) -> None:
    results = json.loads((runs["pretrained0"] / "results.json").read_text())
    assert all(not isinstance(value, dict) for value in results.values())
    assert (results["kind"], results["method"], results["start"]) == ("sweeps", "SECOND", "PointContrast")
    assert results["classes"] == ["car", "pedestrian", "cyclist"]
    assert results["labelled_sweeps"] == 5 and results["labels"] == 0.5 and results["val_sweeps"] == 3
    assert 0 <= results["detection/car/3d_ap"] <= 100 and results["detection/car/labels"] > 0
    assert results["labels/kept"] + results["labels/unknown"] + results["labels/out_of_range"] > 0
    assert json.loads((runs["scratch0"] / "results.json").read_text())["start"] == "scratch"


def test_fine_tuning_starts_where_pretraining_ended(runs, store, tmp_path) -> None:
    report = json.loads((runs["pretrained0"] / "init.json").read_text())
    assert report["kind"] == "run" and report["tensors"] == 72
    assert not (runs["scratch0"] / "init.json").exists()
    # a frozen backbone is still that of the pretraining
    assert finetune(tmp_path / "frozen", store, "--init", str(runs["pretrained"]), "--frozen") == 0
    one, two = (read_checkpoint(run / LAST)["state_dict"] for run in (runs["pretrained"], tmp_path / "frozen"))
    names = [name for name in two if name.startswith("method.encoder.backbone")]
    assert len(names) == 72 and all(torch.equal(one[name], two[name]) for name in names)
    three = read_checkpoint(runs["pretrained0"] / LAST)["state_dict"]
    assert not all(torch.equal(one[name], three[name]) for name in names)


def test_the_labels_used_are_published_and_can_be_given(runs, store, tmp_path) -> None:
    listed = (runs["scratch0"] / "labels.txt").read_text().splitlines()
    assert listed[0].startswith("# 5 of the 9 labelled sweeps of split train of drives.h5: share 0.5, label seed 0")
    assert finetune(tmp_path / "again", store, "--labels", str(runs["scratch0"] / "labels.txt"), steps=1) == 0
    assert (tmp_path / "again" / "labels.txt").read_text().splitlines()[1:] == listed[1:]
    # one frame is enough, whatever the batch
    assert finetune(tmp_path / "one", store, "--labels=0.01", steps=1) == 0


def test_fine_tuning_continues(runs, store, tmp_path, capsys) -> None:
    words = ["--init", str(runs["pretrained"])]
    assert finetune(tmp_path / "whole", store, *words, steps=4) == 0
    assert finetune(tmp_path / "cut", store, *words, "--optim.schedule=one_cycle", steps=2) == 0
    assert finetune(tmp_path / "cut", store, *words, "--data.labels=0.5", steps=4) == 2
    assert "data.labels: was 1.0, now 0.5" in capsys.readouterr().err
    assert finetune(tmp_path / "cut", store, steps=4) == 2
    assert "init: was" in capsys.readouterr().err
    assert finetune(tmp_path / "cut", store, *words, steps=4) == 0
    assert read_checkpoint(tmp_path / "cut" / LAST)["equissl"]["step"] == 4


def test_table_and_page_of_several_seeds(runs, tmp_path, capsys) -> None:
    folders = [str(runs[f"{start}{seed}"]) for start in ("scratch", "pretrained") for seed in (0, 1)]
    assert cli.main(["report", *folders, "--out", str(tmp_path / "page.html")]) == 0
    table = capsys.readouterr().out
    assert "car 3D" in table and "mean BEV" in table and "±" in table
    assert [line.split()[0] for line in table.splitlines()[2:4]] == ["x", "fine"]
    page = (tmp_path / "page.html").read_text()
    assert "one standard deviation over seeds" in page and page.count("<img") == 6
    assert "car 0.5, pedestrian 0.25" in page


def test_predictions_as_json_and_pictures(runs, tmp_path, capsys) -> None:
    words = ["--out", str(tmp_path), "--pictures", "2", "--split", "all"]
    assert cli.main(["predict", str(runs["scratch0"]), *words]) == 0
    assert "in 12 sweeps (json), 2 pictures" in capsys.readouterr().out
    files = sorted((tmp_path / "results").rglob("*.json"))
    assert len(files) == 12 and len(list((tmp_path / "pictures").glob("*.png"))) == 2
    content = json.loads(files[0].read_text())
    assert content.keys() == {"boxes", "scores", "labels"}
    assert cli.main(["predict", str(runs["pretrained"]), "--out", str(tmp_path / "no")]) == 2
    assert "expected a run of a detector" in capsys.readouterr().err


def test_a_detector_with_two_stages(store, tmp_path, capsys) -> None:
    words = ["--config", "detection/voxel_rcnn_small", "--method.pool.stages=[conv3]", "--method.pool.points=2", *SMALL]
    run = tmp_path / "run"
    assert cli.main(["finetune", "--out", str(run), f"--data.store={store}", "--trainer.max_steps=2", *words]) == 0
    assert cli.main(["evaluate", str(run)]) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["method"] == "VoxelRCNN" and 0 <= results["detection/car/3d_ap"] <= 100
    capsys.readouterr()
    assert cli.main(["predict", str(run), "--out", str(tmp_path / "found"), "--pictures", "1"]) == 0
    assert "in 3 sweeps (json), 1 pictures" in capsys.readouterr().out


def test_wrong_data_are_refused(runs, store, tmp_path, capsys) -> None:
    assert finetune(tmp_path / "a", store, "--data.gap=2") == 2
    assert "unknown flag --data.gap" in capsys.readouterr().err
    words = ["--config", "lidar/strl_small", f"--data.store={store}", *ENCODER, *QUICK, "--data.labels=0.5"]
    assert cli.main(["pretrain", "--out", str(tmp_path / "b"), *words]) == 2
    assert "unknown flag --data.labels" in capsys.readouterr().err
    assert finetune(tmp_path / "c", store, "--method.encoder.in_channels=5") == 2
    assert "at most 4 columns" in capsys.readouterr().err
    unlabelled = Drive.of("d", [Sweep(np.zeros((9, 3), np.float32), k) for k in range(3)], None, "test")
    assert finetune(tmp_path / "d", write_drives(tmp_path / "none.h5", [unlabelled])) == 2
    assert "expected labelled sweeps in split 'train'" in capsys.readouterr().err


def test_detections_come_back_from_their_file(tmp_path) -> None:
    found = [Detections(torch.rand(n, 7), torch.rand(n), torch.arange(n)) for n in (2, 0, 3)]
    write_detections(tmp_path / "d.npz", ["a/0", "a/1", "b/0"], found, ["car"])
    back = read_detections(tmp_path / "d.npz")
    assert list(back) == ["a/0", "a/1", "b/0"]
    for name, detections in zip(back, found, strict=True):
        assert torch.equal(back[name].boxes, detections.boxes) and torch.equal(back[name].labels, detections.labels)


def test_help_of_finetune(capsys) -> None:
    assert cli.main(["finetune", "--config", "detection/second_small", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: equissl finetune") and "--method.frozen" in text
    assert "--data.labels" in text and "--init" in text


def test_a_frozen_backbone_from_scratch_has_the_statistics_of_the_frames(store, tmp_path) -> None:
    """In evaluation mode its layers then give zero mean and unit variance on those frames, as in training mode."""
    assert finetune(tmp_path / "run", store, "--frozen", steps=1) == 0
    config = load_config(tmp_path / "run" / "config.yaml")
    detector = build_method(config.method)
    frames = open_dataset(config, detector)
    saved = read_checkpoint(tmp_path / "run" / LAST)["state_dict"]
    detector.load_state_dict({name.removeprefix("method."): tensor for name, tensor in saved.items()})
    last, seen = detector.encoder.backbone.conv_out[1], []
    hook = last.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        for place in range(len(frames.entries)):
            detector.eval().encode([torch.from_numpy(frames.read(place).points)])
    hook.remove()
    features = torch.cat(seen)
    assert features.mean(0).abs().mean() < 0.3 and 0.7 < features.std() < 1.4


@pytest.mark.slow
def test_bench_of_starting_points(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "equissl")
    options = DriveOptions(beams=16, columns=160, max_range=25.0)
    others = simulate_drives(tmp_path / "others.h5", 3, 2, 1, options)
    task = DetectionTask(drives=4, sweeps=2, beams=16, columns=160, flow="stored", pretrain_store=str(others),
                         pretrain_steps=2, pretrain_batch=2, pretrain_seeds=1, steps=1, encoder_scale=0.5,
                         scratch_scale=0.25)  # fmt: skip
    options = {
        "labels": "0.5",
        "seeds": 2,
        "methods": "scratch,E-SSL3D@1,E-SSL3D@2",
        "task": task,
        "parallel": 1,
        "first": 1,
    }
    found = bench_detection(tmp_path, **options)
    text = found["table"] + found["gains"]
    assert any("took" in message for message in caplog.messages)
    for name in ("scratch_50%", "E-SSL3D@1_50%", "E-SSL3D@2_50%"):
        assert name in text and (tmp_path / name / "seed2" / "results.json").is_file()
        assert not (tmp_path / name / "seed0").exists()
    assert "mean 3D AP above scratch, of 2 pairs with the same labels, ± standard error" in text
    assert re.fullmatch(
        r"E-SSL3D 50 %: [+-]\d+\.\d\d ± \d+\.\d\d AP with each doubling of the steps; .+", found["curves"]
    )
    assert (tmp_path / "report.html").is_file()
    pretrained = tmp_path / "pretrain" / "E-SSL3D@1"
    assert [run.name for run in pretrained.iterdir() if run.is_dir()] == ["seed0"]
    config = load_config(pretrained / "seed0" / "config.yaml")
    assert config.trainer.max_steps == 1 and config.data.store == str(others)
    for name, scale in (("E-SSL3D@1_50%", 0.5), ("scratch_50%", 0.25)):
        assert load_config(tmp_path / name / "seed1" / "config.yaml").optim.encoder_scale == scale
    caplog.clear()
    assert bench_detection(tmp_path, **options) == found
    assert not any("took" in message for message in caplog.messages)  # nothing was left to do


def test_gain_by_length_of_pretraining(tmp_path: Path) -> None:
    gains = [[1.0, 4.0], [2.0, 6.0], [4.0, 8.0]]  # of 2 seeds after 100, 200 and 400 steps
    assert rises_by_seed([100, 200, 400], gains) == pytest.approx([1.5, 2.0])
    (tmp_path / "metrics.csv").write_text(
        "step,views,seconds,name,value\n1,8,3.0,train/loss,1.0\n4,32,6.0,train/loss,1.0\n"
    )
    assert seconds_a_step(tmp_path) == 1.5
    (tmp_path / "metrics.csv").write_text("step,views,seconds,name,value\n")
    with pytest.raises(ValueError, match=r"expected steps in metrics\.csv"):
        seconds_a_step(tmp_path)


def test_words_for_starting_points() -> None:
    task = DetectionTask(pretrain_steps=300)
    assert parse_start("scratch", task) == Start("scratch", None, 300)
    assert parse_start("STRL", task) == Start("STRL", "lidar/strl_small", 300)
    assert parse_start("STRL@1500", task) == Start("STRL@1500", "lidar/strl_small", 1500)
    assert parse_start("my/no_flow.yaml@5", task) == Start("no_flow@5", "my/no_flow.yaml", 5)
    for word in ("Nothing", "scratch@5"):
        with pytest.raises(ValueError, match="expected methods among scratch"):
            bench_detection(methods=word)
    for word in ("STRL@", "STRL@0", "STRL@x"):
        with pytest.raises(ValueError, match="expected the steps of pretraining behind @"):
            bench_detection(methods=word)
    with pytest.raises(ValueError, match="at least 1 run of pretraining, got pretrain_seeds 0"):
        bench_detection(methods="scratch,STRL", task=DetectionTask(pretrain_seeds=0))
