"""Any objective by name: each trains with the method, with the views and crops it is defined for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.losses import nt_xent, vicreg
from equissl.methods import Invariant, SimCLR, VICReg
from equissl.methods.views.crops import random_resized_crops
from equissl.objectives import OBJECTIVES, ObjectiveConfig

ENCODER = EncoderConfig(width=4)
OPTIONS: dict[str, dict[str, Any]] = {
    "groco": {"hardest": 2},
    "hydra": {"classes": 5, "width": 8, "hidden": 8, "ungated": 0.5, "sparsity": 0.1},
    "inter_clr": {"samples": 100, "clusters": 3, "min_members": 2, "queue": 12, "negatives": 4, "pool_size": 20},
    "moco": {"queue": 12},
    "mochi": {"queue": 12, "hardest": 4, "mixed": 2, "query_mixed": 2},
    "sep_clr": {"background": [0, 1]},
    "swav": {"prototypes": 5},
    "w_mse": {"eps": 0.1},
    "whitened_cse": {"groups": 5},
}


def method(name: str, **changes: Any) -> Invariant:
    torch.manual_seed(0)
    return Invariant(ENCODER, (12, 10), ObjectiveConfig(name, OPTIONS.get(name, {})), **changes)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if not name.endswith("_prediction")])
def test_every_objective_by_name(name: str, build_batch: Any) -> None:
    from dataclasses import replace

    views = 3 if name == "vicreg_trajectory" else 2
    batch = build_batch(views=views)
    batch = replace(batch, objects=torch.arange(len(batch)), group_ids=torch.arange(len(batch)) % 2)
    model = method(name, views=views)
    for step in range(2):
        model.zero_grad()
        out = model.step(batch)
        out.loss.backward()
        model.after_step(step, 10)
    assert torch.isfinite(out.loss) and out.features.shape == (6, views, 32)
    learned = [p for key, p in model.named_parameters() if not key.startswith("teacher")]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learned)
    assert model.encoder.conv1.weight.grad.abs().max() > 0
    parts = model.features(batch.images[:, 0])
    assert list(parts) == ["all"] and model.embedding(parts).shape[1] == 10


def test_it_is_simclr_and_vicreg_by_another_name(batch: ViewBatch) -> None:
    for name, options, other in [
        ("nt_xent", {}, SimCLR(ENCODER, (12, 10))),
        ("vicreg", {"sim": 10.0, "std": 10.0}, VICReg(ENCODER, (12, 10))),
    ]:
        same = Invariant(ENCODER, (12, 10), ObjectiveConfig(name, options)).double()
        same.load_state_dict(other.double().state_dict(), strict=False)
        torch.testing.assert_close(same.step(batch).loss, other.step(batch).loss)


def test_many_views(build_batch: Any) -> None:
    batch = build_batch(views=4)
    model = method("nt_xent", views=4).double()
    z = torch.stack([model.projector(view) for view in model.view_features(batch)], dim=1)
    torch.testing.assert_close(model.step(batch).loss, nt_xent(z))
    with pytest.raises(ValueError, match="takes 4 views per object, got 2"):
        model.step(build_batch(views=2))
    for name in ("vicreg", "mv_dhel", "byol", "swav"):
        assert torch.isfinite(method(name, views=4).step(batch).loss)
    assert vicreg(z).isfinite() and nt_xent(z).isfinite()


@pytest.mark.parametrize("name", ["swav", "byol", "nt_xent"])
def test_multi_crop(name: str, batch: ViewBatch) -> None:
    model = method(name, small_crops=3, small_size=32)
    out = model.step(batch)
    out.loss.backward()
    assert torch.isfinite(out.loss) and out.features.shape == (6, 2, 32)  # the large views alone


def test_crops_stay_inside_and_keep_linear_images() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(200, 2, 64, 64).clone()
    ramp[:, 1] = ramp[:, 1].transpose(1, 2).clone()
    crops = random_resized_crops(ramp, 16, scale=(0.05, 0.14), generator=torch.Generator().manual_seed(0))
    assert crops.shape == (200, 2, 16, 16)
    assert ramp.min() <= crops.min() and crops.max() <= ramp.max()
    width = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) / 2 * 16 / 15 * 63 / 64  # share of the image's side
    height = (crops[:, 1, -1, 0] - crops[:, 1, 0, 0]) / 2 * 16 / 15 * 63 / 64
    area = width * height
    assert 0.045 < area.min() < 0.06 and 0.13 < area.max() < 0.15
    ratio = width / height
    assert 0.7 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.4
    straight = crops[:, 0, 0].diff(dim=1)
    torch.testing.assert_close(straight, straight[:, :1].expand_as(straight), rtol=0, atol=1e-5)
    assert crops[:, 0, 0, 0].std() > 0.2  # they are in different places


def test_full_crop_is_the_image() -> None:
    images = torch.rand(3, 3, 16, 16)
    same = random_resized_crops(images, 16, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    torch.testing.assert_close(same, images)


def test_objective_that_compares_predictions_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a predictor"):
        method("vicreg_prediction")


def test_missing_object_numbers_are_named(batch: ViewBatch) -> None:
    if "inter_clr" not in OBJECTIVES:
        pytest.skip("no objective that needs them")
    with pytest.raises(ValueError, match="needs the samples of the batch"):
        method("inter_clr").step(batch)
