"""The plain model that seq-JEPA is timed against is the same model."""

from __future__ import annotations

import torch

from equissl.bench.sequences import PlainSeqJEPA, _batch, bench_sequences
from equissl.encoders.config import EncoderConfig
from equissl.methods import SeqJEPA
from equissl.methods.views.base import normalize_images


def test_both_compute_the_same_loss() -> None:
    torch.manual_seed(0)
    method = SeqJEPA(EncoderConfig("resnet18", 4), views=4, action_dim=8, layers=2, hidden=16).double().eval()
    batch = _batch(5, 4, 32)
    actions = torch.stack([batch.relative_quats(i, i + 1) for i in range(3)], dim=1).double()
    loss = PlainSeqJEPA(method).loss(normalize_images(batch.images, torch.float64), actions)
    torch.testing.assert_close(loss, method.step(batch).loss)


def test_bench_runs(lines: list[str]) -> None:
    found = bench_sequences(2, 3, 32, "resnet18", 4, steps=1)
    assert set(found) == {"seq-JEPA ms/step", "plain ms/step", "times as fast"}
    assert found["times as fast"] > 0 and "3 views of 32 pixels" in lines[0]
