"""Damaged meshes of every format: each is refused by name, or drawn; none crashes or hangs the process.

``EQUISSL_DAMAGED_MESHES=10000`` makes the full count. Ten thousand take about two minutes; for a crash of the process
itself, ``python tests/datasets/damaged_meshes.py START COUNT`` prints where.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from damaged_meshes import FORMATS, check_case, check_mesh, make_case

from equissl.datasets.meshes import FolderSource, MeshError

COUNT = int(os.environ.get("EQUISSL_DAMAGED_MESHES", "300"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


def test_refused_by_name_or_drawn(tmp_path: Path) -> None:
    results = Counter((FORMATS[seed % 5], check_case(seed, tmp_path / "meshes")) for seed in range(COUNT))
    # of each format some are beyond use and some are not, or the damage tests nothing
    assert all(results[kind, result] > 0 for kind in FORMATS for result in ("refused", "drawn")), results


def test_whole_meshes_are_drawn(tmp_path: Path) -> None:
    """What is damaged above is good before."""
    import damaged_meshes

    for seed, kind in enumerate(FORMATS):
        files = getattr(damaged_meshes, kind)(np.random.default_rng(seed))
        (tmp_path / kind / "things").mkdir(parents=True)
        for name, data in files.items():
            (tmp_path / kind / "things" / name).parent.mkdir(exist_ok=True)
            (tmp_path / kind / "things" / name).write_bytes(data)
        mesh = FolderSource(tmp_path / kind).load(0)
        check_mesh(mesh)
        assert len(mesh.faces) >= 12


def test_cases_are_reproducible_and_differ() -> None:
    assert make_case(7) == make_case(7)
    assert len({make_case(seed)[0] for seed in range(300)}) > 30


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('"extensionsRequired": ["KHR_draco_mesh_compression"]', "KHR_draco_mesh_compression: pip install DracoPy"),
        ('"extensionsRequired": ["EXT_meshopt_compression"]', "EXT_meshopt_compression, which is not supported"),
        (
            '"accessors": [{"count": 400000000, "type": "VEC3", "componentType": 5126}]',
            "400000000 elements without data",
        ),
        ('"nodes": [' + "{}," * 200_000 + "{}]", "200001 nodes"),
    ],
)
def test_promises_of_a_glb_are_read_before_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    text = f'{{"asset": {{"version": "2.0"}}, {extra}}}'.encode()
    text += b" " * (-len(text) % 4)
    header = b"glTF" + np.array([2, 20 + len(text), len(text)], "<u4").tobytes() + b"JSON"
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "t.glb").write_bytes(header + text)
    with pytest.raises(MeshError, match=rf"things/t\.glb .*{message}"):
        FolderSource(tmp_path).load(0)
