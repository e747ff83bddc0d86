from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from equissl.bench import live
from equissl.bench.live import _Training, bench_live
from equissl.datasets.views.batch import ViewBatch


def test_shares_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(live.time, "perf_counter", lambda: clock[0])
    training = _Training(torch.device("cpu"), 4, "32")
    monkeypatch.setattr(training, "step", lambda batch: clock.__setitem__(0, clock[0] + 3.0))

    def batches() -> Iterator[ViewBatch]:
        while True:
            clock[0] += 1.0
            yield None  # type: ignore[misc]

    assert training.time(batches(), 5) == 20.0
    assert training.time_waiting(batches(), 5) == pytest.approx(0.25)


def test_results_are_complete(lines: list[str]) -> None:
    result = bench_live(objects=8, size=32, workers=0, batch_size=4, steps=2, warmup=1, width=4, device="cpu")
    at_hand, rendered = result["images_per_s_at_hand"], result["images_per_s"]
    assert 0 <= result["data_share"] < 1 and 0 < result["wait_share"] < 1
    assert result["data_share"] == pytest.approx(max(0.0, 1 - rendered / at_hand))
    assert result["objects"] == 8 and result["where"] == "0 processes"
    assert "time lost to data" in lines[0]
