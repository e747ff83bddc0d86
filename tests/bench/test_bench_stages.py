"""The benchmark of stages: each beside the encoder of its seed without groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_store import write_synthetic_store

from equissl.bench.stages import bench_stages
from equissl.runs import ConfigError
from equissl.runs.checkpoint import run_config


@pytest.mark.slow
def test_stages_beside_encoders_without_groups(tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "a.h5", objects=24, views=4, size=32)
    flags = ["--trainer.max_steps=2", "--data.batch_size=8", "--method.encoder.width=4", "--method.projector=[8]"]
    arguments = {"seeds": 2, "first": 1, "clusters": 2, "probe_steps": 2, "train": flags, "out": tmp_path / "out"}
    found = bench_stages(store, **arguments)
    attributes = {name.partition(" ")[0] for name in found}
    assert attributes == {"class", "floor_hue_error", "light_hue_error", "light"}
    own, plain, gain = (
        found[f"class {name}"].numbers for name in ("stage_1", "ungrouped_1", "stage_1 less ungrouped_1")
    )
    pairs = [a - b for a, b in zip(own["values"], plain["values"], strict=True)]
    assert len(pairs) == 2 and gain["difference"] == pytest.approx(sum(pairs) / 2)
    runs = [run_config(tmp_path / "out" / "seed1" / name) for name in ("stage_1", "ungrouped_1")]
    assert runs[0].seed == runs[1].seed and runs[0].data.groups is not None and runs[1].data.groups is None
    again = bench_stages(store, **arguments)
    assert {name: line.numbers for name, line in again.items()} == {n: line.numbers for n, line in found.items()}


def test_one_stage_has_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 2 stages"):
        bench_stages(tmp_path / "a.h5", stages=1)
