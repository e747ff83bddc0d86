"""Specifications, balanced choices and joined sources."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import trimesh

from equissl.datasets.meshes import (
    MESH_SOURCES,
    Joined,
    Mesh,
    MeshEntry,
    MeshSourceError,
    balanced_subset,
    get_mesh_source,
)
from equissl.datasets.meshes.procedural import make_object


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Classes of 6, 3 and 1 objects, one of which the generator has too."""
    for name, count in (("chair", 6), ("gem", 3), ("orb", 1)):
        (tmp_path / "meshes" / name).mkdir(parents=True)
        for k in range(count):
            trimesh.creation.box((1, 1 + k, 3)).export(tmp_path / "meshes" / name / f"{k}.stl")
    return str(tmp_path / "meshes")


def labels(source) -> Counter:
    return Counter(source.classes[source.entry(i).label] for i in range(len(source)))


def test_all_of_a_folder(folder: str) -> None:
    assert labels(get_mesh_source(folder)) == {"chair": 6, "gem": 3, "orb": 1}


@pytest.mark.parametrize(
    ("count", "expected"), [(3, {"chair": 1, "gem": 1, "orb": 1}), (7, {"chair": 3, "gem": 3, "orb": 1})]
)
def test_choice_is_balanced_and_seeded(folder: str, count: int, expected: dict[str, int]) -> None:
    names = {}
    for seed in (0, 1, 2, 3):
        source = get_mesh_source(folder, count, seed)
        assert labels(source) == expected
        names[seed] = [source.entry(i).name for i in range(count)]
        again = get_mesh_source(folder, count, seed)
        assert [again.entry(i).name for i in range(count)] == names[seed]
        full = balanced_subset(get_mesh_source(folder), 10, seed)
        assert [full.entry(i).name for i in range(count)] == names[seed]  # a smaller choice begins a larger one
    assert len({tuple(sorted(n)) for n in names.values()}) > 1
    assert source.load(0).name == names[3][0]


def test_counts_are_stated(folder: str) -> None:
    with pytest.raises(MeshSourceError, match=r"11 objects asked for, but .* has 10"):
        get_mesh_source(folder, 11)
    with pytest.raises(MeshSourceError, match="at least 1, got 0"):
        get_mesh_source(folder, 0)
    with pytest.raises(MeshSourceError, match="'procedural' has no end"):
        get_mesh_source("procedural")
    with pytest.raises(MeshSourceError, match="no class unicorn"):
        get_mesh_source("procedural", 4, classes=["unicorn"])


def test_joined_fills_from_the_left(folder: str) -> None:
    classes = ["chair", "gem", "table"]
    source = get_mesh_source(f"{folder}+procedural", 15, classes=classes)
    assert isinstance(source, Joined) and source.classes == ("chair", "gem", "table")
    kinds = [source.entry(i).source for i in range(15)]
    assert kinds == ["folder"] * 9 + ["procedural"] * 6
    assert labels(source) == {"chair": 6 + 3, "gem": 3, "table": 3}
    for i in range(15):
        entry = source.entry(i)
        assert entry.name.startswith(source.classes[entry.label] + "/")
        assert np.isfinite(source.load(i).vertices).all()
    few = get_mesh_source(f"{folder}+procedural", 4, classes=classes)
    assert [few.entry(i).source for i in range(4)] == ["folder"] * 4 and few.classes == source.classes
    with pytest.raises(IndexError):
        source.entry(15)


def test_joined_unites_classes_by_name(folder: str) -> None:
    source = get_mesh_source(f"{folder}+procedural", 40)
    assert {"gem", "orb", "chair", "window"} <= set(source.classes)
    assert list(source.classes) == sorted(set(source.classes))


def test_joined_finite_sources_state_their_counts(folder: str) -> None:
    assert len(get_mesh_source(f"{folder}+{folder}")) == 20
    with pytest.raises(MeshSourceError, match=r"21 objects asked for, but .* has 20"):
        get_mesh_source(f"{folder}+{folder}", 21)


def test_a_folder_with_a_plus_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a+b" / "box").mkdir(parents=True)
    trimesh.creation.box().export(tmp_path / "a+b" / "box" / "x.off")
    assert len(get_mesh_source(str(tmp_path / "a+b"))) == 1


def test_sources_cross_processes(folder: str) -> None:
    source = get_mesh_source(f"{folder}+procedural", 12, classes=["chair"])
    copy = pickle.loads(pickle.dumps(source))
    for i in (0, 11):
        assert copy.entry(i) == source.entry(i)
        np.testing.assert_array_equal(copy.load(i).vertices, source.load(i).vertices)


class Boxes:
    """A user's own source: three boxes in two classes."""

    name = "boxes"
    classes = ("tall", "flat", "cube")

    def __init__(self, root: str = "nowhere") -> None:
        self.root = root

    def __len__(self) -> int:
        return 3

    def entry(self, index: int) -> MeshEntry:
        return MeshEntry(f"{self.classes[index]}/{index}", index, self.name)

    def load(self, index: int) -> Mesh:
        return make_object("table", index)


class Endless(Boxes):
    """Makes as many as asked."""

    endless = ("cube", "flat")

    def __init__(self, num_objects: int, seed: int, classes: Sequence[str]) -> None:
        self.asked = num_objects, seed, tuple(classes)
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return self.asked[0]


@pytest.mark.parametrize("separator", [":", "."])
def test_a_source_of_ones_own_by_import_path(tmp_path: Path, separator: str) -> None:
    path = f"{__name__}{separator}Boxes"
    assert labels(get_mesh_source(path)) == {"tall": 1, "flat": 1, "cube": 1}
    source = get_mesh_source(f"{path}:{tmp_path}")
    assert isinstance(source, Boxes) and source.root == str(tmp_path)
    chosen = get_mesh_source(path, classes=["cube", "tall"])
    assert chosen.classes == ("tall", "cube")
    assert [(chosen.entry(i).name, chosen.entry(i).label) for i in range(len(chosen))] == [("tall/0", 0), ("cube/2", 1)]
    joined = get_mesh_source(f"{path}+procedural", 5, classes=["flat", "chair"])
    assert [joined.entry(i).source for i in range(5)] == ["boxes", *["procedural"] * 4]


def test_an_endless_source_of_ones_own() -> None:
    source = get_mesh_source(f"{__name__}:Endless", 7, 3, classes=["flat"])
    assert isinstance(source, Endless) and source.asked == (7, 3, ("flat",))
    with pytest.raises(MeshSourceError, match="has no end: say how many objects"):
        get_mesh_source(f"{__name__}:Endless")


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MeshSourceError, match=r"cannot import mesh source 'no\.such:Source'"):
        get_mesh_source("no.such:Source")
    with pytest.raises(MeshSourceError, match="expected mesh source 'pathlib:Path' to be a MeshSource"):
        get_mesh_source(f"pathlib:Path:{tmp_path}")
    with pytest.raises(MeshSourceError, match="'procedural' takes no folder, got 'procedural:/tmp'"):
        get_mesh_source("procedural:/tmp", 3)
    with pytest.raises(MeshSourceError, match=r"got 'proceduril' \(did you mean 'procedural'\?\)"):
        get_mesh_source("proceduril")


def test_every_built_in_source_is_found_under_its_name() -> None:
    assert all(source.name == name for name, source in MESH_SOURCES.items())
