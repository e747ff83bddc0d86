"""Two processes on the CPU: the same curves as one process on the joined batch, one log, one checkpoint."""

from __future__ import annotations

import pytest

from equissl.runs import load_method, read_checkpoint, read_metrics
from equissl.training import pretrain
from equissl.training.launch import ProcessError
from equissl.util.runfolder import LAST


@pytest.mark.slow
def test_two_processes_train_as_one(make_config, tmp_path) -> None:
    one = pretrain(make_config(max_steps=1), tmp_path / "one")
    two = pretrain(make_config(max_steps=1, log_every=1, devices=2, threads=1), tmp_path / "two")
    expected, found = read_metrics(one)["train/loss"], read_metrics(two)["train/loss"]
    assert [step for step, _ in found] == [1]
    assert found[0][1] == pytest.approx(expected[0][1], rel=1e-5)
    assert read_metrics(two)["views_seen"] == [(1, 4 * 2)]
    assert [p.name for p in (two / "checkpoints").iterdir()] == ["last.ckpt"]
    assert load_method(one)[0].state_dict().keys() == load_method(two)[0].state_dict().keys()
    # after one step Adam's first moment is a tenth of the gradient; the weights themselves hide its size
    a, b = (read_checkpoint(run / LAST)["optimizer"]["state"] for run in (one, two))
    for state_one, state_two in zip(a.values(), b.values(), strict=True):
        scale = float(state_one["exp_avg"].abs().max())
        if scale > 1e-5:  # below, the gradient is zero but for rounding
            # Twenty batch norms, each over as few as 8 numbers, divide by spreads and subtract means: of the 7 digits
            # of float32, 3 to 4 are left (2e-4 off at most, Intel and AMD). A halved gradient changes the first,
            # and so do norms over half of the batch: then every tensor is off by two thirds or more.
            assert float((state_one["exp_avg"] - state_two["exp_avg"]).abs().max()) < 1e-2 * scale
    # and they continue
    pretrain(make_config(max_steps=3, log_every=1, devices=2, threads=1), two)
    assert [step for step, _ in read_metrics(two)["train/loss"]] == [1, 2, 3]


@pytest.mark.slow
def test_error_in_a_process_comes_back(make_config, tmp_path) -> None:
    config = make_config(devices=2, threads=1)
    config.data.batch_size = 3
    with pytest.raises(ProcessError, match="multiple of the 2 processes, got 3"):
        pretrain(config, tmp_path)
