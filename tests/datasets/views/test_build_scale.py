"""A build cut over processes, jobs and machines, some of which die: always the bytes of one process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import the fakes by name
from fake_meshes import FakeRenderer, FakeSource
from synthetic_store import write_synthetic_store

from equissl.datasets.views.build.builder import BuildError, BuildReport, BuildSpec, build_views
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.store.index import write_index
from equissl.datasets.views.store.store import StoreError, ViewStore
from equissl.util.job import Limits, WorkerError
from equissl.util.parts_folder import PartsError, Share

SPEC = BuildSpec(meshes="fake", views=3, size=16, seed=5, objects_per_shard=2)
FAKE = Path(__file__).parent / "fake_meshes.py"


def build(out: Path, source: FakeSource | None = None, spec: BuildSpec = SPEC, **options: object) -> BuildReport:
    defaults = {"workers": 0, "progress": False, "renderer": FakeRenderer()}
    return build_views(spec, out, source=FakeSource(24) if source is None else source, **(defaults | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What one undisturbed process makes of 24 objects."""
    out = tmp_path_factory.mktemp("whole") / "a.h5"
    build(out)
    return out.read_bytes()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWorkers:
    def test_a_lost_worker_is_replaced(self, tmp_path: Path, whole: bytes) -> None:
        source = FakeSource(24, deadly=7, once=str(tmp_path / "died"), log=str(tmp_path / "log"))
        build(tmp_path / "a.h5", source, workers=1)
        assert (tmp_path / "died").exists() and (tmp_path / "a.h5").read_bytes() == whole
        loads = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
        assert Counter(int(index) for index, _ in loads) == {**dict.fromkeys(range(24), 1), 6: 2, 7: 2}
        assert len({process for _, process in loads}) == 2

    def test_one_that_is_lost_again_and_again_is_an_error_that_names_the_object(self, tmp_path: Path) -> None:
        with pytest.raises(WorkerError, match=r"over object 7 \(bowl/007\), 3 times: signal SIGKILL"):
            build(tmp_path / "a.h5", FakeSource(24, deadly=7, log=str(tmp_path / "log")), workers=1)
        assert sum(line.startswith("7 ") for line in (tmp_path / "log").read_text().splitlines()) == 3

    def test_workers_are_replaced_after_so_many_objects(self, tmp_path: Path, whole: bytes) -> None:
        build(tmp_path / "a.h5", FakeSource(24, log=str(tmp_path / "log")), workers=1, restart_after=6)
        processes = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()]
        assert list(Counter(processes).values()) == [6] * 4
        assert (tmp_path / "a.h5").read_bytes() == whole

    def test_an_object_that_takes_too_long_is_left_out_and_named(self, tmp_path: Path) -> None:
        report = build(tmp_path / "a.h5", FakeSource(24, endless=7), workers=1, mesh_seconds=2)
        assert report.skipped == [("bowl/007", "reading the mesh took longer than 2 s")]
        store = ViewStore(tmp_path / "a.h5")
        assert store.object_indices.tolist() == [index for index in range(24) if index != 7]
        assert store.tables.skipped == report.skipped

    def test_rendering_has_the_time_of_all_its_views(self, tmp_path: Path) -> None:
        slow = {"renderer": FakeRenderer(delay=2.0), "workers": 1}
        assert not build(
            tmp_path / "a.h5", FakeSource(1), mesh_seconds=0.7, **slow
        ).skipped  # 0.7 s for each of 3 views
        with pytest.raises(BuildError, match=r"apple/000: rendering 3 views took longer than 0\.3 s"):
            build(tmp_path / "b.h5", FakeSource(1), mesh_seconds=0.1, **slow)

    @pytest.mark.parametrize("limits", [{"seconds": 0}, {"restart_after": 0}, {"megabytes": 0}])
    def test_bad_limits(self, limits: dict) -> None:
        with pytest.raises(ValueError, match="got 0"):
            Limits(**limits)


class TestShares:
    @pytest.mark.parametrize("numbers", [("0/3", "1/3", "2/3"), ("3/3", "1/3", "2/3")])
    def test_the_last_job_joins(self, tmp_path: Path, whole: bytes, numbers: tuple[str, ...]) -> None:
        *first, last = [build(tmp_path / "a.h5", shard=number) for number in numbers]
        assert [(r.joined, r.missing, r.num_objects) for r in first] == [(False, 8, 8), (False, 4, 8)]
        assert last.joined and last.num_objects == 24
        assert (tmp_path / "a.h5").read_bytes() == whole and files(tmp_path) == ["a.h5"]
        again = build(tmp_path / "a.h5", shard="1/3")
        assert again.already_complete and files(tmp_path) == ["a.h5"]

    def test_a_plain_call_renders_what_is_missing(self, tmp_path: Path, whole: bytes) -> None:
        build(tmp_path / "a.h5", shard="1/4")
        build(tmp_path / "a.h5")
        assert (tmp_path / "a.h5").read_bytes() == whole

    def test_other_settings_are_refused(self, tmp_path: Path) -> None:
        build(tmp_path / "a.h5", shard="0/2")
        with pytest.raises(PartsError, match="seed: 5 there, 6 asked for"):
            build(tmp_path / "a.h5", spec=replace(SPEC, seed=6), shard="1/2")
        with pytest.raises(BuildError, match="cannot overwrite"):
            build(tmp_path / "a.h5", shard="1/2", overwrite=True)

    @pytest.mark.parametrize("text", ["3/2", "a/2", "1", "1/0", "-1/2", "1/2/3"])
    def test_bad_shares(self, text: str) -> None:
        with pytest.raises(ValueError, match="expected shard to be i/n"):
            Share.parse(text)

    def test_jobs_at_the_same_time(self, tmp_path: Path, whole: bytes) -> None:
        command = [sys.executable, str(FAKE), str(tmp_path / "a.h5"), "0", "0.05"]
        jobs = [subprocess.Popen([*command, f"{i}/3"], stdout=subprocess.PIPE, text=True) for i in range(3)]
        outputs = [job.communicate(timeout=120)[0].split() for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0, 0]
        assert sum(output[-1] == "True" for output in outputs) >= 1
        assert (tmp_path / "a.h5").read_bytes() == whole and files(tmp_path) == ["a.h5"]

    def test_the_same_share_twice_at_the_same_time(self, tmp_path: Path) -> None:
        with subprocess.Popen([sys.executable, str(FAKE), str(tmp_path / "a.h5"), "0", "0.3", "0/2"]) as job:
            try:
                while not (tmp_path / "a.h5.parts" / "spec.json").exists():
                    time.sleep(0.01)
                with pytest.raises(PartsError, match="another process is building"):
                    build(tmp_path / "a.h5", shard="0/2")
                with pytest.raises(PartsError, match="another process is building"):
                    build(tmp_path / "a.h5")
            finally:
                job.kill()


class TestWithoutJoining:
    def test_shards_open_as_one_store(self, tmp_path: Path, whole: bytes) -> None:
        (tmp_path / "whole.h5").write_bytes(whole)
        report = build(tmp_path / "a.h5", join=False, spec=replace(SPEC, objects_per_shard=5))
        assert report.path == tmp_path / "a.h5.parts" and report.num_objects == 24
        one, many = ViewStore(tmp_path / "whole.h5"), ViewStore(report.path)
        for name in ("labels", "split", "object_indices", "latents"):
            assert np.array_equal(getattr(one, name), getattr(many, name)), name
        assert (one.header, one.object_names, one.tables.licences) == (
            many.header, many.object_names, many.tables.licences,
        )  # fmt: skip
        order = np.random.default_rng(0).permutation(72)
        assert one.read_bytes(order) == many.read_bytes(order)
        with pytest.raises(IndexError, match=r"0\.\.71"):
            many.read_bytes(np.array([72]))

    def test_it_can_be_moved_and_still_be_joined(self, tmp_path: Path, whole: bytes) -> None:
        build(tmp_path / "a.h5", join=False, shard="1/2")
        build(tmp_path / "a.h5", join=False, shard="2/2")
        moved = (tmp_path / "a.h5.parts").rename(tmp_path / "moved")
        assert ViewStore(moved / "index.json").num_objects == 24
        moved.rename(tmp_path / "a.h5.parts")
        build(tmp_path / "a.h5")
        assert (tmp_path / "a.h5").read_bytes() == whole and files(tmp_path) == ["a.h5"]

    def test_an_unfinished_folder_is_no_store(self, tmp_path: Path) -> None:
        build(tmp_path / "a.h5", join=False, shard="1/2")
        with pytest.raises(StoreError, match=r"found a folder without an index\.json"):
            _ = ViewStore(tmp_path / "a.h5.parts").labels

    def test_any_stores_of_one_kind(self, tmp_path: Path) -> None:
        paths = [write_synthetic_store(tmp_path / f"{i}.h5", 3 + i, 2, 8, seed=i) for i in range(2)]
        store = ViewStore(write_index(tmp_path, paths))
        parts = [ViewStore(path) for path in paths]
        assert store.split.tolist() == [value for part in parts for value in part.split.tolist()]
        assert store.read_bytes(np.arange(14)) == [b for p in parts for b in p.read_bytes(np.arange(2 * p.num_objects))]
        assert store.num_bytes == sum(path.stat().st_size for path in paths)
        write_synthetic_store(tmp_path / "1.h5", 4, 3, 8)
        with pytest.raises(StoreError, match=r"one num_views .* got 2 in .* and 3 in"):
            _ = ViewStore(tmp_path).labels
        (tmp_path / "index.json").write_text("{}")
        with pytest.raises(StoreError, match="damaged or another kind of file"):
            _ = ViewStore(tmp_path).labels

    def test_few_files_are_open_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("equissl.datasets.views.store.store._MOST_OPEN", 2)
        store = ViewStore(build(tmp_path / "a.h5", join=False).path)
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert store.read_bytes(np.arange(72)) == store.read_bytes(np.arange(71, -1, -1))[::-1]
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 2


def test_latents_depend_on_nothing_but_the_seed(tmp_path: Path) -> None:
    """Not on the backend, the order, the number of workers or what else is built."""
    ways: list[dict] = [
        {"renderer": FakeRenderer()},
        {"renderer": FakeRenderer(name="another", version="9"), "workers": 2},
        {"source": FakeSource(24, broken=(0, 5, 6)), "spec": replace(SPEC, objects_per_shard=7)},
        {"spec": replace(SPEC, views=5, size=8, encoding="raw")},
    ]
    for number, way in enumerate(ways):
        build(tmp_path / f"{number}.h5", **way)
        store = ViewStore(tmp_path / f"{number}.h5")
        for row in reversed(range(store.num_objects)):
            index = int(store.object_indices[row])
            expected = [sample_latents(store.schema, 5, index, 1, first=view)[0] for view in (2, 0, 1)]
            assert np.array_equal(store.latents[row][[2, 0, 1]], expected)


@pytest.mark.slow
def test_killed_ten_times_with_workers_ends_with_the_same_bytes(tmp_path: Path, whole: bytes) -> None:
    out, rng = tmp_path / "a.h5", np.random.default_rng(1)
    command = [sys.executable, str(FAKE), str(out), "2", "0.3"]

    def shards() -> int:
        return len(list(tmp_path.glob("a.h5.parts/shard-??????.h5")))

    progress = []
    for early in [False, True] * 5:  # half of them while the processes start, half while they render
        with subprocess.Popen(command, stdout=subprocess.PIPE) as job:
            assert job.stdout is not None
            job.stdout.readline()
            before, start = shards(), time.monotonic()
            while not early and shards() == before and time.monotonic() < start + 60:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.4))
            assert job.poll() is None
            job.kill()
        assert not out.exists()
        progress.append(shards())
    assert progress[-1] > progress[0] >= 1
    time.sleep(1.0)  # the orphans end with their parent
    build(out)
    assert out.read_bytes() == whole and files(tmp_path) == ["a.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("parent", [False, True], ids=["process", "actor"])
def test_ray_with_one_of_two_workers_killed(
    tmp_path: Path, whole: bytes, parent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="needs the optional extra `ray`")
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parent) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    source = FakeSource(24, deadly=7, once=str(tmp_path / "died"), parent=parent, log=str(tmp_path / "log"))
    build(tmp_path / "a.h5", source, workers=2, engine="ray")
    assert (tmp_path / "a.h5").read_bytes() == whole
    loads = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert (tmp_path / "died").exists() and sum(index == "7" for index, _ in loads) == 2
    assert len({process for _, process in loads}) == 3


def test_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \['processes', 'ray'\], got 'dask'"):
        build(tmp_path / "a.h5", engine="dask")
