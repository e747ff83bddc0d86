"""Every baseline of seq-JEPA's scripts, under the authors' names, computes the same here after its import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from published_seqjepa_baselines import METHODS, Baseline
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import augmentation_schema, saccade_schema, threediebench_schema
from equissl.geometry import euler_to_rotmat
from equissl.weights import StoredWeights, WeightsError, find_layout
from equissl.weights.imports import filled_config, filled_method
from equissl.weights.script import Script

SCALE = 1 if os.environ.get("PUBLISHED_SIZES") == "1" else 32  # divides the published widths
NUMBERS = {"3diebench": 4, "cifar100": 9, "stl10": 2}
SCHEMAS = {"3diebench": threediebench_schema, "cifar100": augmentation_schema, "stl10": saccade_schema}
ODD = {"temp": 0.3, "equi_factor": 0.7, "inv_coeff": 11.0, "var_coeff": 13.0, "cov_coeff": 0.5, "alpha": 0.2}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("simclr", "3diebench", {}),
    ("vicreg", "cifar100", {}),
    ("vicreg-traj", "3diebench", {}),
    ("sie", "3diebench", {}),
    ("sie", "cifar100", {}),
    ("simclr-equimod", "3diebench", {"act_projdim": 24}),
    ("simclr-equimod", "cifar100", {"learn_act_emb": 0}),
    ("sen", "cifar100", {}),
    ("byol-cond", "3diebench", {}),
    ("conv-ijepa", "stl10", {}),
    ("conv-ijepa", "stl10", {"ema": False, "pred_hidden": 48}),
]


def published(method: str, dataset: str, given: dict[str, Any]) -> Baseline:
    torch.manual_seed(4)
    model = Baseline(method, dataset, NUMBERS[dataset], scale=SCALE, **ODD, **given)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def sequences(dataset: str, views: int) -> ViewBatch:
    generator = torch.Generator().manual_seed(views)
    schema = SCHEMAS[dataset]()
    latents = torch.rand(5, views, len(schema), generator=generator, dtype=torch.float64)
    images = torch.randn(5, views, 3, 32, 32, generator=generator, dtype=torch.float64)
    angles = latents[..., :3] if dataset == "3diebench" else torch.zeros(5, views, 3, dtype=torch.float64)
    return ViewBatch(images, euler_to_rotmat(angles), latents, torch.zeros(5, dtype=torch.long), schema)


def to_last(dataset: str, latents: Tensor) -> Tensor:
    """(B, V − 1, A) actions from each of the other views to the last one."""
    if dataset == "3diebench":
        *others, last = (Rotation.from_euler("xyz", view.numpy()) for view in latents[..., :3].unbind(1))
        return torch.stack([torch.from_numpy((other.inv() * last).as_quat()) for other in others], dim=1)
    states = F.normalize(latents, dim=1) if dataset == "cifar100" else latents
    return states[:, -1:] - states[:, :-1]


@pytest.mark.parametrize(("method", "dataset", "given"), CASES)
def test_every_baseline_computes_what_the_authors_model_does(method: str, dataset: str, given: dict[str, Any]) -> None:
    model = published(method, dataset, given)
    script = Script({"option": method}, ODD)
    stored = StoredWeights(Path("model.pth"), model.state_dict(), 100, "")
    layout = find_layout("seqjepa", stored.tensors, script)
    assert layout.option == method
    ours = filled_method(stored, layout, filled_config(layout, stored, None)).double().eval()
    theirs, batch = model.double(), sequences(dataset, ours.views)
    with torch.no_grad():
        expected = theirs(batch.images, to_last(dataset, batch.latents))
        torch.testing.assert_close(ours.step(batch).loss, expected, rtol=1e-9, atol=1e-9)


def test_every_method_of_the_scripts_is_compared() -> None:
    assert {method for method, _, _ in CASES} == set(METHODS)


def test_a_baseline_is_found_by_its_parts() -> None:
    def found(method: str, dataset: str, **flags: Any) -> tuple[str, str]:
        with torch.device("meta"):
            tensors = Baseline(method, dataset, NUMBERS[dataset]).state_dict()
        script = Script(flags)
        return find_layout("seqjepa", tensors, script).option, "\n".join(script.assumed)

    assert found("simclr", "cifar100") == ("simclr", found("simclr", "cifar100")[1])
    assert "temp 0.5" in found("simclr", "cifar100")[1]
    option, assumed = found("vicreg-traj", "3diebench")
    assert option == "vicreg" and "vicreg-traj would have the same weights" in assumed
    assert found("vicreg-traj", "3diebench", option="vicreg-traj")[0] == "vicreg-traj"
    assert found("conv-ijepa", "stl10")[0] == "conv-ijepa"
    with pytest.raises(WeightsError, match="those of sen, not of 'simclr'"):
        found("sen", "cifar100", option="simclr")
    with torch.device("meta"):
        tensors = Baseline("byol-cond", "3diebench", 4).state_dict()
    with pytest.raises(WeightsError, match=r"missing action_proj\.0\.weight"):
        find_layout("seqjepa", {key: value for key, value in tensors.items() if "action_proj" not in key})
    stranger = {key.replace("predictor.", "stranger."): value for key, value in tensors.items()}
    with pytest.raises(WeightsError, match="found parts action_proj, encoder, projector, stranger"):
        find_layout("seqjepa", stranger)
