"""Records of benchmarks: numbers, not their text, beside what made them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from equissl import cli
from equissl.bench import BENCHES
from equissl.bench.detection_metrics import bench_detection_metrics
from equissl.bench.losses import bench_losses
from equissl.bench.record import Measured, add_record, describe_bench, plain, read_records, seeds_of
from equissl.runs.versions import versions

SMALL = ["--frames", "2", "--boxes=3", "--metrics", "range"]


def test_two_runs_are_two_records_with_all_that_made_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measured" / "detection_metrics.json"
    for _ in range(2):
        assert cli.main(["bench", "detection_metrics", *SMALL[:2], "--record", str(file), *SMALL[2:]]) == 0
    assert str(file) in capsys.readouterr().out
    first, second = json.loads(file.read_text())
    assert first["command"] == "equissl bench detection_metrics --frames 2 --boxes=3 --metrics range"
    assert first["bench"] == "detection_metrics" and first["commit"] == versions()["git"]
    assert first["date"] == date.today().isoformat() and first["seeds"] == []
    assert first["machine"]["processor"] and first["machine"]["threads"] >= 1 and first["machine"]["packages"]["torch"]
    assert first["results"]["frames"] == 2 and first["results"]["range/update_s"] > 0
    assert first["results"].keys() == second["results"].keys() == bench_detection_metrics(2, 3, "range").keys()


def test_a_wrong_file_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "notes.json"
    file.write_text('{"a": 1}')
    monkeypatch.setattr("equissl.bench.detection_metrics.bench_detection_metrics", lambda **_: pytest.fail("was run"))
    assert cli.main(["bench", "detection_metrics", "--record", str(file)]) == 2
    assert json.loads(file.read_text()) == {"a": 1}
    file.write_text("[1]")
    with pytest.raises(ValueError, match=r"list of records in .*notes\.json, found something else"):
        add_record(file, {})


def test_numbers_behind_text() -> None:
    shown = Measured("rotation 27.6 ± 0.1", {"rotation": (27.5, 27.7), "loss": float("nan")})
    assert shown == "rotation 27.6 ± 0.1" and f"{shown:>20}".endswith("0.1")
    assert plain({"sie": shown, 1: float("inf")}) == {"sie": {"rotation": [27.5, 27.7], "loss": None}, "1": None}
    record = describe_bench("methods", ["--seeds", "2"], {"seeds": 2}, {"sie": shown, "report": "out/report.html"})
    assert list(record["results"]) == ["sie"] and record["seeds"] == [0, 1]


def test_seeds_as_arguments_name_them() -> None:
    assert seeds_of({"seeds": 3, "first": 1}) == [1, 2, 3]
    assert seeds_of({"seed": 7}) == [7]
    assert seeds_of({"repeats": 30}) == []


def test_every_line_of_the_losses_is_recorded() -> None:
    found = bench_losses("dcl,nt_xent", "8", "2", dim=4, seconds=0.01, lightly=False)
    timings = found["timings"].numbers
    assert [(row["name"], row["batch"], row["views"]) for row in timings] == [("dcl", 8, 2), ("nt_xent", 8, 2)]
    assert all(row["seconds"] > 0 and row["ratio"] is None for row in timings)


def test_no_file_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "none.json") == []


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_takes_the_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", name, "--help"])
    assert "--record" in capsys.readouterr().out
