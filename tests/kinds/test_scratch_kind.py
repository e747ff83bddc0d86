"""A kind outside of the package trains, evaluates, reports and exports through its registration alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY_POINTS = "[equissl.kinds]\nletters = letters:LETTERS\n[equissl.methods]\nBigram = letters:Bigram\n"
PROGRAM = """
import sys
from equissl.cli import main
for words in {commands!r}:
    code = main(words)
    if code:
        sys.exit(code)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Python finds as an installed package with entry points."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).with_name("letters.py"), folder / "letters.py")
    info = folder / "letters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: letters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def run(site: Path, *commands: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    program = PROGRAM.format(commands=list(commands))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for split in ("train", "val"):
        (folder / split).mkdir()
        (folder / split / "a.txt").write_text("the cat sat on the mat and the rat ran " * 40)
    return folder


def test_through_all_verbs(site: Path, texts: Path, tmp_path: Path) -> None:
    flags = [f"--data.root={texts}", "--data.batch_size=8", "--trainer.max_steps=150", "--trainer.precision=32"]
    flags += ["--optim.lr=0.05", "--trainer.loggers=[csv]", "--trainer.accelerator=cpu"]
    out, page = tmp_path / "run", tmp_path / "page.html"
    done = run(
        site,
        ["pretrain", "--method=Bigram", "--method.width=4", *flags, f"--out={out}"],
        ["evaluate", str(out), "--excerpts=4"],
        ["report", str(out), f"--out={page}", "--title=Two letters"],
        ["export", str(out), f"--out={tmp_path / 'exported'}"],
    )
    assert done.returncode == 0, done.stderr
    assert "excerpts_seen" in (out / "metrics.csv").read_text()
    results = json.loads((out / "results.json").read_text())
    assert results["bits"] < 3.5 < 4.7  # the uniform guess needs log2(27) = 4.75 bits
    assert "uniform" in done.stdout and "<h1>Two letters</h1>" in page.read_text()
    card = json.loads((tmp_path / "exported" / "card.json").read_text())
    assert (card["kind"], card["parts"]) == ("letters", {"all": 4})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.lenght=3"], "unknown flag --data.lenght (did you mean '--data.length'?)"),
        (["--data.store=a.h5"], "unknown flag --data.store"),
        (["--data.kind=views"], "Bigram learns from LetterBatch, got data.kind 'views'"),
    ],
)
def test_errors_are_those_of_built_in_kinds(
    site: Path, texts: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    flags = [f"--data.root={texts}", "--trainer.max_steps=1", *words]
    done = run(site, ["pretrain", "--method=Bigram", *flags, f"--out={tmp_path / 'run'}"])
    assert done.returncode == 2 and message in done.stderr and not (tmp_path / "run").exists()
