from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import the fake by name
from fake_job import FakeJob

from equissl.util.job import WorkerError
from equissl.util.parts import check_same, make_parts
from equissl.util.parts_folder import PartsError, Share, parts_folder
from equissl.util.progress import Progress

SCRIPT = Path(__file__).parent / "fake_job.py"


def make(out: Path, share: Share | None = None, bar: Progress | None = None, **options: object) -> FakeJob:
    with parts_folder(out, {"size": 2}, share=share) as folder:
        job = FakeJob(folder.path, **options)  # type: ignore[arg-type]
        parts = folder.share.parts(job.count)
        folder.clean([job.path(part) for part in parts])
        make_parts(job, parts, bar or Progress(8, "parts", "items", enabled=False), workers=0)
    return job


def made(out: Path) -> list[str]:
    return [line.split()[0] for line in (Path(f"{out}.parts") / "log").read_text().splitlines()]


def test_what_is_done_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError, match="surprise"):
        make(tmp_path / "a", faulty=5)
    assert made(tmp_path / "a") == ["0", "1", "2", "3", "4", "5"]
    make(tmp_path / "a", bar=Progress(8, "parts", "items", every=0))
    assert made(tmp_path / "a")[6:] == ["4", "5", "6", "7"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "continuing: 4 of 8 items are there already" and lines[-1].startswith("parts: 8/8 items")


def test_a_damaged_part_is_made_again_and_leftovers_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = make(tmp_path / "a")
    job.path(1).write_text("2 do")
    (job.folder / "part-2.tmp-host-1-0").touch()
    make(tmp_path / "a", bar=Progress(8, "parts", "items"))
    assert job.path(1).read_text() == "2 done\n3 done\nend\n" and made(tmp_path / "a")[8:] == ["2", "3"]
    assert "making part-1 again: cut" in capsys.readouterr().err and not list(job.folder.glob("*.tmp-*"))


def test_other_settings_do_not_mix(tmp_path: Path) -> None:
    job = make(tmp_path / "a")
    with (
        pytest.raises(PartsError, match=r"unfinished work of other settings(?s:.*)size: 2 there, 3 asked for"),
        parts_folder(tmp_path / "a", {"size": 3}),
    ):
        pass
    assert job.path(0).exists()
    with parts_folder(tmp_path / "a", {"size": 3}, overwrite=True) as folder:
        assert sorted(path.name for path in folder.path.iterdir()) == ["lock", "spec.json"]


def test_descriptions_are_compared_as_json(tmp_path: Path) -> None:
    for _ in range(2):
        with parts_folder(tmp_path / "a", {"range": (1, 2), "path": tmp_path}):
            pass


def test_a_folder_has_one_user(tmp_path: Path) -> None:
    with (
        parts_folder(tmp_path / "a", {}),
        pytest.raises(PartsError, match="another process is building"),
        parts_folder(tmp_path / "a", {}),
    ):
        pass


def test_shares_are_worked_on_together_and_the_last_is_alone(tmp_path: Path) -> None:
    one, two = Share.parse("1/2"), Share.parse("2/2")
    assert sorted([*one.parts(5), *two.parts(5)]) == [0, 1, 2, 3, 4]
    with parts_folder(tmp_path / "a", {}, share=one) as first:
        with parts_folder(tmp_path / "a", {}, share=two) as second:
            assert not second.alone()
        assert first.alone()
        with pytest.raises(PartsError), parts_folder(tmp_path / "a", {}):
            pass


@pytest.mark.parametrize("error", [WorkerError("died"), OSError(errno.ENOSPC, "disk full")])
def test_errors_say_what_is_kept(tmp_path: Path, error: Exception) -> None:
    kept = r"(died|disk full)(?s:.)*finished parts are kept in .*a\.parts: the same command continues"
    with pytest.raises(type(error), match=kept), parts_folder(tmp_path / "a", {}):
        raise error


def test_a_finished_file_of_other_work_is_kept(tmp_path: Path) -> None:
    check_same(tmp_path / "a", {"size": 2}, {"size": 2})
    for found in ({"size": 3}, None):
        with pytest.raises(
            PartsError, match=r"not overwritten without being told to:\n  size: (3|None) there, 2 asked"
        ):
            check_same(tmp_path / "a", found, {"size": 2})


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_started_again(tmp_path: Path, workers: int) -> None:
    out, folder = tmp_path / "a", tmp_path / "a.parts"
    with subprocess.Popen([sys.executable, str(SCRIPT), str(out), str(workers), "0.2"]) as process:
        while not list(folder.glob("part-?")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    finished = len(list(folder.glob("part-?")))
    assert finished >= 1
    time.sleep(1.0)  # workers end with their parent
    assert len(list(folder.glob("part-?"))) <= finished + workers
    job = make(out)
    assert [job.path(part).read_text() for part in range(4)] == [
        f"{2 * i} done\n{2 * i + 1} done\nend\n" for i in range(4)
    ]
