"""Autoencoders trained on view stores: parts of the decoder in probes, and decoded views on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.views.config import ViewsData
from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation import evaluate
from equissl.evaluation.decoding import DECODED
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig, RotationProbeConfig
from equissl.reporting import format_table, write_report
from equissl.runs import MethodConfig, PretrainConfig, TrainerConfig, load_method
from equissl.runs.config import ProbeConfig
from equissl.training import pretrain

VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "options": {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}
MASKED = {"encoder": VIT, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 1}
CODED = {"encoder": {"width": 4, "stem": "small"}, "image_size": 16, "code_dim": 6, "decoder_width": 2}
QUICK = EvaluateConfig(
    protocols=["classification", "rotation"],
    classification=LinearProbeConfig(steps=3),
    rotation=RotationProbeConfig(hidden=(8,), steps=3),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_store(tmp_path_factory.mktemp("views") / "views.h5", objects=48, views=4, size=16)


@pytest.mark.parametrize(
    ("method", "label", "init_args", "rows"),
    [
        ("CMIM", "cMIM", CODED, {"reconstruction", "sample"}),
        ("CMIM", "VAE", {**CODED, "bound": "vae", "contrast": 0.0, "views": 2}, {"reconstruction", "sample"}),
        ("MAE", "MAE", MASKED, {"visible patches", "reconstruction"}),
    ],
)
def test_probes_and_page(
    method: str, label: str, init_args: dict[str, Any], rows: set[str], store: Path, tmp_path: Path
) -> None:
    settings = TrainerConfig(max_steps=2, precision="32", accelerator="cpu", loggers=["csv"])
    data, probes = ViewsData(store=str(store), batch_size=8), ProbeConfig(enabled=False)
    run = pretrain(PretrainConfig(MethodConfig(method, init_args), data, trainer=settings, probes=probes), tmp_path)
    parts = ["all", "decoder"] if method == "CMIM" else ["all"]
    QUICK.parts = parts
    results = evaluate(run, QUICK)
    for part in parts:
        assert 0 <= results[f"classification/{part}/top1"] <= 1
        assert 0 < results[f"rotation/mean_deg/{part}"] < 180
    with np.load(run / DECODED) as arrays:
        decoded = {name: arrays[name] for name in arrays.files}
    assert decoded.keys() == {"images", *rows} and all(x.shape == (8, 3, 16, 16) for x in decoded.values())
    # the first views of validation objects, the last quarter of the 48, the first and the last of them among these
    first, last = ViewStore(store).read_images(np.array([36, 47]) * 4).numpy()
    assert np.array_equal(decoded["images"][0], first) and np.array_equal(decoded["images"][-1], last)
    again = load_method(run)[0].decoded(torch.from_numpy(decoded["images"]), torch.Generator().manual_seed(0))
    for name in rows:  # rounded to bytes: one level apart at most
        assert np.abs(again[name].detach().numpy() * 255 - decoded[name]).max() < 0.51
    assert results["label"] == label
    assert all(
        (f"{heading} decoder" in format_table([results])) == ("decoder" in parts) for heading in ("top-1 %", "mean °")
    )
    page = write_report([run], tmp_path / "page.html").read_text()
    assert (f"{label} · decoder</text>" in page) == ("decoder" in parts)
    assert "Decoded images" in page and page.count("data:image/png") == 12 + len(decoded)
