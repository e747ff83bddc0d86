"""The program: help, errors, exit codes, and a run through its verbs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_store import write_synthetic_store

from equissl import cli


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_store(tmp_path_factory.mktemp("cli") / "tiny.h5", objects=32, views=4, size=32)


def flags(store: Path) -> list[str]:
    values = {
        "--data.store": str(store), "--data.batch_size": "4", "--trainer.max_steps": "3", "--trainer.precision": "32",
        "--method.encoder.width": "4", "--method.projector": "[16]", "--trainer.loggers": "[csv]",
    }  # fmt: skip
    return [word for pair in values.items() for word in pair]


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from equissl.cli import main; main(['--help']); "
        "print([m for m in ('torch', 'numpy', 'jsonargparse') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert all(f"  {verb} " in done.stdout for verb in cli.VERBS)


def test_verbs_of_the_documentation() -> None:
    assert set(cli.VERBS) == {
        "demo",
        "render",
        "pack",
        "unpack",
        "ingest",
        "simulate",
        "flow",
        "pretrain",
        "stages",
        "finetune",
        "evaluate",
        "predict",
        "report",
        "import",
        "export",
        "sequences",
        "queries",
        "interactions",
        "generate",
        "bench",
        "doctor",
    }


@pytest.mark.parametrize(
    "verb",
    [
        "demo",
        "render",
        "pack",
        "unpack",
        "ingest",
        "simulate",
        "flow",
        "sequences",
        "queries",
        "generate",
        "evaluate",
        "predict",
        "report",
        "import",
        "export",
        "doctor",
    ],
)
def test_help_of_each_verb(verb, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    assert f"usage: equissl {verb}" in capsys.readouterr().out


def test_help_of_pretrain_lists_the_method(capsys) -> None:
    assert cli.main(["pretrain", "--config", "demo_sie", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--method.sim" in text and "[1.0] weight of the invariance term" in text
    assert "--trainer.max_steps" in text


def test_unknown_verb_names_the_nearest(capsys) -> None:
    assert cli.main(["pretrian"]) == 2
    assert "did you mean 'pretrain'" in capsys.readouterr().err


def test_version(capsys) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("equissl ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "--config", "demo_sie"], "expected --out RUN"),
        (["pretrain", "--config", "demo_sie", "--out"], "expected a value after --out"),
        (["pretrain", "--config", "nothing.yaml", "--out", "x"], "no config file 'nothing.yaml'"),
        (["pretrain", "--config", "demo_sie", "--out", "x", "--trainer.max_step", "3"], "trainer.max_steps"),
        (["pretrain", "--config", "demo_sie", "--config", "demo_sie", "--out", "x"], "--config is given twice"),
        (["evaluate", "nowhere"], "no run at nowhere"),
        (["report", "nowhere", "--out", "r.html"], "nowhere"),
        (["bench", "rendr"], "did you mean 'render'"),
    ],
)
def test_expected_errors_are_one_line_and_code_2(words, message, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EQUISSL_DEBUG", raising=False)
    assert cli.main(words) == 2
    text = capsys.readouterr().err
    assert text.startswith("equissl: error: ")
    assert message in text
    assert "Traceback" not in text


def test_debug_shows_where(capsys, monkeypatch) -> None:
    monkeypatch.setenv("EQUISSL_DEBUG", "1")
    assert cli.main(["evaluate", "nowhere"]) == 2
    assert "Traceback" in capsys.readouterr().err


def raises(error: BaseException):
    def verb(argv: list[str]) -> int:
        raise error

    return verb


def test_our_own_mistakes_keep_their_traceback(capsys, monkeypatch) -> None:
    monkeypatch.setitem(cli.VERBS, "doctor", raises(KeyError("bug")))
    assert cli.main(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_messages_of_the_library_go_to_standard_error(capsys, monkeypatch) -> None:
    def speak(argv: list[str]) -> int:
        logging.getLogger("equissl.somewhere").info("half of %d", 10)
        return 0

    monkeypatch.setitem(cli.VERBS, "doctor", speak)
    for _ in range(2):  # once each, also after another run in this process
        assert cli.main(["doctor"]) == 0
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "half of 10\n")


def test_ctrl_c(capsys, monkeypatch) -> None:
    monkeypatch.setitem(cli.VERBS, "doctor", raises(KeyboardInterrupt()))
    assert cli.main(["doctor"]) == 130


def test_pretrain_continues_and_needs_no_config_then(store, tmp_path, capsys) -> None:
    out = str(tmp_path / "run")
    assert cli.main(["pretrain", "--config", "demo_sie", "--out", out, *flags(store)]) == 0
    assert cli.main(["pretrain", "--out", out, "--trainer.max_steps=5"]) == 0
    assert capsys.readouterr().out.split() == [out, out]
    from equissl.runs import read_checkpoint

    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["equissl"]["step"] == 5


def test_print_config_runs_again(store, tmp_path, capsys) -> None:
    assert cli.main(["pretrain", "--config", "demo_sie", "--print_config", *flags(store)]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    assert cli.main(["pretrain", "--config", str(tmp_path / "again.yaml"), "--out", str(tmp_path / "run")]) == 0


def test_renderer_options_are_flags_of_their_type(tmp_path, capsys) -> None:
    flags = ["--meshes", "procedural", "--objects", "2", "--views", "1", "--size", "16", "--workers", "0"]
    assert cli.main(["render", *flags, "--renderer_options.antialias", "2", "--out", str(tmp_path / "a.h5")]) == 0
    assert "antialias = 2" in (tmp_path / "a.md").read_text()


def test_unpack_and_pack(store, tmp_path) -> None:
    pytest.importorskip("equissl.datasets.views.folder.layout")
    assert cli.main(["unpack", str(store), str(tmp_path / "folder")]) == 0
    assert cli.main(["pack", str(tmp_path / "folder"), str(tmp_path / "again.h5")]) == 0
    assert (tmp_path / "again.h5").is_file()


@pytest.mark.slow
def test_console_script_stops_cleanly_on_ctrl_c(store, tmp_path) -> None:
    import signal
    import time

    words = [sys.executable, "-m", "equissl", "pretrain", "--config", "demo_sie", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*words, *flags(store), "--trainer.max_steps", "100000", "--trainer.log_every", "1"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in errors
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
