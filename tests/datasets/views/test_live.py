"""Views rendered during training are those that a build of as many views would store."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import the fakes by name
from fake_meshes import FakeRenderer, FakeSource

from equissl.datasets.loader import ViewLoader
from equissl.datasets.meshes import Mesh, MeshError, MeshSourceError
from equissl.datasets.meshes.memory import MeshMemory, mesh_bytes
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.dataset import ViewDataset
from equissl.datasets.views.live.spec import LiveSpec
from equissl.datasets.views.live.views import LiveViews
from equissl.datasets.views.store.store import ViewStore

SPEC = LiveSpec(meshes="fake", size=16, seed=5)
PROCEDURAL = LiveSpec(meshes="procedural", objects=26, size=32, seed=3, val_fraction=0.5)


def live(source: FakeSource | None = None, spec: LiveSpec = SPEC, **options: object) -> LiveViews:
    defaults = {"renderer": FakeRenderer(), "seed": 5}
    return LiveViews(spec, source=FakeSource() if source is None else source, **(defaults | options))  # type: ignore[arg-type]


def same(a: ViewBatch, b: ViewBatch) -> bool:
    names = ("images", "latents", "rotations", "labels", "objects", "views")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def stored(tmp_path: Path, spec: LiveSpec, views: int, **options: object) -> ViewStore:
    shared = {name: getattr(spec, name) for name in set(BuildSpec.__dataclass_fields__) & set(vars(spec))}
    build = BuildSpec(**shared, views=views, encoding="raw")
    return ViewStore(build_views(build, tmp_path / "a.h5", 0, False, **options).path)  # type: ignore[arg-type]


class TestSameAsStored:
    @pytest.mark.parametrize("split", ["train", "val", None])
    def test_real_renderer_to_the_last_pixel(self, tmp_path: Path, split: str | None) -> None:
        store = stored(tmp_path, PROCEDURAL, views=6)
        fresh, kept = LiveViews(PROCEDURAL, split, views=2, seed=3), ViewDataset(store, split)
        assert len(fresh) == len(kept) and np.array_equal(fresh.objects, kept.objects)
        assert fresh.store.classes == store.classes
        for epoch in (2, 0):
            batch = fresh.__getitems__([(epoch, index) for index in (4, 0, 3)])
            assert batch.views.tolist() == [[2 * epoch, 2 * epoch + 1]] * 3
            flat = (batch.objects[:, None] * 6 + batch.views).ravel().numpy()
            assert torch.equal(batch.images.flatten(0, 1), store.read_images(flat))
            assert np.array_equal(batch.latents.flatten(0, 1), store.latents.reshape(-1, 7)[flat].astype(np.float32))
            assert torch.equal(batch.rotations.flatten(0, 1), store.rotations().view(-1, 3, 3)[flat].float())
            assert batch.labels.tolist() == store.labels[batch.objects].tolist()

    def test_damaged_meshes_are_left_out_as_by_a_build(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        source = FakeSource(24, broken=(2, 3, 9))
        store = stored(tmp_path, SPEC, views=2, source=source, renderer=FakeRenderer())
        fresh = live(source, split=None)
        assert list(fresh.store.skipped) == list(store.tables.skipped)
        assert fresh.store.indices.tolist() == store.object_indices.tolist()
        assert fresh.store.split.tolist() == store.split.tolist()
        assert fresh.store.labels.tolist() == store.labels.tolist()
        said = [r.getMessage() for r in caplog.records if r.name.endswith("live.objects")]
        assert said[:3] == [f"skipped {name}: no faces" for name in ("chair/002", "apple/003", "apple/009")]
        assert said[3:5] == ["texture … is missing: 2 meshes, e.g. bowl/001", "no normals: 2 meshes, e.g. bowl/001"]
        assert said[5:] == [
            "the object covers less than 0.2 % of the image: 2 of 21 views, of 2 objects, e.g. view 0 of bowl/004 "
            "(0 pixels)"
        ]
        assert list(fresh.store.warnings) == list(store.tables.warnings)
        batch = fresh.__getitems__([(0, index) for index in range(21)])
        assert torch.equal(batch.images.flatten(0, 1), store.read_images(np.arange(42)))

    def test_poses_with_gaps_and_translations(self, tmp_path: Path) -> None:
        gaps = (math.pi / 2,) * 3
        spec = replace(SPEC, rotation_range=(math.pi,) * 3, rotation_gap=gaps, translation_range=(0.5, 0.4, 0.3))
        store = stored(tmp_path, spec, views=4, source=FakeSource(), renderer=FakeRenderer())
        batch = live(spec=spec, views=4, split=None).__getitems__([(0, index) for index in range(12)])
        assert np.array_equal(batch.latents, store.latents.astype(np.float32))
        assert batch.schema == store.schema and torch.equal(batch.translations, batch.latents[..., 7:])


class TestLatents:
    def test_each_is_uniform_in_its_range(self) -> None:
        views = live(FakeSource(40), split=None, views=5)
        latents = np.concatenate([views.latents(epoch, row) for epoch in range(20) for row in range(40)])
        for column, latent in zip(latents.T, views.store.schema.latents, strict=True):
            assert stats.kstest(column, stats.uniform(latent.low, latent.high - latent.low).cdf).pvalue > 1e-3
        correlation = np.corrcoef(latents.T) - np.eye(7)
        assert np.abs(correlation).max() < 5 / math.sqrt(len(latents))

    def test_as_the_builders(self, tmp_path: Path) -> None:
        store = stored(tmp_path, SPEC, views=60, source=FakeSource(), renderer=FakeRenderer())
        views = live(split=None, seed=77)
        latents = np.concatenate([views.latents(epoch, row) for epoch in range(30) for row in range(12)])
        for ours, theirs in zip(latents.T, store.latents.reshape(-1, 7).T, strict=True):
            assert stats.ks_2samp(ours, theirs).pvalue > 1e-3

    def test_a_visit_never_comes_again(self) -> None:
        views = live(split=None)
        rows = np.concatenate([views.latents(epoch, row) for epoch in range(50) for row in range(12)])
        assert len(np.unique(rows, axis=0)) == 1200


class TestAddresses:
    def test_without_images_all_else_is_the_same(self) -> None:
        dataset, addresses = live(), [(0, 0), (3, 1)]
        bare, batch = dataset.without_images(addresses), dataset.__getitems__(addresses)
        assert bare.images.numel() == 0
        assert same(replace(batch, images=bare.images), bare)

    def test_an_item_can_be_made_again_alone(self) -> None:
        together = live().__getitems__([(3, 4), (0, 1), (3, 0)])
        assert same(live()[(0, 1)], replace(together, **{n: getattr(together, n)[1:2] for n in (
            "images", "latents", "rotations", "labels", "objects", "views")}))  # fmt: skip

    def test_seed_and_epoch_matter(self) -> None:
        base = live()[(0, 0)].images
        assert not torch.equal(base, live()[(1, 0)].images)
        assert not torch.equal(base, live(seed=6)[(0, 0)].images)

    def test_workers_and_ranks_change_nothing(self) -> None:
        source = FakeSource(24, broken=(1,))
        plain = list(ViewLoader(live(source), 4))
        parallel = list(ViewLoader(live(source, workers=2), 4, workers=2))
        assert len(plain) == 4 and all(same(a, b) for a, b in zip(plain, parallel, strict=True))
        ranks = [list(ViewLoader(live(source), 2, rank=rank, world_size=2)) for rank in range(2)]
        for whole, *parts in zip(plain, *ranks, strict=True):
            assert torch.equal(whole.images, torch.cat([part.images for part in parts]))

    def test_it_can_be_sent_to_a_process(self) -> None:
        views = live()
        views[(0, 0)]  # with meshes in memory, which stay behind
        assert len(pickle.dumps(views)) < 10_000
        assert same(pickle.loads(pickle.dumps(views))[(1, 2)], views[(1, 2)])


@dataclass
class FailsLater(FakeSource):
    """Its file vanishes after the first look at it."""

    gone: tuple[int, ...] = ()
    looks: int = 0

    def load(self, index: int) -> Mesh:
        self.looks += 1
        if index in self.gone and self.looks > self.count:
            raise MeshError(f"{self.entry(index).name}: no such file")
        return super().load(index)


class TestFailures:
    def test_a_mesh_lost_later_is_replaced_by_the_next_object_and_named(self, caplog: pytest.LogCaptureFixture) -> None:
        views = live(FailsLater(12, gone=(0, 1)), replace(SPEC, val_fraction=0.0))
        batch = views.__getitems__([(2, index) for index in (0, 5, 1, 2)])
        assert batch.objects.tolist() == [2, 5, 2, 2] and batch.labels.tolist() == [2, 2, 2, 2]
        expected = live(spec=replace(SPEC, val_fraction=0.0)).__getitems__([(2, index) for index in (2, 5, 2, 2)])
        assert same(batch, expected)
        assert caplog.text.count("apple/000 cannot be rendered any more") == 1 and "no such file" in caplog.text

    def test_none_left(self) -> None:
        views = live(FailsLater(6, gone=tuple(range(6))))
        with pytest.raises(Exception, match=r"none of the 3 objects of split 'train' can be rendered any more"):
            views[(0, 0)]

    def test_no_mesh_can_be_used(self) -> None:
        with pytest.raises(MeshSourceError, match=r"none of the 2 meshes of 'fake'(?s:.*)apple/000: no faces"):
            live(FakeSource(2, broken=(0, 1)))

    def test_one_that_takes_the_process_with_it_is_named(self) -> None:
        with pytest.raises(RuntimeError, match=r"object 7 \(bowl/007\), 3 times"):
            live(FakeSource(deadly=7), workers=1)

    def test_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match="at least 1 view, got 0"):
            live(views=0)
        with pytest.raises(ValueError, match="all 12 are outside"):
            live(spec=replace(SPEC, val_fraction=0.0), split="val")
        with pytest.raises(ValueError, match="cache_megabytes >= 0, got -1"):
            LiveSpec(cache_megabytes=-1)


@dataclass
class FakeBatchRenderer(FakeRenderer):
    """Draws a whole batch in one call, as renderers on a GPU do; ``refuses`` one mesh."""

    refuses: int | None = None
    calls: int = 0

    def render_batch(self, meshes: Sequence[Mesh], views: Sequence[Sequence], size: int) -> Tensor:
        from equissl.renderers import RendererError

        self.calls += 1
        if any(mesh.vertices[0, 0] == self.refuses for mesh in meshes):
            raise RendererError("cannot be drawn")
        return torch.from_numpy(np.concatenate([self.render(m, v, size) for m, v in zip(meshes, views, strict=True)]))


class TestBatchRenderers:
    def test_one_call_a_batch_gives_the_same(self) -> None:
        renderer = FakeBatchRenderer()
        views = live(renderer=renderer)
        addresses = [(1, index) for index in (3, 0, 2)]
        assert views.in_training_process and same(views.__getitems__(addresses), live().__getitems__(addresses))
        assert renderer.calls == 1

    def test_a_mesh_that_it_refuses_is_replaced(self, caplog: pytest.LogCaptureFixture) -> None:
        views = live(renderer=FakeBatchRenderer(refuses=1), spec=replace(SPEC, val_fraction=0.0))
        assert views.__getitems__([(0, 0), (0, 1), (0, 5)]).objects.tolist() == [0, 2, 5]
        assert "bowl/001 cannot be rendered" in caplog.text


class TestMeshMemory:
    def test_the_meshes_used_last_are_kept(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        size = mesh_bytes(FakeSource().load(0))
        memory = MeshMemory(FakeSource(log=str(log)), 1)
        memory.limit = 2 * size
        first = memory.load(0)
        for index in (1, 0, 2, 0, 1):
            memory.load(index)
        assert memory.load(0) is first
        assert [line.split()[0] for line in log.read_text().splitlines()] == ["0", "1", "2", "1"]

    def test_none_are_kept_without_memory(self) -> None:
        memory = MeshMemory(FakeSource(), 0)
        assert memory.load(0) is not memory.load(0)


class TestSpec:
    def test_folders_become_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "shapes").mkdir()
        monkeypatch.chdir(tmp_path)
        for given, expected in (
            ("shapes", f"{tmp_path}/shapes"),
            ("procedural", "procedural"),
            ("sweethome3d + shapes", f"sweethome3d+{tmp_path}/shapes"),
            ("shapenet:shapes", f"shapenet:{tmp_path}/shapes"),
        ):
            assert LiveSpec(meshes=given).resolved().meshes == expected

    def test_the_command_for_a_store_builds_the_same_objects(self) -> None:
        spec = LiveSpec(meshes="procedural", objects=26, seed=3, rotation_range=(1.0, 2.0, 3.0))
        assert spec.render_command() == (
            "equissl render --meshes procedural --objects 26 --seed 3 --rotation_range '[1.0, 2.0, 3.0]' --out FILE.h5"
        )
