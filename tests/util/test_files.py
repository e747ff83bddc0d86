from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from equissl.util import files
from equissl.util.files import atomic_path, remove_temporary, write_json, write_text

FORK = multiprocessing.get_context("fork")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def exit_code(function: Callable[[], object]) -> int | None:
    """Of a process that calls ``function``."""
    process = FORK.Process(target=function)
    process.start()
    process.join()
    return process.exitcode


def test_a_text_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert write_text(tmp_path / "new" / "a.txt", "ä\n") == tmp_path / "new" / "a.txt"
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xc3\xa4\n" and names(tmp_path / "new") == ["a.txt"]


def test_the_old_file_is_there_until_the_block_ends(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.parent == tmp_path
    assert path.read_text() == "new" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_nothing_but_the_old_file(tmp_path: Path, error: type[BaseException], folder: bool) -> None:
    path = write_text(tmp_path / "a", "old")
    with pytest.raises(error), atomic_path(path) as temporary:
        if folder:
            temporary.mkdir()
        (temporary / "x" if folder else temporary).write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", "old")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass
    assert path.read_text() == "old"


def test_a_kill_between_writing_and_renaming_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a[1]", "old")

    def killed() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            os._exit(9)

    assert exit_code(killed) == 9
    assert path.read_text() == "old" and len(names(tmp_path)) == 2
    remove_temporary(path)
    assert names(tmp_path) == ["a[1]"]


@pytest.mark.parametrize("sync", [True, False])
def test_the_data_are_on_the_disk_before_the_rename_and_the_rename_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    calls: list[str] = []
    replace = Path.replace
    monkeypatch.setattr(files, "_sync", lambda path: calls.append(path.name.split(".tmp-")[0]))
    monkeypatch.setattr(Path, "replace", lambda path, target: (calls.append("rename"), replace(path, target))[1])
    with atomic_path(tmp_path / "a", sync) as temporary:
        temporary.touch()
    assert calls == (["a", "rename", tmp_path.name] if sync else ["rename"])


def test_a_folder_takes_its_place_whole(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with atomic_path(tmp_path / "a") as temporary:
        temporary.mkdir()
        (temporary / "x").touch()
        assert names(tmp_path / "a") == []
    assert names(tmp_path / "a") == ["x"] and names(tmp_path) == ["a"]


def test_blocks_within_one_another_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_path(path) as outer, atomic_path(path) as inner:
        outer.write_text("outer")
        inner.write_text("inner")
    assert path.read_text() == "outer"


def test_two_processes_write_the_same_file_whole(tmp_path: Path) -> None:
    path, size, seen = tmp_path / "a", 200_000, set()

    def write(letter: str) -> None:
        for _ in range(40):
            write_text(path, letter * size)

    write("a")
    processes = [FORK.Process(target=write, args=(letter,)) for letter in "bc"]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        text = path.read_text()
        assert text == text[0] * size
        seen.add(text[0])
    assert [process.exitcode for process in processes] == [0, 0]
    assert seen <= set("abc") and names(tmp_path) == ["a"]


def test_json(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"b": [1, "ä"], "a": None}, sort_keys=True)
    assert path.read_text(encoding="utf-8") == '{\n  "a": null,\n  "b": [\n    1,\n    "ä"\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == [1, "ä"] and names(tmp_path) == ["a.json"]
