"""Signals save and stop a run, whichever of its processes they reach, and leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from equissl.runs import PretrainConfig, read_checkpoint, save_config
from equissl.runs.checkpoint import OURS
from equissl.training import pretrain
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.training.signals import requeue_job
from equissl.util.runfolder import LAST

LONG = 100_000
PATIENCE = 600  # seconds; machines are busy


class SignalAt(Observer):
    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def before_batch(self, loop: Loop, batch: object) -> None:
        if loop.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that writes down what it is asked for."""
    program, asked = tmp_path / "bin" / "scontrol", tmp_path / "asked.txt"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return asked


def test_usr1_saves_once_and_queues_the_job_again(make_config, tmp_path, monkeypatch, scontrol) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    handler = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(), tmp_path / "cut", [SignalAt(6, signal.SIGUSR1)])
    assert scontrol.read_text() == "requeue 4711\n"
    assert signal.getsignal(signal.SIGUSR1) == handler
    assert read_checkpoint(tmp_path / "cut" / LAST)[OURS]["step"] == 7
    whole, cut = (pretrain(make_config(), tmp_path / name) for name in ("whole", "cut"))
    expected, found = (read_checkpoint(run / LAST)["state_dict"] for run in (whole, cut))
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_term_does_not_queue_the_job_again(make_config, tmp_path, monkeypatch, scontrol) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(), tmp_path / "cut", [SignalAt(6, signal.SIGTERM)])
    assert not scontrol.exists()


def test_usr1_without_slurm_only_saves(make_config, tmp_path, monkeypatch, scontrol) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(), tmp_path / "cut", [SignalAt(6, signal.SIGUSR1)])
    assert not scontrol.exists()


def test_a_job_that_slurm_does_not_take_back_is_reported(monkeypatch, scontrol, caplog) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    program = scontrol.parent / "bin" / "scontrol"
    program.write_text("#!/bin/sh\necho Invalid job id >&2\nexit 1\n")
    requeue_job()
    assert "could not queue job 4711 again: Invalid job id" in caplog.text
    program.unlink()
    monkeypatch.setenv("PATH", str(program.parent))
    requeue_job()
    assert "No such file or directory: 'scontrol'" in caplog.text


class Program:
    """`equissl pretrain` with two processes, in a process group of its own."""

    def __init__(self, config: PretrainConfig, folder: Path) -> None:
        self.run = folder / "run"
        save_config(config, folder / "config.yaml")
        words = ["-m", "equissl", "pretrain", "--config", str(folder / "config.yaml"), "--out", str(self.run)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, *words], env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
        )

    def trainers(self) -> list[int]:
        """Ids of the training processes; the launcher's other child watches shared memory."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(p) for p in children if b"resource_tracker" not in Path(f"/proc/{p}/cmdline").read_bytes()]

    def alive(self) -> list[int]:
        """Processes of the group that have not ended."""
        found = subprocess.run(["ps", "-o", "pid=,stat=", "-g", str(self.process.pid)], capture_output=True, text=True)
        return [int(line.split()[0]) for line in found.stdout.splitlines() if not line.split()[1].startswith("Z")]

    def steps(self) -> int:
        """Rows of the log so far."""
        file = self.run / "metrics.csv"
        return file.read_text().count("train/loss") if file.is_file() else 0

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.1)


@pytest.fixture
def program(make_config, tmp_path) -> Callable[[], Iterator[Program]]:
    @contextmanager
    def start() -> Iterator[Program]:
        config = make_config(max_steps=LONG, devices=2, threads=1, log_every=1, checkpoint_every=LONG)
        program = Program(replace(config, probes=replace(config.probes, enabled=False)), tmp_path)
        try:
            program.wait(lambda: program.steps() > 3 or program.process.poll() is not None)
            yield program
        finally:
            if program.process.poll() is None or program.alive():
                os.killpg(program.process.pid, signal.SIGKILL)
            program.process.communicate()

    return start


@pytest.mark.slow
@pytest.mark.parametrize("target", ["launcher", "second", "group"])
def test_a_signal_to_any_process_saves_once_and_ends_all(program, scontrol, monkeypatch, target) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with program() as running:
        if target == "group":  # Ctrl-C in a terminal reaches all processes, and the launcher hands it on as well
            os.killpg(running.process.pid, signal.SIGINT)
        else:
            pid = running.process.pid if target == "launcher" else running.trainers()[1]
            os.kill(pid, signal.SIGUSR1)
        _, said = running.process.communicate(timeout=PATIENCE)
        assert running.process.returncode == 130, said
        assert "interrupted" in said and "Traceback" not in said
        running.wait(lambda: not running.alive())
        saved = read_checkpoint(running.run / LAST)[OURS]
        assert 3 < saved["step"] < LONG and len(saved["random"]) == 2
        if target == "group":
            assert not scontrol.exists()
        else:
            assert scontrol.read_text() == "requeue 12\n"


@pytest.mark.slow
def test_processes_end_with_their_launcher(program) -> None:
    with program() as running:
        assert len(running.trainers()) == 2
        running.process.kill()
        running.process.wait()
        running.wait(lambda: not running.alive())
