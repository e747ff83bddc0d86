from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import the fakes by name
from fake_meshes import FakeRenderer, FakeSource

from equissl.datasets.views.build import builder as build_module
from equissl.datasets.views.build.builder import BuildError, BuildReport, BuildSpec, build_views
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.split import split_objects
from equissl.datasets.views.store import writer as store_writer
from equissl.datasets.views.store.store import ViewStore
from equissl.util.job import WorkerError
from equissl.util.parts_folder import PartsError
from equissl.util.processes import one_thread_environment

SPEC = BuildSpec(meshes="fake", views=3, size=16, seed=5, objects_per_shard=2)
FAKE = Path(__file__).parent / "fake_meshes.py"


def build(out: Path, spec: BuildSpec = SPEC, source: FakeSource | None = None, **options: object) -> BuildReport:
    defaults = {"workers": 0, "progress": False, "renderer": FakeRenderer()}
    return build_views(spec, out, source=FakeSource() if source is None else source, **(defaults | options))  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestResult:
    def test_store_holds_what_was_asked_for(self, tmp_path: Path) -> None:
        report = build(tmp_path / "a.h5", replace(SPEC, encoding="raw"))
        store = ViewStore(tmp_path / "a.h5")
        assert (report.num_objects, report.num_images, report.skipped) == (12, 36, [])
        assert store.labels.tolist() == [0, 1, 2] * 4 and store.classes == ("apple", "bowl", "chair")
        assert store.object_names[4] == "bowl/004" and store.object_sources[:2] == ["even", "odd"]
        assert store.tables.licences[3] == "CC0" and store.tables.creators[3] == "maker 3"
        for index in (0, 7):
            expected = sample_latents(store.schema, 5, index, 3)
            assert np.array_equal(store.latents[index], expected)
        assert files(tmp_path) == ["a.h5"]

    def test_images_are_the_renderers(self, tmp_path: Path) -> None:
        from equissl.renderers import view_parameters

        build(tmp_path / "a.h5", replace(SPEC, encoding="raw"))
        store = ViewStore(tmp_path / "a.h5")
        views = view_parameters(store.latents[7], store.schema.names)
        expected = FakeRenderer().render(FakeSource().load(7), views, 16)
        assert np.array_equal(store.read_images(np.arange(21, 24)).permute(0, 2, 3, 1).numpy(), expected)

    def test_provenance(self, tmp_path: Path) -> None:
        build(tmp_path / "a.h5")
        attributes = ViewStore(tmp_path / "a.h5").attributes
        assert attributes["seed"] == 5 and attributes["quality"] == 95
        assert attributes["renderer"] == {"name": "fake", "version": "1", "options": {}}
        assert {"source": "even", "licence": "CC0", "objects": 6} in attributes["sources"]
        assert attributes["generator_version"] >= 1 and attributes["build"]["views"] == 3

    def test_bytes_do_not_depend_on_workers_or_shards(self, tmp_path: Path) -> None:
        build(tmp_path / "a.h5")
        build(tmp_path / "b.h5", workers=2)
        build(tmp_path / "c.h5", replace(SPEC, objects_per_shard=5))
        contents = {(tmp_path / name).read_bytes() for name in ("a.h5", "b.h5", "c.h5")}
        assert len(contents) == 1

    def test_bad_meshes_are_skipped_and_named(self, tmp_path: Path) -> None:
        report = build(tmp_path / "a.h5", source=FakeSource(broken=(2, 3, 9)))
        assert report.skipped == [(name, "no faces") for name in ("chair/002", "apple/003", "apple/009")]
        store = ViewStore(tmp_path / "a.h5")
        assert store.object_indices.tolist() == [0, 1, 4, 5, 6, 7, 8, 10, 11]
        assert list(store.tables.skipped) == report.skipped
        whole = tmp_path / "whole.h5"
        build(whole)
        assert np.array_equal(store.latents, ViewStore(whole).latents[store.object_indices])

    def test_large_raw_shards_are_cut(self) -> None:
        spec = BuildSpec(encoding="raw", size=256, views=50)
        assert spec.shard_size == (128 << 20) // (50 * 3 * 256 * 256)
        assert BuildSpec().shard_size == 64


class TestRestart:
    def test_finished_file_is_left_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        build(tmp_path / "a.h5")
        before = (tmp_path / "a.h5").stat().st_mtime_ns
        report = build(tmp_path / "a.h5", progress=True)
        assert report.already_complete and (report.num_objects, report.num_images) == (12, 36)
        assert "complete already: 12 objects" in capsys.readouterr().err
        assert (tmp_path / "a.h5").stat().st_mtime_ns == before

    def test_another_spec_is_refused_and_the_difference_shown(self, tmp_path: Path) -> None:
        build(tmp_path / "a.h5")
        before = (tmp_path / "a.h5").read_bytes()
        with pytest.raises(PartsError, match=r"seed: 5 there, 6 asked for"):
            build(tmp_path / "a.h5", replace(SPEC, seed=6))
        with pytest.raises(PartsError, match="listing_sha256"):
            build(tmp_path / "a.h5", source=FakeSource(12, classes=("a", "b", "c")))
        with pytest.raises(PartsError, match=r"renderer: .*'version': '1'.* there, .*'version': '2'"):
            build(tmp_path / "a.h5", renderer=FakeRenderer(version="2"))
        assert (tmp_path / "a.h5").read_bytes() == before
        assert files(tmp_path) == ["a.h5"]
        build(tmp_path / "a.h5", replace(SPEC, seed=6), overwrite=True)
        assert ViewStore(tmp_path / "a.h5").attributes["seed"] == 6

    def test_any_other_file_is_not_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").write_text("precious")
        with pytest.raises(BuildError, match="in the way"):
            build(tmp_path / "a.h5")
        assert (tmp_path / "a.h5").read_text() == "precious"

    def test_unfinished_work_of_another_spec_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(WorkerError):
            build(tmp_path / "a.h5", source=FakeSource(faulty=5))
        with pytest.raises(PartsError, match=r"unfinished work(?s:.*)views: 3 there, 4 asked for"):
            build(tmp_path / "a.h5", replace(SPEC, views=4))
        with pytest.raises(PartsError, match="shard_size: 2 there, 3 asked for"):
            build(tmp_path / "a.h5", replace(SPEC, objects_per_shard=3))
        build(tmp_path / "a.h5", replace(SPEC, views=4), overwrite=True)
        assert ViewStore(tmp_path / "a.h5").num_views == 4

    def test_damaged_shard_is_rendered_again(self, tmp_path: Path) -> None:
        build(tmp_path / "whole.h5")
        with pytest.raises(WorkerError):
            build(tmp_path / "a.h5", source=FakeSource(faulty=11))
        os.truncate(tmp_path / "a.h5.parts" / "shard-000001.h5", 2000)
        build(tmp_path / "a.h5")
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()

    def test_two_builders_at_once_are_kept_apart(self, tmp_path: Path) -> None:
        command = [sys.executable, str(FAKE), str(tmp_path / "a.h5"), "0", "0.3"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            try:
                assert other.stdout is not None
                other.stdout.readline()
                deadline = time.monotonic() + 10
                while not (tmp_path / "a.h5.parts" / "spec.json").exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                with pytest.raises(PartsError, match="another process is building"):
                    build(tmp_path / "a.h5", source=FakeSource(24))
            finally:
                other.kill()


def killed(start: Callable[[], None], moment: float) -> bool:
    """Runs ``start`` in a fork and kills it after ``moment`` seconds; whether that came in time."""
    process = multiprocessing.get_context("fork").Process(target=start)
    process.start()
    process.join(moment)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_killed_at_random_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "a.h5"
    start = time.monotonic()
    build(whole, source=FakeSource(24))
    duration, rng = time.monotonic() - start, np.random.default_rng(0)
    kills = 0
    for _ in range(25):
        kills += killed(lambda: build(out, source=FakeSource(24)), rng.uniform(0, 0.6 * duration))
        assert not out.exists() or out.read_bytes() == whole.read_bytes()
    assert kills >= 3
    build(out, source=FakeSource(24))
    assert out.read_bytes() == whole.read_bytes()
    assert files(tmp_path) == ["a.h5", "whole.h5"]


@pytest.mark.slow
def test_killed_with_workers_ends_with_the_same_bytes(tmp_path: Path) -> None:
    out, parts = tmp_path / "a.h5", tmp_path / "a.h5.parts"
    build(tmp_path / "whole.h5", source=FakeSource(24))
    for shards in (1, 7):
        with subprocess.Popen([sys.executable, str(FAKE), str(out), "2", "0.1"]) as process:
            while len(list(parts.glob("shard-??????.h5"))) < shards and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        assert not out.exists() and len(list(parts.glob("shard-??????.h5"))) >= shards
    time.sleep(0.5)  # the orphans end with their parent
    before = sorted(parts.glob("*"))
    time.sleep(0.5)
    assert sorted(parts.glob("*")) == before
    build(out, source=FakeSource(24), workers=1)
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert files(tmp_path) == ["a.h5", "whole.h5"]


@pytest.mark.parametrize(
    ("holder", "name", "count", "after"),
    [
        (store_writer.ViewStoreWriter, "__enter__", 1, True),
        (build_module, "copy_blob", 5, True),
        (store_writer.ViewStoreWriter, "__exit__", 1, False),
        (store_writer.ViewStoreWriter, "__exit__", 1, True),
        (shutil, "rmtree", 1, False),
    ],
)
def test_killed_while_joining(tmp_path: Path, holder: object, name: str, count: int, after: bool) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "a.h5"
    build(whole, source=FakeSource(24))

    def run() -> None:
        function, calls = getattr(holder, name), []

        def stops(*args: object) -> object:
            concerned = getattr(args[0], "path", out) == out  # a writer of the finished file, not of a shard
            calls.extend([1] * concerned)
            if concerned and len(calls) == count and not after:
                os._exit(9)
            result = function(*args)
            if concerned and len(calls) == count:
                os._exit(9)
            return result

        setattr(holder, name, stops)
        build(out, source=FakeSource(24))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == 9
    assert out.exists() == (name == "rmtree" or (name == "__exit__" and after))
    build(out, source=FakeSource(24))
    assert out.read_bytes() == whole.read_bytes()
    assert files(tmp_path) == ["a.h5", "whole.h5"]


class TestFailures:
    def test_a_dead_worker_is_reported_and_finished_shards_kept(self, tmp_path: Path) -> None:
        with pytest.raises(WorkerError, match=r"process died(?s:.*)finished parts are kept in"):
            build(tmp_path / "a.h5", source=FakeSource(deadly=11), workers=1)
        assert not (tmp_path / "a.h5").exists()
        assert "shard-000000.h5" in files(tmp_path / "a.h5.parts")
        build(tmp_path / "a.h5", workers=1)
        build(tmp_path / "b.h5")
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_unexpected_error_names_the_object(self, tmp_path: Path, workers: int) -> None:
        with pytest.raises(WorkerError, match=r"object 5 \(chair/005\): KeyError: 'surprise'"):
            build(tmp_path / "a.h5", source=FakeSource(faulty=5), workers=workers)
        assert {"shard-000000.h5", "shard-000001.h5"} <= set(files(tmp_path / "a.h5.parts"))

    def test_no_mesh_usable(self, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match=r"none of the 2 meshes of 'fake'(?s:.*)apple/000: no faces"):
            build(tmp_path / "a.h5", source=FakeSource(2, broken=(0, 1)))
        with pytest.raises(BuildError, match="found none"):
            build(tmp_path / "a.h5", source=FakeSource(0))
        assert not (tmp_path / "a.h5").exists()

    def test_too_little_space_is_seen_before_rendering(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5000, 5000))
        with pytest.raises(OSError, match=r"disk full: 0\.1 MB needed, 0\.0 MB free") as caught:
            build(tmp_path / "a.h5")
        assert caught.value.errno == errno.ENOSPC
        assert not list((tmp_path / "a.h5.parts").glob("shard*"))

    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.parametrize("megabytes", [0.3, 0.8])
    def test_full_disk_while_rendering_or_joining(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, megabytes: float
    ) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        size = f"size={int(megabytes * 1e6)}"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], check=False, capture_output=True
        )
        if mounted.returncode:
            pytest.skip("needs the right to mount a small disk")
        try:
            spec = replace(SPEC, size=64, encoding="raw")
            with (
                pytest.raises(OSError, match=r"disk full: .* needed, .* free (?s:.*)finished parts are kept") as caught,
                monkeypatch.context() as patch,
            ):
                patch.setattr(BuildSpec, "bytes_per_image", 10)  # let it start
                build(disk / "a.h5", spec, workers=workers)
            assert caught.value.errno == errno.ENOSPC
            shards = [name for name in files(disk / "a.h5.parts") if name.startswith("shard")]
            assert len(shards) == 6 if megabytes == 0.8 else 1 <= len(shards) < 6
            assert files(disk) == ["a.h5.parts"] and all(name.endswith(".h5") for name in shards)
            subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
            build(disk / "a.h5", spec)
            build(tmp_path / "whole.h5", spec)
            assert (disk / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"views": 0}, "views >= 1, got 0"),
            ({"objects": 0}, "objects >= 1, got 0"),
            ({"encoding": "png"}, "'png'"),
            ({"val_fraction": 1.0}, "val_fraction < 1, got 1.0"),
            ({"rotation_range": (0, 0, 4)}, r"in 0\.\.pi"),
            ({"rotation_gap": (0, 0, 2)}, r"less than the rotation ranges .* got \(0, 0, 2\)"),
            ({"translation_range": (0.5, 0.5)}, r"three finite translation ranges .* got \(0.5, 0.5\)"),
        ],
    )
    def test_bad_specs(self, change: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            replace(SPEC, **change)

    def test_val_source_without_objects_fails_before_rendering(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"val_source to be one of \['even', 'odd'\], got 'none'"):
            build(tmp_path / "a.h5", replace(SPEC, val_source="none"))


def test_progress_as_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    build(tmp_path / "a.h5", source=FakeSource(broken=(1,)), progress=True)
    assert any("rendering a.h5: 36/36 img" in line for line in capsys.readouterr().err.splitlines())


def test_worker_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread_environment():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_real_meshes_and_renderer_end_to_end(tmp_path: Path) -> None:
    spec = BuildSpec("procedural", objects=26, views=4, size=32, val_fraction=0.5, encoding="raw", objects_per_shard=9)
    report = build_views(spec, tmp_path / "a.h5", workers=0, progress=False)
    store = ViewStore(tmp_path / "a.h5")
    assert report.skipped == [] and (store.num_objects, store.image_size) == (26, 32)
    assert store.attributes["renderer"]["name"] == "raycast" and len(store.select("val"))
    images = store.read_images(np.arange(104)).float()
    assert images.std(dim=(1, 2, 3)).min() > 1 and len(images.unique(dim=0)) == 104
    again = build_views(replace(spec, objects_per_shard=30), tmp_path / "b.h5", workers=1, progress=False)
    assert again.path.read_bytes() == report.path.read_bytes()  # a fresh process renders the same bytes


class TestSplit:
    LABELS = [0] * 50 + [1] * 10 + [2] * 2 + [3]

    def test_stratified_at_least_one_and_never_all(self) -> None:
        split = split_objects(self.LABELS, ["s"] * 63, 0.2, 0)
        assert np.bincount(self.LABELS, weights=split).tolist() == [10, 2, 1, 0]

    def test_seeded(self) -> None:
        same, again, other = (split_objects(self.LABELS, ["s"] * 63, 0.2, seed) for seed in (1, 1, 2))
        assert np.array_equal(same, again) and not np.array_equal(same, other)

    def test_val_source_counts_over_that_source(self) -> None:
        sources = ["real", "made"] * 31 + ["made"]
        split = split_objects(self.LABELS, sources, 0.4, 0, "real")
        assert {sources[i] for i in np.flatnonzero(split)} == {"real"}
        assert np.bincount(self.LABELS, weights=split).tolist() == [10, 2, 1, 0]

    def test_nothing_held_out(self) -> None:
        assert split_objects(self.LABELS, ["s"] * 63, 0.0, 0).sum() == 0

    def test_bad_fraction(self) -> None:
        with pytest.raises(ValueError, match=r"got 1\.5"):
            split_objects([0], ["s"], 1.5, 0)
