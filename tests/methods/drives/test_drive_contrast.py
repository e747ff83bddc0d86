"""Closed forms of the contrast between sites, at the size of the paper."""

from __future__ import annotations

import math

import pytest
import torch
from drive_cases import VOXELS, make_pair, tiny_drive_method

from equissl.methods.drives import CellContrast, ContrastConfig
from equissl.methods.drives.contrast import pair_contrast, site_contrast
from equissl.methods.drives.matching import point_sites

K = 2048


def test_equal_features_cost_log_k_each() -> None:
    ones = torch.ones(K, 8)
    assert pair_contrast(ones, ones, ContrastConfig(reduction="mean")).item() == pytest.approx(7.62462, abs=1e-5)
    total = pair_contrast(ones, ones, ContrastConfig()).item()
    assert total == pytest.approx(K * math.log(K), rel=1e-6) and 0.01 * total == pytest.approx(156.2, abs=0.05)


def test_perfect_features_cost_little() -> None:
    x = torch.eye(K)
    for symmetric in (False, True):
        config = ContrastConfig(reduction="mean", symmetric=symmetric)
        assert pair_contrast(x, 3 * x, config).item() == pytest.approx(0.00127830, rel=1e-4)


def test_the_loss_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20, 6, dtype=torch.float64, generator=generator) for _ in range(2))
    unit_x, unit_y = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
    table = (unit_x @ unit_y.T / 0.07).exp()
    expected = -(table.diagonal() / table.sum(1)).log().sum()
    torch.testing.assert_close(pair_contrast(x, y, ContrastConfig()), expected)


def test_scenes_with_few_pairs_have_no_contrast() -> None:
    batch = make_pair()
    counts = []
    for fewest in (2, 200):
        method = CellContrast(VOXELS, points=ContrastConfig(projector=(8,), fewest_pairs=fewest))
        out = method.step(batch)
        counts.append(float(out.terms["skipped"]))
        out.loss.backward()
    assert counts == [0.0, 1.0]
    assert out.loss == 0 and out.terms["pairs"] == 0 and all(p.grad is not None for p in method.parameters())


def test_the_mean_is_over_scenes_with_a_contrast() -> None:
    batch, method = make_pair(), tiny_drive_method("CellContrast").eval()
    a, b = method.encode(batch.current), method.encode(batch.current)
    sites = point_sites(a, "bev"), point_sites(b, "bev")
    whole, terms = site_contrast(method.projector, method.points, (a, b), sites, [0, 1, 2, 3])
    assert terms["contrast_top1"] == 1 and whole > 0  # two equal views find each other
    dropped = [torch.full_like(rows, -1) if scene == 2 else rows for scene, rows in enumerate(sites[0])]
    fewer, terms = site_contrast(method.projector, method.points, (a, b), (dropped, sites[1]), [0, 1, 2, 3])
    single = [torch.full_like(rows, -1) if scene != 2 else rows for scene, rows in enumerate(sites[0])]
    one, _ = site_contrast(method.projector, method.points, (a, b), (single, sites[1]), [0, 1, 2, 3])
    assert terms["skipped"] == 0.25
    torch.testing.assert_close(4 * whole, 3 * fewer + one)


def test_impossible_options_are_named() -> None:
    with pytest.raises(ValueError, match="expected a stage of bev"):
        ContrastConfig(stage="bird")
    with pytest.raises(ValueError, match="fewest_pairs <= pairs, got 64 and 10"):
        ContrastConfig(pairs=10)
