"""Each logger writes the curves of a run, continues after a kill, and says what is missing."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from equissl.runs import ConfigError, read_metrics
from equissl.training import pretrain
from equissl.training.loggers import LOGGERS, Logger, create_loggers
from equissl.training.loop import Loop
from equissl.training.observers import Observer


class Killed(BaseException):
    pass


class KillAt(Observer):
    def after_batch(self, loop: Loop, batch: object) -> None:
        if loop.step == 8:
            raise Killed


class Memory(Logger):
    """A user's own, found by its import path."""

    rows: ClassVar[list[tuple]] = []

    def open(self, step: int) -> None:
        self.rows.append(("open", step))

    def write(self, step: int, views: int, seconds: float, values: Mapping[str, float]) -> None:
        self.rows.append((step, views, values["train/loss"]))

    def close(self, finished: bool) -> None:
        self.rows.append(("close", finished))


def interrupted(config, out: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves of a run that was killed after step 8 and continued from step 5."""
    with pytest.raises(Killed):
        pretrain(config, out, [KillAt()])
    return read_metrics(pretrain(config, out))


def test_csv_is_always_written(tmp_path) -> None:
    assert [type(found).__name__ for found in create_loggers([], tmp_path, {})] == ["CsvLogger"]
    names = [type(found).__name__ for found in create_loggers(["tensorboard", "csv"], tmp_path, {})]
    assert names == ["CsvLogger", "TensorBoardLogger"]


def test_a_logger_of_ones_own(make_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(LOGGERS._known, "memory", Memory)
    monkeypatch.setattr(Memory, "rows", [])
    curves = interrupted(make_config(loggers=["memory"]), tmp_path)
    losses = dict(curves["train/loss"])
    rows = [(step, 8 * step, losses[step]) for step in (1, 4, 8, 12)]
    again = [("open", 5), *rows[2:], ("close", True)]
    assert Memory.rows == [("open", 0), *rows[:3], ("close", False), *again]


def test_an_unknown_logger_is_named(make_config, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"unknown logger 'wnadb' \(did you mean 'wandb'\?\)"):
        pretrain(make_config(loggers=["wnadb"]), tmp_path)


@pytest.mark.parametrize(("name", "install"), [("wandb", "equissl[wandb]"), ("mlflow", "equissl[mlflow]")])
def test_a_missing_library_says_what_to_install(tmp_path, monkeypatch, name, install) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        create_loggers([name], tmp_path, {})
    assert f"{name} is not installed" in str(caught.value) and f"pip install '{install}'" in str(caught.value)


def test_tensorboard_purges_what_comes_again(make_config, tmp_path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    curves = interrupted(make_config(loggers=["tensorboard"]), tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(e.step, e.value) for e in events.Scalars("train/loss")]
    assert [step for step, _ in found] == [1, 4, 8, 12]
    assert [v for _, v in found] == pytest.approx([v for _, v in curves["train/loss"]], rel=1e-6)


def wandb_rows(file: Path) -> dict[int, dict[str, float]]:
    """Rows of an offline file by step: protobuf records in LevelDB's log format, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, rows, record = file.read_bytes(), 7, {}, b""
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:  # no room for a header: padding
            at += left
            continue
        _, length, part = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # whole, or the last part
            history = Record.FromString(record).history
            row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in history.item}
            rows |= {history.step.num: row} if row else {}
            record = b""
    return rows


def test_wandb_offline(make_config, tmp_path, monkeypatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    curves = interrupted(make_config(loggers=["wandb"]), tmp_path / "run")
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    id = (tmp_path / "run" / "wandb" / "id.txt").read_text().strip()
    assert len(files) == 2 and all(file.name == f"run-{id}.wandb" for file in files)
    found = [{step: row["train/loss"] for step, row in wandb_rows(file).items()} for file in files]
    expected = dict(curves["train/loss"])
    assert found == [{s: expected[s] for s in (1, 4, 8)}, {s: expected[s] for s in (8, 12)}]


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_mlflow_in_a_local_store(make_config, tmp_path, monkeypatch, scheme) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    if scheme == "sqlite":
        pytest.importorskip("sqlalchemy", reason="sqlite stores need the whole of mlflow")
        pytest.importorskip("alembic", reason="sqlite stores need the whole of mlflow")
    uri = f"file:{tmp_path}/mlruns" if scheme == "file" else f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(None)
    curves = interrupted(make_config(loggers=["mlflow"]), tmp_path / "run")
    client = mlflow.MlflowClient(uri)
    id = (tmp_path / "run" / "mlflow.txt").read_text().strip()
    found = client.get_run(id)
    assert found.info.status == "FINISHED" and found.data.params["trainer.max_steps"] == "12"
    assert client.get_experiment(found.info.experiment_id).name == "equissl"
    history = client.get_metric_history(id, "train/loss")
    assert {(m.step, m.value) for m in history} == set(curves["train/loss"])
