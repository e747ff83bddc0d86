"""Words are checked, and help is shown, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# One process for all: each set of words is checked in a process that has seen the ones before, and none imports torch.
MANY = """
import contextlib, io, json, sys
from equissl.cli import main
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, out.getvalue(), err.getvalue(), "torch" in sys.modules]))
"""

TYPOS = {
    "pretrian": "did you mean 'pretrain'",
    "demo lidr": "did you mean 'lidar'",
    "demo --task.stepz 3": "did you mean '--task.steps'",
    "render --viewz 3": "did you mean '--views'",
    "render --renderer raycst --out x.h5": "unknown renderer 'raycst' (did you mean 'raycast'?)",
    "render --views many --out x.h5": "--views: expected int, got 'many'",
    "render --views": "expected a value after --views",
    "render --views 3": "expected --out",
    "pack --progrss true a b": "did you mean '--progress'",
    "pack a": "expected FOLDER",
    "unpack a b --progress maybe": "--progress: expected bool, got 'maybe'",
    "ingest kiti-raw . --out x.h5": "unknown format 'kiti-raw' (did you mean 'kitti-raw'?)",
    "ingest folder . --outt x.h5": "did you mean '--out'",
    "simulate --drivs 3 --out x.h5": "did you mean '--drives'",
    "simulate --options.beems 3 --out x.h5": "did you mean '--options.beams'",
    "sequences . --out x.h5 --form sacades": "unknown form of image sequences 'sacades' (did you mean 'saccades'?)",
    "generate . --out x --widht 8": "did you mean '--width'",
    "flow a.h5 --out b.h5 --provider icpcluster": "did you mean 'icp_cluster'",
    "pretrain --config demo_sei --out x": "did you mean 'demo_sie'",
    "pretrain --config demo_sie --out x --trainer.max_step 3": "did you mean '--trainer.max_steps'",
    "pretrain --config demo_sie --out x --lr 3": "did you mean '--optim.lr'",
    "pretrain --config demo_sie --out x --method.simm 3": "did you mean '--method.init_args.sim'",
    "pretrain --config demo_sie --out x --method.encoder.widht 3": "did you mean '--method.init_args.encoder.width'",
    "pretrain --config demo_sie --out x --method.encoder.name resnet81": "did you mean 'resnet18'",
    "pretrain --config demo_sie --out x --method.sign legcy": "did you mean 'legacy'",
    "pretrain --config demo_sie --out x --method.predictor hypernet": "did you mean 'hypernetwork'",
    "pretrain --config demo_sie --out x --method SIEE": "did you mean 'SIE'",
    "pretrain --config demo_sie --out x --data.kind view": "did you mean 'views'",
    "pretrain --config demo_sie --out x --data.kind drives": "SIE learns from ViewBatch, got data.kind 'drives'",
    "pretrain --config demo_sie --out x --trainer.loggers [tensorbord]": "did you mean 'tensorboard'",
    "pretrain --config demo_sie --out x --optim.schedule cosin": "did you mean 'cosine'",
    "pretrain --config demo_sie --out x --trainer.max_steps ten": "trainer.max_steps: expected int | None, got 'ten'",
    "pretrain --config demo_sie": "expected --out RUN",
    "pretrain --config cifar10_simclr --out x --data.policy simclrcifar": "did you mean 'simclr_cifar'",
    "stages --config demo_mcl --out x --stages few": "--stages: expected a whole number, got 'few'",
    "stages --config demo_mcl --out x --clusers 3": "did you mean '--clusters'",
    "finetune --config detection/kitti_secnd --out x": "did you mean 'detection/kitti_second'",
    "finetune --config detection/kitti_second --out x --lables 0.1": "did you mean '--labels'",
    "evaluate nowhere": "no run at nowhere",
    "evaluate": "expected RUN",
    "evaluate RUN --protocols [hu]": "unknown protocol 'hu' (did you mean 'hue'?)",
    "evaluate RUN --rotation.epoch 3": "did you mean '--rotation.epochs'",
    "predict RUN --out x --splitt val": "did you mean '--split'",
    "report RUN --out x --titel a": "did you mean '--title'",
    "import siee a --out x": "did you mean 'sie'",
    "export RUN --out x --formt a": "did you mean '--format'",
    "bench rendr": "did you mean 'render'",
    "bench render --imags 3": "did you mean '--images'",
    "doctor --fast 1": "unknown flag --fast",
}
HELP = [
    *(f"{verb} --help" for verb in (
        "demo", "demo lidar", "render", "pack", "unpack", "ingest", "simulate", "sequences", "generate", "flow",
        "pretrain", "stages", "finetune", "evaluate", "predict", "report", "import", "export", "bench",
        "bench render", "doctor",
    )),
    "evaluate RUN --help", "pretrain --config demo_sie --help", "pretrain --help all", "render --help all",
    "pretrain --method.help SIE", "pretrain --data.help", "pretrain --config demo_sie --trainer.strategy.help",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what a run on views leaves; its checkpoint is never read here."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    (folder / "config.yaml").write_text("method: {class_path: SIE}\ndata: {kind: views, store: a.h5}\n")
    return folder


def answers(lines: list[str], run: Path, cwd: Path) -> dict[str, tuple[int, str, str, bool]]:
    """Exit code, output, errors and whether torch is imported, after each line of words."""
    words = [[str(run) if word == "RUN" else word for word in line.split()] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", MANY], input=json.dumps(words), capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, map(json.loads, done.stdout.splitlines()), strict=True))


def test_typos_are_found_before_torch_is_imported(run: Path, tmp_path: Path) -> None:
    for line, (code, _, errors, imported) in answers(list(TYPOS), run, tmp_path).items():
        assert not imported, line
        assert code == 2 and TYPOS[line] in errors and errors.startswith("equissl: error: "), (line, errors)
    assert not list(tmp_path.iterdir())


def test_help_is_shown_without_torch(run: Path, tmp_path: Path) -> None:
    for line, (code, text, errors, imported) in answers(HELP, run, tmp_path).items():
        assert (code, errors, imported) == (0, "", False), line
        assert "usage: equissl" in text or ".help" in line
