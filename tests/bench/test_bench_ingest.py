"""The ingest benchmark finds formats and measures every step."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from equissl.bench.ingest import bench_ingest, find_drives


def test_every_step_of_simulated_drives_is_measured() -> None:
    results = bench_ingest(sweeps=2, workers="0", seconds=0.1, beams=8, columns=60)
    for key in ("simulate", "write/simulated", "read/simulated"):
        assert results[f"sweeps_per_s/{key}"] > 0
    assert results["pairs_per_s/simulated/w0"] > 0 and 0 < results["points/simulated"] <= 480
    with pytest.raises(ValueError, match="at least 2 sweeps"):
        bench_ingest(sweeps=1)


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Lays the samples out as their data sets do."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "datasets" / "drives"))
    return importlib.import_module("lidar_layouts")


def test_recorded_formats_are_found_where_they_lie_and_measured(
    shared: Path, layouts: ModuleType, tmp_path: Path, lines: list[str]
) -> None:
    layouts.tracking(shared, tmp_path / "kitti" / "tracking", most=2)
    layouts.kitti_object(shared, tmp_path / "kitti" / "object")
    found = dict(find_drives(tmp_path))
    assert found["kitti-tracking"] == tmp_path / "kitti" / "tracking"
    assert found["kitti-object"] == tmp_path / "kitti" / "object" and "folder" not in found
    results = bench_ingest(tmp_path, 2, "0", 0.1, beams=8, columns=60)
    assert results["sweeps_per_s/ingest/kitti-tracking"] > 0 and results["points/kitti-tracking"] > 50_000
    assert results["pairs_per_s/kitti-tracking/w0"] > 0
    assert "pairs_per_s/kitti-object/w0" not in results  # its frames do not follow one another
    assert any(line.startswith("kitti-object") for line in lines)


def test_a_folder_without_drives_has_none(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_drives(tmp_path) == []
