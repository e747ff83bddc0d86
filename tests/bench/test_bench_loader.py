from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equissl.bench.loader import OriginalWay, _pairs_of, bench_loader, make_three_forms, relative_quaternion
from equissl.datasets.views.dataset import ViewDataset


def test_quaternion_of_the_original_way_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for first, second in rng.uniform(-1.5, 1.5, (20, 2, 3)):
        expected = (Rotation.from_euler("xyz", first).inv() * Rotation.from_euler("xyz", second)).as_quat()
        assert np.abs(relative_quaternion(first, second) - expected).max() < 1e-12


def test_the_three_ways_yield_the_same_pairs(tmp_path: Path) -> None:
    jpeg, raw, loose = make_three_forms(tmp_path, 3, 32)
    items = np.array([0, 2, 1])  # first epoch: the items' numbers are the objects'
    images, quats = OriginalWay(loose)(items)
    for store in (jpeg, raw):
        ours, our_quats = _pairs_of(ViewDataset(store, None))(items)
        assert ours.shape == images.shape == (3, 2, 3, 32, 32) and ours.dtype == images.dtype == torch.uint8
        assert (ours.int() - images.int()).abs().max() <= 3  # Pillow and torchvision bring their own decoders
        assert torch.allclose(our_quats.double(), quats, atol=1e-6)


def test_results_are_complete_and_temporary_data_removed(tmp_path: Path) -> None:
    results = bench_loader(images=20, size=32, batch_size=4, seconds=0.01, rounds=1, memory_batches=20, folder=tmp_path)
    for way in ("jpeg", "raw", "jpeg_float", "raw_float"):
        kind = "original_float" if way.endswith("_float") else "original"
        assert results[f"ratio/{way}"] == pytest.approx(results[f"pairs_per_s/{way}"] / results[f"pairs_per_s/{kind}"])
    assert results["resident_mb/raw/first"] > 10 and results["images"] == 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_stores_are_faster_by_the_promised_factors_and_memory_is_flat() -> None:
    results = bench_loader(images=200, seconds=1.0, rounds=3, memory_batches=1000)
    assert results["ratio/jpeg"] >= 2, results
    assert results["ratio/raw"] >= 10, results
    for way in ("jpeg", "raw"):
        growth = results[f"resident_mb/{way}/last"] - results[f"resident_mb/{way}/first"]
        assert growth < 20, results
