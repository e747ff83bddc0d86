"""Reading checkpoints: the same weights come back, and nothing else is ever accepted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equissl.runs import CheckpointError, load_method
from equissl.runs.checkpoint import OURS, read_saved, run_config
from equissl.training import pretrain
from equissl.util.runfolder import LAST


@pytest.fixture
def run(make_config, tmp_path):
    return pretrain(make_config(max_steps=2), tmp_path / "run")


def edit(run, change) -> None:
    checkpoint = torch.load(run / LAST, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, run / LAST)


def test_method_comes_back_in_eval_mode(run) -> None:
    method, config = load_method(run)
    assert not method.training
    assert type(method).__name__ == "SIE"
    assert config.method.init_args["encoder"]["width"] == 4
    saved = torch.load(run / LAST, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[f"method.{key}"]) for key, value in method.state_dict().items())
    alone, _ = load_method(run / LAST)  # a file without its folder
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), method.parameters(), strict=True))


def test_checkpoint_records_where_it_came_from(run) -> None:
    ours = torch.load(run / LAST, weights_only=True)[OURS]
    assert ours["step"] == 2
    assert ours["views"] == 2 * 4 * 2
    assert ours["versions"]["torch"] == torch.__version__
    assert ours["config"]["seed"] == 0


def test_compiled_names_are_accepted(run) -> None:
    before, _ = load_method(run)

    def compiled(checkpoint) -> None:
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {
            key.replace("method.encoder.", "method.encoder._orig_mod."): value for key, value in weights.items()
        }

    edit(run, compiled)
    after, _ = load_method(run)
    assert all(torch.equal(a, b) for a, b in zip(after.parameters(), before.parameters(), strict=True))


def test_other_shape_is_refused_with_both_shapes(run) -> None:
    def widen(checkpoint) -> None:
        checkpoint[OURS]["config"]["method"]["init_args"]["encoder"]["width"] = 8

    edit(run, widen)
    with pytest.raises(CheckpointError, match=r"encoder.conv1.weight: expected shape \(8, .*found \(4, "):
        load_method(run)


def test_missing_and_unexpected_weights_are_named(run) -> None:
    def swap(checkpoint) -> None:
        weights = checkpoint["state_dict"]
        weights["method.stranger"] = weights.pop("method.encoder.conv1.weight")

    edit(run, swap)
    with pytest.raises(CheckpointError, match=r"(?s)missing encoder.conv1.weight.*unexpected stranger"):
        load_method(run)


def test_foreign_and_damaged_files_are_refused(run, tmp_path) -> None:
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"model": torch.zeros(2)}, foreign)
    with pytest.raises(
        CheckpointError, match=r"expected a checkpoint of `equissl pretrain`, got a file with \['model'\]"
    ):
        load_method(foreign)
    foreign.write_bytes(b"not a checkpoint at all")
    with pytest.raises(CheckpointError, match="cannot"):
        load_method(foreign)
    data = (run / LAST).read_bytes()
    (run / LAST).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="cannot"):
        load_method(run)


def lightning(checkpoint) -> dict:
    """The same run as Lightning would have written it: its own names for all but the weights."""
    ours = {key: value for key, value in checkpoint[OURS].items() if key != "random"}
    beside = {"epoch": 0, "global_step": 2, "pytorch-lightning_version": "2.6.6", "loops": {}, "callbacks": {}}
    return {**beside, "optimizer_states": [], "state_dict": checkpoint["state_dict"], OURS: ours}


def test_a_checkpoint_of_another_loop_is_evaluated_but_not_continued(run, make_config) -> None:
    torch.save(lightning(torch.load(run / LAST, weights_only=True)), run / LAST)
    assert type(load_method(run)[0]).__name__ == "SIE"
    with pytest.raises(
        CheckpointError, match=r"(?s)to continue from.*optimizer, scaler, observers, step, random missing"
    ):
        pretrain(make_config(max_steps=4), run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop(OURS), r"expected a checkpoint of `equissl pretrain`, got a file with \['callbacks'"),
        (lambda c: c[OURS].pop("config"), r"with config, step under 'equissl'; got \['seconds'.*without config"),
        (lambda c: c.update({OURS: "0.0.1"}), r"got str there, without config, step"),
        (lambda c: c[OURS].update(config={"model": {}}), r"names its method.class_path; got \['model'\]"),
        (lambda c: c[OURS].update(config={"method": "SIE"}), r"names its method.class_path; got \['method'\]"),
        (lambda c: c.update(state_dict={"model.conv1.weight": torch.ones(1)}), r"begin with 'method.'; got \['model"),
        (lambda c: c.update(state_dict=torch.ones(1)), r"begin with 'method.'; got Tensor"),
    ],
)
def test_other_layouts_are_refused_by_every_reader(run, make_config, change, message) -> None:
    content = lightning(torch.load(run / LAST, weights_only=True))
    change(content)
    torch.save(content, run / LAST)
    for reader in (load_method, run_config, read_saved, lambda path: pretrain(make_config(max_steps=4), path)):
        with pytest.raises(CheckpointError, match=message):
            reader(run)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_checkpoint_is_not_executed(tmp_path, capsys) -> None:
    torch.save({"state_dict": Evil(), OURS: {}}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError):
        load_method(tmp_path / "evil.ckpt")
    assert "executed" not in capsys.readouterr().out


def test_missing_run_says_what_is_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no run at"):
        load_method(tmp_path / "nothing")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"the folder holds \['notes.txt'\]"):
        load_method(tmp_path)


@pytest.mark.slow
def test_compiled_run_loads_into_a_plain_method(make_config, tmp_path, monkeypatch) -> None:
    whole = nn.Module.compile  # tracing and the names are under test, not the minutes of code generation
    monkeypatch.setattr(nn.Module, "compile", lambda self: whole(self, backend="eager"))
    run = pretrain(make_config(max_steps=2, compile=True), tmp_path)
    keys = torch.load(run / LAST, weights_only=True)["state_dict"]
    assert not any("_orig_mod" in key for key in keys)
    load_method(run)
