"""The evaluation benchmark at the smallest size: its arithmetic, and that nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from equissl.bench.evaluation import bench_evaluate


def test_the_published_way_is_scaled_by_its_epochs(tmp_path: Path) -> None:
    sizes = {"objects": 20, "views": 3, "size": 32, "width": 8, "batch_size": 4, "threads": 1}
    found = bench_evaluate(**sizes, epochs=3, hue_epochs=2, folder=tmp_path)
    epochs = {"classification": 3, "rotation": 3, "hue": 2}
    measured = {key: value for key, value in found.items() if key.startswith("epoch_s/")}
    assert set(measured) == {f"epoch_s/{name}/{part}" for name in epochs for part in ("all", "inv", "equi")}
    expected = sum(seconds * epochs[key.split("/")[1]] for key, seconds in measured.items())
    assert found["seconds/published"] == pytest.approx(expected)
    assert found["ratio"] == pytest.approx(expected / found["seconds/ours"])
    assert found["seconds/ours_cached"] > 0 and found["objects"] == 20
    assert list(tmp_path.iterdir()) == []
