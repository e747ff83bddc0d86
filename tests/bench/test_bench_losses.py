"""The benchmark of losses at toy size, and that it compares like with like."""

from __future__ import annotations

import pytest
import torch

from equissl.bench import losses as bench
from equissl.bench.lightly_losses import has_lightly, lightly_rival
from equissl.bench.losses import LossTiming, bench_losses
from equissl.bench.memory import peak_bytes
from equissl.cli import main

needs_lightly = pytest.mark.skipif(not has_lightly(), reason="lightly is only an oracle")
SMALL = {"batch": "12", "dim": 8, "seconds": 0.01, "prototypes": 6, "queue": 20}


def test_every_objective_has_a_line(lines: list[str]) -> None:
    summary = bench_losses(views="2,3", lightly=False, **SMALL)
    assert summary["lines"] + summary["left_out"] == len(lines) - 1
    assert summary["compared"] == 0 and "lowest_ratio" not in summary

    assert summary["lines"] > 30


@needs_lightly
def test_lightly_is_compared_where_it_has_the_loss(lines: list[str]) -> None:
    names = "nt_xent,dhel,swav"
    summary = bench_losses(names, views="2,4", lightly=True, **SMALL)
    assert summary["lines"] == 6 and summary["compared"] == 3  # nt_xent for two views, swav for both
    assert "ratio" in lines[1] and "ratio" not in lines[2] and summary["lowest_ratio"] > 0


@needs_lightly
@pytest.mark.parametrize(
    "name",
    ["align_uniform", "barlow_twins", "byol", "dcl", "dclw", "nt_xent", "simsiam", "swav", "vicreg", "w_mse"],
)
def test_both_compute_the_same(name: str) -> None:
    z = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(0))
    toy = bench._Bench(8, 8, 20, 0.01, True, torch.device("cpu"))
    rival = lightly_rival(name, 16, 2, 8, 20)
    assert rival is not None
    torch.testing.assert_close(toy.ours(name, z)(z), rival(z.unbind(1)), rtol=1e-4, atol=1e-5)


def test_memory_is_counted_at_the_worst_moment() -> None:
    def one() -> None:
        first = torch.ones(1000, 1000)
        second = first + 1
        del first, second
        torch.ones(500, 1000)

    assert peak_bytes(one, torch.device("cpu")) == pytest.approx(8e6, rel=1e-4)


def test_a_spent_budget_and_impossible_sizes_leave_lines_out(lines: list[str]) -> None:
    assert bench_losses("dcl,vicreg", views="2", budget=0, lightly=False, **SMALL)["left_out"] == 2
    assert "dcl" in lines[1] and "budget of 0 s is spent" in lines[1]
    lines.clear()
    bench_losses("w_mse", views="2", lightly=False, **{**SMALL, "batch": "4"})
    assert "left out: whitening 8 dimensions needs more than 8 rows, got 4" in lines[1]


def test_missing_lightly_is_said(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    monkeypatch.setattr(bench, "has_lightly", lambda: False)
    assert bench_losses("nt_xent", views="2", **SMALL)["compared"] == 0
    assert "pip install lightly" in lines[0]
    with pytest.raises(ValueError, match="pip install lightly"):
        bench_losses("nt_xent", lightly=True)


def test_ratio_is_lightlys_time_over_ours() -> None:
    row = LossTiming("dcl", 256, 2, 0.5, 1.0, 1.0, 3.0)
    assert row.ratio == 2 and str(row).endswith("ratio 2.00")


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--names dcl --batch 8,12 --views 2 --dim 8 --seconds 0.01 --lightly false"
    assert main(["bench", "losses", *flags.split()]) == 0
    err = capsys.readouterr().err
    assert err.count("dcl ") == 2 and "B=12 " in err and "MiB" in err
    assert main(["bench", "losses", "--batch", "none"]) == 2
    assert "positive numbers separated by commas, got 'none'" in capsys.readouterr().err
    assert main(["bench", "losses", "--names", "none"]) == 2
    assert "unknown objectives none; expected some of align_uniform" in capsys.readouterr().err
