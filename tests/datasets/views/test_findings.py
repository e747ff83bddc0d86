"""Warnings of a build of views: each kind once on the terminal, all of them in store and card."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_meshes import FakeRenderer, FakeSource

from equissl import cli
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.findings import SmallViews, find_small_views, group_warnings, skipped_lines
from equissl.datasets.views.folder.layout import pack, unpack
from equissl.datasets.views.store.format import NOT_COUNTED
from equissl.datasets.views.store.store import ViewStore

SPEC = BuildSpec(meshes="fake", views=3, size=16, seed=5, objects_per_shard=2)
SMALL = [SmallViews("bowl/004", (0, 1, 2), (0, 1, 2)), SmallViews("bowl/019", (0, 1, 2), (0, 1, 2))]
TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nvt 0 0\nf 1/1 2/1 3/1\nf 1/1 3/1 4/1\nf 1/1 4/1 2/1\nf 2/1 4/1 3/1\n"


def test_warnings_that_differ_in_names_and_numbers_are_one() -> None:
    pairs = [
        ("a/1", "texture 'oak.png' is missing; the material's Kd is used"),
        ("a/2", "texture 'ash tree.png' is missing; the material's Kd is used"),
        ("a/2", "texture 'elm.png' is missing; the material's Kd is used"),
        ("a/2", "material library sub/b.mtl is missing"),
        ("a/3", "material library c.mtl is missing"),
        ("a/4", "18 textured faces have no texture coordinates; (0, 0) is used"),
        ("a/5", "no endsolid at the end: the file may be cut"),
        ("a/6", "18 textured faces have no texture coordinates; (0, 0) is used"),
        ("a/7", "18 textured faces have no texture coordinates; (0, 0) is used"),
    ]
    assert [str(group) for group in group_warnings(pairs)] == [
        "18 textured faces have no texture coordinates; (0, 0) is used: 3 meshes, e.g. a/4",
        "texture … is missing; the material's Kd is used: 2 meshes, e.g. a/1",
        "material library … is missing: 2 meshes, e.g. a/2",
        "no endsolid at the end: the file may be cut: 1 mesh, e.g. a/5",
    ]


def test_many_meshes_left_out_are_counted() -> None:
    lines = skipped_lines([(f"a/{i}", "empty") for i in range(50)])
    assert len(lines) == 21 and lines[0] == "skipped a/0: empty" and lines[-1] == "skipped 30 more"


class TestBuild:
    @pytest.mark.parametrize("share", [0.0, 0.002, 1.0])
    def test_small_views_are_those_below_the_share(self, tmp_path: Path, share: float) -> None:
        report = build(tmp_path / "a.h5", replace(SPEC, min_coverage=share))
        pixels = ViewStore(tmp_path / "a.h5").tables.object_pixels
        assert sum(len(each.views) for each in report.small_views) == (pixels < share * 256).sum()

    def test_report_and_store_hold_all(self, tmp_path: Path) -> None:
        report = build(tmp_path / "a.h5", replace(SPEC, min_coverage=0.01))
        tables = ViewStore(tmp_path / "a.h5").tables
        assert tables.object_pixels[4].tolist() == [0, 1, 2] and tables.object_pixels[5].tolist() == [128] * 3
        missing = [(name, f"texture 'skin{int(name[-3:])}.png' is missing") for name in ("bowl/001", "chair/020")]
        assert report.warnings == [pair for name, text in missing for pair in ((name, text), (name, "no normals"))]
        assert list(tables.warnings) == report.warnings and report.small_views == SMALL

    def test_each_kind_is_said_once_also_of_a_finished_store(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = FakeSource(24, broken=(2,), notes=("2 .fbx are not read",))
        for _ in range(2):
            caplog.clear()
            build(tmp_path / "a.h5", replace(SPEC, min_coverage=0.01), source)
            assert [record.getMessage() for record in caplog.records] == [
                "2 .fbx are not read",
                "skipped chair/002: no faces",
                "texture … is missing: 2 meshes, e.g. bowl/001",
                "no normals: 2 meshes, e.g. bowl/001",
                "the object covers less than 1 % of the image: 6 of 69 views, of 2 objects, e.g. view 0 of bowl/004 "
                "(0 pixels)",
            ]

    def test_shards_keep_the_counts(self, tmp_path: Path) -> None:
        reports = [build(tmp_path / "a.h5", replace(SPEC, min_coverage=0.01), shard=f"{i}/2") for i in range(2)]
        assert not reports[0].joined and reports[0].small_views and reports[0].small_views != SMALL
        assert reports[1].joined and reports[1].small_views == SMALL and len(reports[1].warnings) == 4
        build(tmp_path / "whole.h5")
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()  # whatever the share

    def test_unpacked_and_packed_again_they_stay(self, tmp_path: Path) -> None:
        build(tmp_path / "a.h5")
        folder = unpack(tmp_path / "a.h5", tmp_path / "folder")
        assert pack(folder, tmp_path / "b.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()
        resized = ViewStore(pack(folder, tmp_path / "c.h5", size=8)).tables
        assert (resized.object_pixels == NOT_COUNTED).all() and find_small_views(resized, 8) == []

    def test_bad_shares(self) -> None:
        with pytest.raises(ValueError, match=r"0 <= min_coverage <= 1, got 2"):
            replace(SPEC, min_coverage=2)


def build(out: Path, spec: BuildSpec = SPEC, source: FakeSource | None = None, **options: str):
    return build_views(
        spec, out, 0, False, source=FakeSource(24) if source is None else source, renderer=FakeRenderer(), **options
    )


@pytest.fixture
def meshes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes: missing textures, a damaged mesh, one as thin as a hair, and a format that is not read."""
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "meshes"
    for name in ("chair/a", "chair/b", "lamp/c"):
        put(root / f"{name}.obj", f"mtllib {name[-1]}.mtl\nusemtl wood\n{TETRAHEDRON}")
        put(root / f"{name}.mtl", f"newmtl wood\nmap_Kd {name[-1]}.png\n")
    put(root / "lamp/damaged.obj", "v 0 0 0\n")
    put(root / "lamp/hair.obj", "v 0 0 0\nv 1 0 0\nv 0 0.0005 0\nf 1 2 3\n")
    put(root / "lamp/d.fbx", "x")
    return root


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_command_says_each_kind_once_and_the_card_all(
    meshes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--meshes", str(meshes), "--views", "3", "--size", "16", "--workers", "0", "--up", "x"]
    assert cli.main(["render", *flags, "--min_coverage", "0.03", "--out", str(tmp_path / "a.h5")]) == 0
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith(f"files in {meshes} of formats that are not read: 1 .fbx")
    assert said[1].startswith("skipped lamp/damaged.obj: ") and "lamp/damaged" not in said[1][9 + len("lamp/damaged") :]
    assert said[2] == "texture … is missing; the material's Kd is used: 3 meshes, e.g. chair/a.obj"
    assert said[3].startswith("the object covers less than 3 % of the image: ") and len(said) == 4
    assert "skipped" not in capsys.readouterr().out
    card = json.loads((tmp_path / "a.json").read_text())
    assert [row["mesh"] for row in card["warnings"]] == ["chair/a.obj", "chair/b.obj", "lamp/c.obj"]
    assert card["warning_counts"][0]["meshes"] == 3 and card["notes"] == said[:1] and card["making"]["up"] == "x"
    assert card["coverage"]["small"][-1]["mesh"] == "lamp/hair.obj" and card["coverage"]["min_coverage"] == 0.03
    text = (tmp_path / "a.md").read_text()
    assert f"* {said[0]}" in text and "| lamp/c.obj | texture 'c.png' is missing" in text
    counted = card["coverage"]
    assert f"less than 3 % of the image in {counted['small_views']} of 12 views" in text


def test_card_of_counts(tmp_path: Path) -> None:
    build(tmp_path / "a.h5")
    from equissl.datasets.views.card import data_card

    coverage = data_card(ViewStore(tmp_path / "a.h5"), min_coverage=0.005)["coverage"]
    assert coverage["median"] == 0.5 and coverage["views_counted"] == 72 and coverage["small_views"] == 4
    assert coverage["small"][0] == {"mesh": "bowl/004", "views": [0, 1], "pixels": [0, 1]}
    assert np.isclose(coverage["min_coverage"], 0.005)
