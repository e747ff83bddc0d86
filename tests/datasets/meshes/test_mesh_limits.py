"""Limits on what one mesh may cost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from equissl.datasets.meshes import (
    FolderSource,
    MeshError,
    MeshLimits,
    get_mesh_source,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "m" / "a").mkdir(parents=True)
    tetrahedron = "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nf 1 2 3\nf 1 3 4\nf 1 4 2\nf 2 4 3\n"
    (tmp_path / "m" / "a" / "t.obj").write_text(tetrahedron)
    return tmp_path / "m"


def test_bytes_and_faces(root: Path) -> None:
    with pytest.raises(MeshError, match=r"a/t\.obj: .*more than the limit of 1e-05 MB"):
        FolderSource(root, limits=MeshLimits(megabytes=1e-5)).load(0)
    with pytest.raises(MeshError, match=r"a/t\.obj: 4 faces, more than the limit of 3"):
        get_mesh_source(str(root), limits=MeshLimits(faces=3)).load(0)
    assert len(FolderSource(root, limits=MeshLimits(faces=4)).load(0).faces) == 4


def test_endless_decoding_is_cut_short(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that swallows everything does not stop the clock, and the clock does not go on afterwards."""

    def endless(*_: object) -> None:
        swallowed = False
        while True:
            try:
                while True:
                    pass
            except BaseException:
                if swallowed:
                    raise
                swallowed = True

    with monkeypatch.context() as patch:
        patch.setattr("equissl.datasets.meshes.listed.read_mesh", endless)
        with pytest.raises(MeshError, match=r"a/t\.obj: decoding takes longer than the limit of 0\.1 s"):
            FolderSource(root, limits=MeshLimits(seconds=0.1)).load(0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert len(FolderSource(root, limits=MeshLimits(seconds=0.1)).load(0).faces) == 4
