"""Report of runs on videos: title, store, seeds and legend as on the pages of other kinds."""

from __future__ import annotations

import re
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equissl.datasets.videos.moving_digits import MovingSpec
from equissl.evaluation.videos.evaluate import ROLLOUTS
from equissl.reporting import format_table, write_report
from equissl.reporting.runs import load_runs

SPEC = MovingSpec(radius=1, frames=4, size=8, digit_size=6, digits=1, held_out=[[1, 1]])
MSE = [0.01, 0.03, 0.05]


def write_digits(folder: Path, count: int) -> Path:
    """A folder of IDX files with random digits."""
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    for name, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / name).write_bytes(head + array.tobytes())
    return folder


def results(store: Path, seed: int, label: str = "FERNN V_1", **changes: Any) -> dict[str, Any]:
    velocities = {f"velocity/mse/{x},{y}": 0.01 * (seed + 1) for x in (-1, 0, 1) for y in (-1, 0, 1)}
    return {
        "kind": "videos", "method": "FERNN", "label": label, "store": str(store), "seed": seed, "steps": 10,
        "videos_seen": 80, "parameters": 360, "prediction/next_mse": MSE[seed], "prediction/copy_mse": 0.5,
        "rollout/mse": 2e-7 * (seed + 1), "rollout/step_mse/001": 0.1, "rollout/step_mse/002": 0.2,
        **velocities, **{f"videos/{key}": value for key, value in asdict(SPEC).items()}, **changes,
    }  # fmt: skip


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "digits", 40)


@pytest.fixture
def runs(digits: Path, tmp_path: Path, write_run) -> list[Path]:
    """Three seeds of one run, and another run alone."""
    seeds = [write_run(tmp_path / "fernn" / f"seed{seed}", results(digits, seed)) for seed in range(3)]
    return [*seeds, write_run(tmp_path / "grnn", results(digits, 0, "G-RNN"))]


def test_seeds_are_one_row_with_their_deviation(runs: list[Path]) -> None:
    lines = format_table([run.results for run in load_runs(runs)]).splitlines()
    assert [re.split(r"  +", line)[:2] for line in lines if not line.startswith("-")] == [
        ["method", "model"], ["fernn", "FERNN V_1"], ["G-RNN", "G-RNN"], ["copy of the last frame", "–"],
    ]  # fmt: skip
    assert f"{np.mean(MSE):.4f} ± {np.std(MSE, ddof=1):.4f}" in lines[2]
    assert "4.00e-07 ± 2e-07" in lines[2] and "0.500" in lines[5]


def test_the_model_has_no_column_where_it_is_the_name(runs: list[Path]) -> None:
    assert format_table([run.results for run in load_runs(runs[-1:])]).split()[:2] == ["method", "parameters"]


def test_title_and_store_are_those_asked_for(runs: list[Path], tmp_path: Path) -> None:
    other = write_digits(tmp_path / "others", 200)
    page = write_report(runs, tmp_path / "page.html", store=other, title="Digits & more").read_text()
    assert "<h1>Digits &amp; more</h1>" in page and "<title>Digits &amp; more</title>" in page
    assert "sequences of 20 digits" in page and f"store: {other}" in page
    assert "sequences of 4 digits" in write_report(runs, tmp_path / "page.html").read_text()


def test_the_page_has_rows_legend_curves_and_configurations(runs: list[Path], tmp_path: Path) -> None:
    (runs[0] / "metrics.csv").write_text(
        "step,views,seconds,name,value\n1,8,0.1,train/loss,2.0\n2,16,0.1,train/loss,1.0\n"
    )
    page = write_report(runs, tmp_path / "page.html").read_text()
    assert re.search(r'<div class="legend"><span>.*?</span>fernn</span><span>.*?</span>G-RNN</span></div>', page)
    assert "2 runs (fernn, G-RNN)" in page and "fernn: configuration" in page and "G-RNN: all results" in page
    assert "one standard deviation over seeds" in page and '<span class="se">± 0.0200</span>' in page
    assert "Error along the roll-out" in page and "Training loss" in page and page.count("<img") == 4


def test_trained_velocities_are_bold_and_held_out_ones_are_not(runs: list[Path], tmp_path: Path) -> None:
    page = write_report(runs[-1:], tmp_path / "page.html").read_text()
    table = re.search(r"<h3>G-RNN: mse by velocity</h3>(.*?)</table>", page, re.DOTALL).group(1)
    assert table.count('<td class="best">0.010</td>') == 8 and table.count("<td>0.010</td>") == 1


def test_roll_outs_are_those_of_runs_that_saw_the_same_sequences(runs: list[Path], tmp_path: Path) -> None:
    truth = np.zeros((1, 4, 1, 8, 8), np.uint8)
    for run, seen in ((runs[0], truth), (runs[3], truth + 1)):
        np.savez(run / ROLLOUTS, truth=seen, predicted=truth[:, 2:])
    page = write_report(runs, tmp_path / "page.html").read_text()
    assert 'alt="predicted frames beside the truth: fernn"' in page
