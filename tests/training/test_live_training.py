"""Runs on views that are rendered while they train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.config import ViewsData
from equissl.datasets.views.live.spec import LiveSpec
from equissl.datasets.views.live.views import LiveViews
from equissl.evaluation import evaluate
from equissl.runs import (
    ConfigError,
    PretrainConfig,
    build_method,
    load_config,
    load_method,
    read_checkpoint,
    resolve_config,
)
from equissl.training import pretrain
from equissl.training.data import make_batches, open_dataset
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.util.runfolder import LAST

LIVE = LiveSpec("procedural", objects=26, size=32, val_fraction=0.5)


class Killed(BaseException):
    """Stands for a process that ends without a chance to save."""


class KillAt(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, loop: Loop, batch: object) -> None:
        if loop.step == self.step:
            raise Killed


@pytest.fixture
def config(make_config) -> PretrainConfig:
    """21 training objects: 5 batches of 4 in an epoch, checkpoints at 5, 10 and 12."""
    return replace(make_config(), data=ViewsData(batch_size=4, live=LIVE))


def open_data(config: PretrainConfig, **data: object) -> Any:
    resolved = resolve_config(replace(config, data=replace(config.data, **data)).to_dict())
    return open_dataset(resolved, build_method(resolved.method))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / LAST)["state_dict"]


def test_a_killed_run_continues_to_the_same_bits_with_other_workers(config, tmp_path) -> None:
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt(7)])
    workers = replace(config, data=replace(config.data, workers=1, live=replace(LIVE, cache_megabytes=0)))
    cut = pretrain(workers, tmp_path / "cut")
    expected, found = weights(whole), weights(cut)
    assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
    with pytest.raises(ConfigError, match=r"data\.live\.size: was 32, now 16"):
        pretrain(replace(config, data=replace(config.data, live=replace(LIVE, size=16))), tmp_path / "cut")


def test_the_saved_config_runs_again(config, tmp_path) -> None:
    run = pretrain(config, tmp_path / "run")
    saved = load_config(run / "config.yaml")
    assert saved.data.live == LIVE and saved.data.store == ""
    assert load_method(run)[1] == saved
    metrics = (run / "metrics.csv").read_text()
    assert "online/top1" in metrics and "online/rotation_mean_deg" in metrics


def test_the_first_epoch_shows_what_a_store_of_the_same_seed_shows(config, tmp_path) -> None:
    spec = BuildSpec("procedural", objects=26, size=32, val_fraction=0.5, views=2, encoding="raw")
    build_views(spec, tmp_path / "a.h5", 0, False)
    settings = replace(config, trainer=replace(config.trainer, max_steps=1))
    live, stored = (
        open_data(settings),
        open_data(replace(settings, data=ViewsData(store=str(tmp_path / "a.h5"), batch_size=4))),
    )
    ours, theirs = (next(iter(make_batches(settings, views, 0, 1))) for views in (live, stored))
    assert torch.equal(ours.objects, theirs.objects) and torch.equal(ours.labels, theirs.labels)
    for row in range(4):
        shown = {image.numpy().tobytes() for image in theirs.images[row]}
        assert shown == {image.numpy().tobytes() for image in ours.images[row]}


def test_evaluation_needs_a_store_and_says_which(config, tmp_path) -> None:
    run = pretrain(replace(config, trainer=replace(config.trainer, max_steps=1)), tmp_path / "run")
    with pytest.raises(ValueError, match=r"`equissl render --meshes procedural --objects 26 --val_fraction 0\.5 "):
        evaluate(run)
    build = BuildSpec("procedural", objects=26, size=32, views=2, val_fraction=0.5)
    build_views(build, tmp_path / "same.h5", 0, False)
    build_views(replace(build, objects=52, seed=1), tmp_path / "other.h5", 0, False)
    said: list[str] = []
    evaluate(run, store=tmp_path / "same.h5", log=said.append)
    assert not any("warning" in line for line in said)
    evaluate(run, store=tmp_path / "other.h5", log=said.append)
    assert any("may have been trained on" in line and "seed: 1 in the store, 0 in training" in line for line in said)


MINIMAL = ["--method", "VICReg", "--trainer.max_steps", "3"]


def test_flags(tmp_path) -> None:
    flags = ["--data.live.objects", "9", "--data.live.renderer_options.antialias", "2"]
    config = load_config(None, [*MINIMAL, *flags])
    assert config.data.store == "" and config.data.live == LiveSpec(objects=9, renderer_options={"antialias": 2})
    assert load_config("demo_sie", ["--data.live.meshes", "procedural"]).data.live == LiveSpec("procedural")
    assert load_config("demo_sie").data.live is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--data.live.meshs", "procedural"],
            r"unknown key 'data\.live\.meshs' \(did you mean 'data\.live\.meshes'\?\)",
        ),
        (["--data.live.objects", "0"], "objects >= 1, got 0"),
        (["--data.live.size", "big"], "big"),
    ],
)
def test_bad_flags(words, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [*MINIMAL, *words])


def test_what_does_not_go_together(config) -> None:
    with pytest.raises(ConfigError, match=r"expected data\.store to be a view store.* or data\.live"):
        open_data(replace(config, data=ViewsData()))
    with pytest.raises(ConfigError, match=r"unknown key 'data\.live"):
        load_config("lidar/strl", ["--data.live.meshes", "procedural"])


def test_a_renderer_in_the_training_process_has_no_workers(config, monkeypatch) -> None:
    monkeypatch.setattr("equissl.renderers.raycast.RaycastRenderer.render_batch", print, raising=False)
    views = open_data(config)
    assert isinstance(views, LiveViews) and views.in_training_process
    with pytest.raises(ConfigError, match=r"'raycast' draws in the training process: expected data\.workers 0, got 2"):
        open_data(config, workers=2)
