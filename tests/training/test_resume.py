"""A run may be killed at any moment: what it ends with must not depend on it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.methods import METHODS, StepOutput, VICReg
from equissl.runs import ConfigError, load_method, read_checkpoint, read_metrics
from equissl.runs.checkpoint import OURS
from equissl.training import TrainingDivergedError, pretrain
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.training.signals import SAME
from equissl.util.runfolder import LAST

TINY = {"encoder": {"width": 4}, "projector": [16, 16]}


class Killed(BaseException):
    """Stands for a process that ends without a chance to save."""


class KillAt(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_batch(self, loop: Loop, batch: ViewBatch) -> None:
        if loop.step == self.step:
            raise Killed


class Noisy(VICReg):
    """Draws random numbers in every step, as augmentations and dropout do."""

    def step(self, batch: ViewBatch) -> StepOutput:
        output = super().step(batch)
        return replace(output, loss=output.loss * (0.5 + torch.rand(())))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / LAST)["state_dict"]


def rows(run: Path) -> list[tuple[str, ...]]:
    """Rows of metrics.csv without clock times."""
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    return [(s, v, name, value) for s, v, _, name, value in lines if not name.startswith("time/")]


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(METHODS, "Noisy", Noisy)
    return "Noisy"


@pytest.mark.parametrize(("killed_at", "accumulate"), [(8, 1), (3, 1), (7, 2)])
def test_killed_run_continues_to_the_same_bits(make_config, noisy, tmp_path, killed_at, accumulate) -> None:
    # 6 batches in an epoch, checkpoints at 5, 10, 12: resumed in the middle of an epoch, or from nothing
    config = make_config(noisy, accumulate=accumulate)
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt(killed_at)])
    cut = pretrain(config, tmp_path / "cut")
    expected, found = weights(whole), weights(cut)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert rows(whole) == rows(cut)


OBJECTIVES = {
    # a queue inside of another objective, and a drawn extrapolation
    "hallucinator": {"objective": {"name": "moco", "options": {"queue": 10}}},
    "hydra": {"classes": 55, "width": 8, "hidden": 8},  # drawn pairs, and a gate with batch norm
    "moco": {"queue": 10},  # a teacher and a queue
    "swav": {"prototypes": 6, "freeze": 3, "queue": 16},  # prototypes put back on the sphere after every step
    "w_mse": {"eps": 0.5, "chunk": 2},  # random partitions
    "inter_clr": {"samples": 24, "clusters": 2, "min_members": 2, "queue": 16, "negatives": 4, "pool_size": 8},
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_state_of_objectives_resumes_to_the_same_bits(make_config, tmp_path, name) -> None:
    objective = {"name": name, "options": OBJECTIVES[name]}
    config = make_config("Invariant", {**TINY, "objective": objective})
    assert any(key.startswith("method.objective.") for key in resumed(config, tmp_path))


def test_vocabulary_and_teacher_of_obow_resume_to_the_same_bits(make_config, tmp_path) -> None:
    settings = {"encoder": {"width": 4}, "words": 8, "small_crops": 1, "small_size": 32, "small_scale": [0.2, 0.4]}
    config = make_config("OBoW", settings, accumulate=2, max_steps=8)
    state = resumed(config, tmp_path, killed_at=7)
    assert int(state["method.vocabularies.0.written"]) == 8 * 2 * 4 == 4 * int(state["method.draws"])


def resumed(config, tmp_path: Path, killed_at: int = 8) -> dict[str, torch.Tensor]:
    """Weights of a run, after comparing them with those of one that was killed beyond the checkpoint of step 5."""
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt(killed_at)])
    expected, found = weights(whole), weights(pretrain(config, tmp_path / "cut"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    return expected


VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "options": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
}
MASKED = {"encoder": VIT, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 1}
DRAWING = {"CMIM": {"encoder": {"width": 4}, "code_dim": 4, "decoder_width": 2}, "MAE": MASKED, "MixedAE": MASKED}


@pytest.mark.parametrize("name", DRAWING)
def test_codes_and_masks_resume_to_the_same_bits(make_config, tmp_path, name) -> None:
    config = make_config(name, DRAWING[name])
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt(8)])
    expected, found = weights(whole), weights(pretrain(config, tmp_path / "cut"))
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert rows(whole) == rows(tmp_path / "cut")


@pytest.mark.parametrize("options", [{"init": "identity"}, {"residual": True}])
def test_whitening_of_actions_resumes_to_the_same_bits(make_config, tmp_path, caplog, options) -> None:
    caplog.set_level("INFO", "equissl")
    settings = {**TINY, "action": "rotmat", "whiten_actions": True, "predictor_options": options}
    config = make_config("SIE", settings)
    whole = pretrain(config, tmp_path / "whole")
    assert f"shortcut share {'0.000' if 'residual' in options else '1.000'} of 1" in caplog.text
    assert ("costs this predictor little" in caplog.text) is ("residual" in options)
    ((step, share),) = read_metrics(whole)["collapse/shortcut_share"]
    assert step == 1 and share == pytest.approx(0 if "residual" in options else 1, abs=1e-6)
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt(8)])
    expected, found = weights(whole), weights(pretrain(config, tmp_path / "cut"))
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert rows(whole) == rows(tmp_path / "cut")
    method, _ = load_method(whole)
    assert method.action.mean.abs().sum() > 0 and not torch.equal(method.action.whitening, torch.eye(9))


def test_teacher_moves_after_every_optimiser_step(make_config, tmp_path) -> None:
    options = {"hidden": 8, "momentum": [0.0, 0.0]}  # the teacher is a copy of the network after each step
    config = make_config("Invariant", {**TINY, "objective": {"name": "byol", "options": options}}, max_steps=3)
    state = weights(pretrain(config, tmp_path))
    taught = {key.replace("teacher.networks.", ""): value for key, value in state.items() if "teacher" in key}
    assert len(taught) > 20 and all(torch.equal(state[key], value) for key, value in taught.items())


def test_probes_and_optimizer_resume_to_the_same_bits(make_config, tmp_path) -> None:
    config = make_config()
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(config, tmp_path / "cut", [KillAt(9)])
    cut = pretrain(config, tmp_path / "cut")
    a, b = (read_checkpoint(run / LAST) for run in (whole, cut))
    assert torch.equal(
        a["observers"]["OnlineProbes"]["heads"]["rotation.0.weight"],
        b["observers"]["OnlineProbes"]["heads"]["rotation.0.weight"],
    )
    moments = [c["optimizer"]["state"][0] for c in (a, b)]
    assert torch.equal(moments[0]["exp_avg_sq"], moments[1]["exp_avg_sq"])
    assert moments[0]["step"] == moments[1]["step"] == 12


def test_metrics_have_no_gap_and_no_repeat(make_config, tmp_path) -> None:
    config = make_config(log_every=1)
    for step in (3, 6, 8, 11):
        with pytest.raises(Killed):
            pretrain(config, tmp_path, [KillAt(step)])
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("11,88,1.0,train/lo")  # half a line
    pretrain(config, tmp_path)
    assert [step for step, _ in read_metrics(tmp_path)["train/loss"]] == list(range(1, 13))
    assert read_metrics(tmp_path)["views_seen"][-1] == (12, 12 * 4 * 2)


def test_finished_run_says_so_and_stays(make_config, tmp_path, caplog) -> None:
    pretrain(make_config(), tmp_path)
    before = (tmp_path / LAST).read_bytes()
    with caplog.at_level("INFO", logger="equissl"):
        pretrain(make_config(), tmp_path)
    assert "complete, 12 of 12 steps" in caplog.text
    assert (tmp_path / LAST).read_bytes() == before


def test_longer_run_continues(make_config, tmp_path) -> None:
    pretrain(make_config(max_steps=5), tmp_path / "short")
    longer = pretrain(make_config(max_steps=12), tmp_path / "short")
    whole = pretrain(make_config(max_steps=12), tmp_path / "whole")
    expected, found = weights(whole), weights(longer)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert "max_steps: 12" in (longer / "config.yaml").read_text()


def test_other_config_in_the_same_folder_is_refused(make_config, tmp_path) -> None:
    pretrain(make_config(max_steps=2), tmp_path)
    changed = make_config(max_steps=4, accumulate=2)
    changed.method.init_args["sim"] = 5.0
    with pytest.raises(ConfigError) as caught:
        pretrain(changed, tmp_path)
    message = str(caught.value)
    assert "method.init_args.sim: was 10.0, now 5.0" in message
    assert "trainer.accumulate: was 1, now 2" in message
    assert "max_steps" not in message
    with pytest.raises(ConfigError, match="max_steps: was 2, now 1"):
        pretrain(make_config(max_steps=1), tmp_path)


def test_saved_config_runs_again_to_the_same_bits(make_config, tmp_path) -> None:
    from equissl.runs import load_config

    first = pretrain(make_config(), tmp_path / "first")
    again = pretrain(load_config(first / "config.yaml"), tmp_path / "again")
    expected, found = weights(first), weights(again)
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_probes_do_not_change_the_method(make_config, tmp_path) -> None:
    config = make_config()
    off = replace(config, probes=replace(config.probes, enabled=False), collapse=replace(config.collapse, every=0))
    with_probes, without = pretrain(config, tmp_path / "with"), pretrain(off, tmp_path / "without")
    expected, found = weights(with_probes), weights(without)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert "online/top1" not in read_metrics(without)


class NanAt(VICReg):
    bad_step = 8
    count = 0

    def step(self, batch: ViewBatch) -> StepOutput:
        output = super().step(batch)
        self.count += 1
        return replace(output, loss=output.loss * float("nan")) if self.count == self.bad_step else output


def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(make_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(METHODS, "NanAt", NanAt)
    with pytest.raises(TrainingDivergedError, match=r"loss is nan at step 8 .*last good checkpoint is of step 5"):
        pretrain(make_config("NanAt"), tmp_path)
    assert read_checkpoint(tmp_path / LAST)[OURS]["step"] == 5
    method, _ = load_method(tmp_path)
    assert all(torch.isfinite(p).all() for p in method.parameters())


class Poison(Observer):
    """A weight becomes NaN while the loss of the step was finite."""

    def after_batch(self, loop: Loop, batch: ViewBatch) -> None:
        if loop.step == 10:
            next(loop.method.parameters()).data.fill_(float("nan"))


def test_nan_weights_are_never_saved(make_config, tmp_path) -> None:
    with pytest.raises(TrainingDivergedError, match="weights are NaN or infinite after step 10"):
        pretrain(make_config(), tmp_path, [Poison()])
    assert read_checkpoint(tmp_path / LAST)[OURS]["step"] == 5


class Interrupt(Observer):
    def __init__(self, number: int) -> None:
        self.number = number

    def before_batch(self, loop: Loop, batch: ViewBatch) -> None:
        if loop.step == 6:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_saves_first(make_config, tmp_path, number) -> None:
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(), tmp_path / "cut", [Interrupt(number)])
    assert signal.getsignal(number) == handler
    assert read_checkpoint(tmp_path / "cut" / LAST)[OURS]["step"] == 7
    whole, cut = pretrain(make_config(), tmp_path / "whole"), pretrain(make_config(), tmp_path / "cut")
    expected, found = weights(whole), weights(cut)
    assert all(torch.equal(expected[key], found[key]) for key in expected)


class InterruptTwice(Observer):
    def before_batch(self, loop: Loop, batch: ViewBatch) -> None:
        if loop.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.5 * SAME)
            os.kill(os.getpid(), signal.SIGINT)


def test_second_interrupt_stops_at_once(make_config, tmp_path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(), tmp_path, [InterruptTwice()])
    assert signal.getsignal(signal.SIGINT) == handler
    assert read_checkpoint(tmp_path / LAST)[OURS]["step"] == 5


def test_a_failed_save_leaves_the_old_checkpoint(make_config, tmp_path, monkeypatch) -> None:
    pretrain(make_config(max_steps=5), tmp_path)
    before = (tmp_path / LAST).read_bytes()

    def full(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("equissl.training.saving.torch.save", full)
    with pytest.raises(OSError, match=r"No space left on device.*step 5"):
        pretrain(make_config(max_steps=12), tmp_path)
    assert (tmp_path / LAST).read_bytes() == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
