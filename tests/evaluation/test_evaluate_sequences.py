"""seq-JEPA from a run folder to results.json: rendered views, poses out of range, and augmentation sequences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_store import write_synthetic_store

from equissl import cli
from equissl.evaluation import evaluate
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.views.config import (
    EvaluateConfig,
    HueProbeConfig,
    LinearProbeConfig,
    RotationProbeConfig,
    SequenceConfig,
)
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain

SMALL = {"action_dim": 8, "layers": 1, "hidden": 16, "encoder": {"name": "resnet18", "width": 4, "stem": "small"}}


def settings(**changes) -> EvaluateConfig:
    return EvaluateConfig(
        classification=LinearProbeConfig(steps=10),
        rotation=RotationProbeConfig(hidden=(16,), steps=10, val_pairs=4),
        hue=HueProbeConfig(steps=10),
        sequence=SequenceConfig(lengths=(1, 2, 8), sequences=3),
        **changes,
    )


def run_config(store: Path, **data) -> dict:
    return {
        "method": {"class_path": "SeqJEPA", "init_args": {"views": 3, **SMALL}},
        "data": {"store": str(store), "batch_size": 8, **data},
        "trainer": {"max_steps": 3, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }


def test_rendered_views(tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "views.h5", objects=32, views=4, size=16)
    other = write_synthetic_store(tmp_path / "other.h5", objects=32, views=4, size=16, seed=1)
    run = pretrain(resolve_config(run_config(store)), tmp_path / "run")
    lines: list[str] = []
    found = evaluate(run, settings(ood_store=str(other)), log=lines.append)
    assert found == json.loads((run / "results.json").read_text())
    for key in ("aggregate/top1/2", "path_integration/r2_uniform/full/1", "sequence_retrieval/mrr/2", "retrieval/mrr"):
        assert np.isfinite(found[key]), key
    assert "aggregate/top1/8" not in found  # four views are stored
    assert {"ood/aggregate/top1/2", "ood/rotation/r2_uniform/all", "ood/classification/all/top1"} <= found.keys()
    assert found["ood/rotation/mean_deg/all"] != found["rotation/mean_deg/all"]
    assert found["predictor/equivariance"] > 0
    plain = evaluate(run, settings(protocols=["classification"]))
    assert not any(key.startswith(("aggregate", "path", "sequence_")) for key in plain)
    classes = write_synthetic_store(tmp_path / "classes.h5", objects=32, views=4, size=16, classes=5)
    with pytest.raises(ValueError, match="to hold the 4 classes"):
        evaluate(run, settings(ood_store=str(classes)))


def test_augmentation_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for split, number in (("train", 12), ("val", 4)):
        for label in ("cat", "dog"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for i in range(number):
                Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{i}.png")
    config = run_config(tmp_path / "images")
    config["data"] |= {"kind": "images", "root": config["data"].pop("store"), "size": 16, "policy": "seq_jepa"}
    config["method"]["init_args"]["action"] = "crop+jitter+blur"
    run = pretrain(resolve_config(config), tmp_path / "run")
    out = tmp_path / "views.h5"
    assert cli.main(["sequences", str(tmp_path / "images"), "--out", str(out), "--views", "4"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    lines: list[str] = []
    found = evaluate(run, ImageOptions(views=settings()), store=out, log=lines.append)
    for task in ("crop", "jitter", "blur"):
        assert np.isfinite(found[f"{task}/r2_uniform/all"]), task
        assert found[f"{task}/r2_uniform/constant"] == pytest.approx(0, abs=0.3)
    assert "skipping rotation: the store's views are not rotated" in lines
    assert not any(key.startswith(("rotation/r2", "position")) for key in found)
    assert np.isfinite(found["path_integration/r2_uniform/full/2"]) and "path_integration/mean_deg/full/2" not in found
