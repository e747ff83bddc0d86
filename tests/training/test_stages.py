"""Stages with negatives from clusters of those before (MCL): runs, groups between them, and what joins them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equissl.datasets.groups import read_groups, read_stages, write_groups
from equissl.evaluation import evaluate
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig
from equissl.losses import unit_norm
from equissl.runs import ConfigError, load_method, read_metrics, resolve_config
from equissl.runs.checkpoint import run_config
from equissl.training import pretrain
from equissl.training.observers import Observer
from equissl.training.stages import JOINED, SEEDS, train_stages

ENCODER = {"name": "resnet18", "width": 4, "stem": "nopool"}


@pytest.fixture(scope="module")
def make_images_config(tiny_store: Path):
    """24 training objects of 4 views: 96 images."""

    def make(method: str = "SimCLR", objective: str | None = None, steps: int = 4, **data: Any):
        init_args: dict[str, Any] = {"encoder": ENCODER, "projector": [8, 8]}
        if objective:
            init_args["objective"] = {"name": objective}
        tree = {
            "method": {"class_path": method, "init_args": init_args},
            "data": {"kind": "images", "root": str(tiny_store), "batch_size": 4, **data},
            "trainer": {"max_steps": steps, "log_every": 2, "loggers": ["csv"], "threads": 1, "precision": "32"},
            "probes": {"enabled": False},
        }
        return resolve_config(tree)

    return make


@pytest.fixture
def config(make_images_config):
    return make_images_config


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


class Stop(Observer):
    """Interrupts training after a step, before it is saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, loop: Any, batch: Any) -> None:
        if loop.step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(make_images_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stages of 4 steps, with 3 clusters each."""
    out = tmp_path_factory.mktemp("stages")
    assert train_stages(make_images_config(), out, stages=3, clusters=3) == out / JOINED
    return out


def test_stages_are_runs_and_their_representations_are_joined(trained: Path) -> None:
    joined = trained / JOINED
    runs = [trained / f"stage_{stage}" for stage in range(3)]
    assert [run_config(run).data.groups for run in runs] == [
        None,
        *(str(run / "groups.npz") for run in runs[:2]),
    ]
    assert [run_config(run).seed for run in runs] == [0, SEEDS, 2 * SEEDS]
    assert not (runs[2] / "groups.npz").exists()
    labels, clusters, facts = read_stages(runs[1] / "groups.npz")
    assert labels.shape == (96, 2) and clusters == [3, 3] and facts["step"] == 4
    assert (labels[:, :1] == read_stages(runs[0] / "groups.npz")[0]).all()

    method, _ = load_method(joined)
    images = torch.rand(5, 3, 32, 32)
    parts = method.features(images)
    stages = [load_method(run)[0].features(images)["all"] for run in runs]
    for stage, expected in enumerate(stages):
        torch.testing.assert_close(parts[f"stage_{stage}"], expected)
    torch.testing.assert_close(parts["all"], unit_norm(torch.cat(stages, dim=1)))
    options = ImageOptions(
        views=EvaluateConfig(protocols=["classification"], classification=LinearProbeConfig(steps=3))
    )
    results = evaluate(joined, options)
    assert all(0 <= results[f"classification/{part}/top1"] <= 1 for part in ("all", "stage_0", "stage_1", "stage_2"))
    with pytest.raises(ConfigError, match="nothing to continue from"):
        pretrain(run_config(joined), joined)


def test_unit_vectors_have_the_mean_of_the_stages_cosines() -> None:
    a, b = (unit_norm(torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(s)).double()) for s in (0, 1))
    joined = [unit_norm(x.flatten(1)) for x in (a, b)]
    torch.testing.assert_close((joined[0] * joined[1]).sum(1), (a * b).sum(2).mean(1))


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stop_in_the_middle_of_a_stage_changes_nothing(config, tmp_path: Path, stopped: int, monkeypatch) -> None:
    import equissl.training.stages as module

    small = replace(config(steps=6), trainer=replace(config(steps=6).trainer, checkpoint_every=2))
    straight = train_stages(small, tmp_path / "straight", stages=2, clusters=3)

    def stopping(config: Any, out: Path) -> Path:
        return pretrain(config, out, [Stop(5)] if out.name == f"stage_{stopped}" else [])

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "pretrain", stopping)
        train_stages(small, tmp_path / "again", stages=2, clusters=3)
    assert not (tmp_path / "again" / JOINED).exists()
    again = train_stages(small, tmp_path / "again", stages=2, clusters=3)
    one, other = weights(straight), weights(again)
    assert all(torch.equal(one[key], other[key]) for key in one if "encoder" in key)


def test_labels_are_made_once_and_not_with_other_settings(config, trained: Path) -> None:
    before = (trained / "stage_0" / "groups.npz").stat().st_mtime_ns
    train_stages(config(), trained, stages=3, clusters=3)
    assert (trained / "stage_0" / "groups.npz").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"'clusters': 3}, now .*'clusters': 4}"):
        train_stages(config(), trained, stages=3, clusters=4)
    with pytest.raises(ConfigError, match=r"'part': 'all'.* now .*'part': 'embedding'"):
        train_stages(config(), trained, stages=3, clusters=3, part="embedding")


def test_a_stage_that_is_trained_further_does_not_keep_its_labels(config, tmp_path: Path) -> None:
    train_stages(config(steps=1), tmp_path, stages=2, clusters=3)
    with pytest.raises(ConfigError, match=r"'step': 1.* now .*'step': 2"):
        train_stages(config(steps=2), tmp_path, stages=2, clusters=3)


def test_objects_are_clustered_too(config, tiny_store: Path, tmp_path: Path) -> None:
    tree = config().to_dict()
    tree["data"] = {"kind": "views", "store": str(tiny_store), "batch_size": 4}
    train_stages(resolve_config(tree), tmp_path, stages=2, clusters=2)
    assert read_groups(tmp_path / "stage_0" / "groups.npz", 24).max() < 2


def test_mask_and_batches_train_alike_on_one_group(config, tmp_path: Path) -> None:
    """With every item in one group batches are the ordinary ones, to the bit, and the mask leaves nothing out."""
    np.save(tmp_path / "one.npy", np.zeros(96, int))
    plain = pretrain(config("Invariant", "nt_xent"), tmp_path / "plain")
    batches = pretrain(config("Invariant", "nt_xent", groups=str(tmp_path / "one.npy")), tmp_path / "batches")
    one, other = weights(plain), weights(batches)
    assert all(torch.equal(one[key], other[key]) for key in one)
    masked = config("Invariant", "group_nt_xent", groups=str(tmp_path / "one.npy"), group_mask=True)
    curves = [read_metrics(run) for run in (plain, pretrain(masked, tmp_path / "masked"))]
    assert curves[1]["train/group_nt_xent"][0][1] == pytest.approx(curves[0]["train/nt_xent"][0][1], rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "data", "message"),
    [
        ("nt_xent", {"groups": "absent.npz"}, "expected labels of stages"),
        ("nt_xent", {"groups": "two.npy", "group_mask": True}, "one that does not"),
        ("group_nt_xent", {"groups": "two.npy"}, "an objective that needs groups"),
        ("group_nt_xent", {}, "an objective that needs groups"),
        ("nt_xent", {"groups": "two.npy", "batch_size": 64}, "the largest of its 2 has 48"),
        ("nt_xent", {"groups": "two.npy", "drop_last": False}, "the tail of a group"),
        ("nt_xent", {"groups": "two.npy", "replicate": 2}, "without copies"),
    ],
)
def test_impossible_groups(config, tmp_path: Path, objective: str, data: dict, message: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("two.npy", np.arange(96) % 2)
    with pytest.raises(ConfigError, match=message):
        pretrain(config("Invariant", objective, **data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_impossible_stages(config, tmp_path: Path, monkeypatch) -> None:
    for options in ({"stages": 0}, {"clusters": 1}):
        with pytest.raises(ConfigError, match="at least 1 stage and 2 clusters"):
            train_stages(config(), tmp_path, **options)
    write_groups(tmp_path / "g.npz", np.zeros((96, 1), int), [2])
    with pytest.raises(ConfigError, match=r"expected no data\.groups"):
        train_stages(config(groups=str(tmp_path / "g.npz")), tmp_path)
    with pytest.raises(ConfigError, match="part of SimCLR's features"):
        train_stages(config(), tmp_path / "part", part="equi")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match=r"trainer\.devices"):
        train_stages(config(), tmp_path)
