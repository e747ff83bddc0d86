from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import the fake by name
from fake_job import FakeJob

from equissl.util.job import Limits, WorkerError
from equissl.util.workers import run_parts


def processes(folder: Path) -> list[str]:
    return [line.split()[1] for line in (folder / "log").read_text().splitlines()]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_each_part_gives_its_result_once(tmp_path: Path, workers: int) -> None:
    assert sorted(run_parts(FakeJob(tmp_path), range(4), workers)) == [(0, 0), (1, 1), (2, 4), (3, 9)]
    assert len(set(processes(tmp_path))) <= max(workers, 1) and len(processes(tmp_path)) == 8


def test_nothing_to_do() -> None:
    assert list(run_parts(FakeJob(Path()), [], 2)) == []


def test_a_process_that_dies_is_replaced_and_its_part_done_again(tmp_path: Path) -> None:
    assert len(list(run_parts(FakeJob(tmp_path, deadly=3), range(4), 1))) == 4
    assert list(Counter(processes(tmp_path)).values()) == [4, 6]


def test_one_that_dies_again_and_again_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="died over item 3, 3 times: signal SIGKILL"):
        list(run_parts(FakeJob(tmp_path, deadly=3, once=False), range(4), 1))
    begun = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert (tmp_path / "part-0").exists() and begun.count("3") == 3


def test_an_item_that_hangs_is_given_up(tmp_path: Path) -> None:
    assert len(list(run_parts(FakeJob(tmp_path, endless=2), range(2), 1, Limits(seconds=1)))) == 2
    assert (tmp_path / "part-1").read_text() == "2 counting took longer than 1 s\n3 done\nend\n"


def test_processes_are_replaced_after_so_many_items(tmp_path: Path) -> None:
    list(run_parts(FakeJob(tmp_path), range(4), 1, Limits(restart_after=4)))
    assert list(Counter(processes(tmp_path)).values()) == [4, 4]


@pytest.mark.parametrize(("megabytes", "number"), [(1.0, 4), (1e6, 1)])
def test_a_process_that_grew_too_large_is_replaced(tmp_path: Path, megabytes: float, number: int) -> None:
    list(run_parts(FakeJob(tmp_path), range(4), 1, Limits(megabytes=megabytes)))
    assert len(set(processes(tmp_path))) == number


def test_an_error_of_the_job_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="surprise"):
        list(run_parts(FakeJob(tmp_path, faulty=5), range(4), 1))


def test_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \['processes', 'ray'\], got 'dask'"):
        list(run_parts(FakeJob(tmp_path), range(1), engine="dask"))  # type: ignore[arg-type]


def test_warnings_of_processes_are_said_once_by_this_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    list(run_parts(FakeJob(tmp_path, loud=True), range(4), 2))
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert len(said) == 2 and ("WARNING", "the disk is slow") in said
    assert any("RuntimeWarning: divided by zero" in text for _, text in said)
