"""CustomContrast: its loss from the parts of its definition, stages of any encoder, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import create_encoder
from equissl.encoders.config import EncoderConfig
from equissl.losses import info_nce_of_views, multilevel_nce, unit_norm
from equissl.methods import METHODS


def embeddings(method: Any, batch: ViewBatch) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(B, V, D) of the whole and of each stage."""
    wholes, stages = [], []
    for view in range(2):
        maps = method.encoder.stage_maps(method.normalise(batch.images[:, view]))
        wholes.append(method.projector(maps[-1].mean(dim=(2, 3))))
        stages.append([p(maps[i].mean(dim=(2, 3))) for i, p in enumerate(method.stage_projectors)])
    levels = [torch.stack(level, dim=1) for level in zip(*stages, strict=True)]
    return torch.stack(wholes, dim=1), levels


def test_the_loss_is_that_of_the_whole_and_of_the_stages(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("CustomContrast", level=0.6).double()
    loss = method.step(batch).loss
    whole, levels = embeddings(method, batch)
    taught = []
    for view in range(2):
        vector = method.teacher["encoder"](method.normalise(batch.images[:, view]))
        taught.append(unit_norm(method.teacher["projector"](vector)))
    mean = unit_norm(taught[0] + taught[1])
    torch.testing.assert_close(loss, multilevel_nce(whole, levels, [1.0, 0.2, 0.2, 0.2], 0.1, mean @ mean.T))
    assert len(levels) == 3 and loss > info_nce_of_views(whole, 0.1)


def test_without_stages_it_is_infonce(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("CustomContrast plain").double()
    whole, levels = embeddings(method, batch)
    torch.testing.assert_close(method.step(batch).loss, info_nce_of_views(whole, 0.1))
    assert not levels and method.teacher is None
    torch.testing.assert_close(method.embedding(method.features(batch.images[:, 0])), whole[:, 0])


def test_alike_subjects_repel_each_other_less(batch: ViewBatch, build_method: Any) -> None:
    weighted, alike = (build_method("CustomContrast", reference=name).double() for name in ("teacher", "none"))
    alike.load_state_dict(weighted.state_dict(), strict=False)
    assert weighted.step(batch).loss < alike.step(batch).loss


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_resnet"])
def test_it_learns_from_stages_of_the_libraries_models(name: str, batch: ViewBatch) -> None:
    options = {"img_size": 64} if "vit" in name else {}
    method = METHODS["CustomContrast"](EncoderConfig(name, options=options), [16, 8], stage_projector=[8, 4])
    method.step(batch).loss.backward()
    assert all(p.grad is not None for n, p in method.encoder.named_parameters() if "cls_token" not in n)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/test_resnet", "timm/test_convnext"])
def test_stages_of_the_libraries_models(name: str) -> None:
    encoder = create_encoder(name).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = encoder.stage_maps(images)
    assert len(maps) >= 4 and torch.equal(maps[-1], encoder.feature_map(images))
    torch.testing.assert_close(encoder.pool(maps[-1]), encoder(images))
    assert [(x.shape[1], x.shape[2]) for x in maps] == encoder.stage_shapes(64)


def test_choices_that_do_not_fit_are_named() -> None:
    method, tiny = METHODS["CustomContrast"], EncoderConfig(width=4)
    for stages in ([3], [-1], [0, 7]):
        with pytest.raises(ValueError, match=rf"4 stages, the last of them the whole's, got \[{stages[-1]}\]"):
            method(tiny, stages=stages)
    for changes in ({"views": 1}, {"reference": "oracle"}):
        with pytest.raises(ValueError, match="at least 2 views and a reference 'teacher' or 'none'"):
            method(tiny, **changes)
