"""Every scene method: forward, backward, save, load, precision, configuration, bad input."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
import yaml
from drive_cases import ALL, CASES, VOXELS, make_pair, tiny_drive_method

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.geometry.sweep_transforms import TransformRanges
from equissl.methods import METHODS
from equissl.methods.drives import ESSL3D, CellContrast, DriveMethod, Occupancy, SweepInvariant
from equissl.objectives import ObjectiveConfig
from equissl.runs.configfile import build_method, dump_config, resolve_config

SCENE_METHODS = [name for name, method in METHODS.items() if method.kind == "drives"]
BEHIND_CONV3 = ("encoder.backbone.conv4", "encoder.backbone.conv_out")
VIEWS = {"ESSL3D time": 1, "Occupancy": 1}


@pytest.fixture(scope="module")
def pair() -> ScenePair:
    return make_pair()


def test_none_is_left_out() -> None:
    assert {case.split()[0] for case in CASES} == set(SCENE_METHODS)
    assert all(issubclass(METHODS[name], DriveMethod) for name in SCENE_METHODS)


def test_forward_backward_save_load(drive_case: str, pair: ScenePair) -> None:
    method = tiny_drive_method(drive_case)
    out = method.step(pair)
    assert out.loss.shape == () and torch.isfinite(out.loss)
    assert all(t.shape == () and not t.requires_grad and torch.isfinite(t) for t in out.terms.values())
    assert out.features.shape == (4, VIEWS.get(drive_case, 2), method.feature_dim) and not out.features.requires_grad
    out.loss.backward()
    for key, parameter in method.named_parameters():
        if not parameter.requires_grad:
            behind = drive_case == "CellContrast flow" and key.startswith(BEHIND_CONV3)
            assert (behind or key.startswith(("teacher.", "flow.teacher."))) and parameter.grad is None, key
            continue
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, f"{key} does not learn"
    method.after_step(0, 10)

    method.eval()
    expected = method.features(pair.current)["all"]
    assert expected.shape == (4, method.feature_dim) == (4, 2 * method.bev_features(pair.current).features.shape[1])
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = tiny_drive_method(drive_case, seed=1).eval()
    assert not torch.equal(other.features(pair.current)["all"], expected)
    other.load_state_dict(torch.load(file), strict=True)
    assert torch.equal(other.features(pair.current)["all"], expected)


def test_a_step_of_gradient_descent_lowers_the_loss(drive_case: str, pair: ScenePair) -> None:
    method = tiny_drive_method(drive_case).double()
    state = {key: value.clone() for key, value in method.state_dict().items()}
    loss = method.step(pair).loss
    loss.backward()
    method.load_state_dict(state)  # queues and running statistics as before
    learned = [p for p in method.parameters() if p.requires_grad]
    squared = sum(float(p.grad.square().sum()) for p in learned)
    rate = 1e-6 / squared**0.5
    with torch.no_grad():
        for parameter in learned:
            parameter -= rate * parameter.grad
    fall = float((loss - method.step(pair).loss).detach())
    assert fall == pytest.approx(rate * squared, rel=0.05)  # the finite difference along the gradient


def test_the_same_batch_gives_the_same_loss_and_another_seed_another(drive_case: str, pair: ScenePair) -> None:
    first, second, third = (
        tiny_drive_method(drive_case).step(batch).loss for batch in (pair, pair, replace(pair, seeds=pair.seeds + 50))
    )
    assert torch.equal(first, second)
    assert torch.equal(first, third) == (drive_case == "ESSL3D time")  # it draws nothing


def test_bfloat16_autocast_gives_a_float32_loss_near_the_exact_one(drive_case: str, pair: ScenePair) -> None:
    exact = tiny_drive_method(drive_case).step(pair).loss
    method = tiny_drive_method(drive_case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = method.step(pair)
        features = method.features(pair.current)["all"]
    assert out.loss.dtype == features.dtype == out.features.dtype == torch.float32
    assert all(term.dtype == torch.float32 for term in out.terms.values())
    assert out.loss.item() == pytest.approx(exact.item(), rel=0.1)
    out.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.requires_grad)


def test_an_empty_cloud_beside_others_is_no_accident(drive_case: str, pair: ScenePair) -> None:
    none = torch.zeros(0, 4)
    batch = replace(
        pair,
        previous=(none, *pair.previous[1:]),
        current=(none, pair.current[1] + 1000, *pair.current[2:]),
        flow=(none[:, :3], *pair.flow[1:]),
        flow_valid=(none[:, 0].bool(), *pair.flow_valid[1:]),
    )
    method = tiny_drive_method(drive_case)
    out = method.step(batch)
    assert torch.isfinite(out.loss) and all(torch.isfinite(term) for term in out.terms.values())
    out.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.requires_grad)
    assert (method.eval().features(batch.current)["all"][:2] == 0).all()


@pytest.mark.parametrize("name", SCENE_METHODS)
def test_constructors_can_be_configured_from_yaml(name: str) -> None:
    arguments = {
        "encoder": {"point_range": [-8, -8, -2, 8, 8, 4], "voxel_size": [0.5, 0.5, 0.25], "max_points": None},
        "ranges": {"rotation": [-1.0, 1.0], "rotation_bins": 6},
    }
    if name == "ESSL3D":
        arguments |= {"points": {"projector": [12, 8]}, "flow": {"stage": "conv_out"}, "classify": ["rotation", "flip"]}
    method = {"class_path": name, "init_args": arguments}
    config = resolve_config({"method": method, "data": {"store": "drives.h5"}, "trainer": {"max_steps": 1}})
    again = resolve_config(yaml.safe_load(dump_config(config)))  # as a saved config.yaml is read
    assert again == config
    method = build_method(again.method)
    assert isinstance(method, METHODS[name]) and method.feature_dim == 256
    assert method.encoder.config == replace(VOXELS, max_points=None)


def test_defaults_are_those_of_the_papers() -> None:
    method = ESSL3D()
    assert sum(p.numel() for p in method.encoder.parameters()) == 711_872
    assert method.weights == {"contrast": 0.01, "classify": 1.0, "flow": 300.0}
    assert [tuple(p.shape) for p in method.projectors["bev"].parameters() if p.ndim == 2] == [(256, 256), (128, 256)]
    assert [tuple(p.shape) for p in method.flow.predictor.parameters() if p.ndim == 2] == [(256, 128), (128, 256)]
    layers = [tuple(p.shape) for p in method.classifiers["rotation"].parameters() if p.ndim == 2]
    assert layers == [(256, 512), (256, 256), (10, 256)]
    assert method.encoder.bev_shape == (200, 176)


def test_what_cannot_be_is_named(pair: ScenePair) -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        ESSL3D(VOXELS, contrast=(), classify=(), flow_weight=0)
    with pytest.raises(ValueError, match="'separate' needs transformations to contrast"):
        ESSL3D(VOXELS, contrast=(), spatial_mode="separate")
    with pytest.raises(ValueError, match="cannot classify flip: nothing is drawn"):
        ESSL3D(VOXELS, TransformRanges(flip=0.0), classify=("flip",))
    with pytest.raises(ValueError, match="among rotation, translation, scale, flip, got shear"):
        ESSL3D(VOXELS, contrast=("shear",))
    with pytest.raises(ValueError, match="expected scene flow with every pair"):
        ESSL3D(VOXELS).step(replace(pair, flow=None, flow_valid=None))
    with pytest.raises(ValueError, match="expected poses"):
        CellContrast(VOXELS, sweeps="ego").step(replace(pair, motion=None))
    with pytest.raises(ValueError, match="'supcon' needs labels"):
        SweepInvariant(VOXELS, ObjectiveConfig("supcon"))
    with pytest.raises(ValueError, match="'cosine_prediction' needs a predictor"):
        SweepInvariant(VOXELS, ObjectiveConfig("cosine_prediction"))
    with pytest.raises(ValueError, match="expected positive queries and depth, got 0"):
        Occupancy(VOXELS, queries=0)


def test_only_the_wanted_transformations_are_drawn(pair: ScenePair) -> None:
    method = tiny_drive_method("ESSL3D separate", contrast=("flip",), classify=("rotation",))
    _, (a, b, c) = method._spatial_views(pair)
    for view in (a, b):
        assert (view.angle == 0).all() and (view.scale == 1).all() and (view.shift == 0).all()
    assert (c.angle != 0).all() and (c.flip == 0).all()
    _, (a, _) = tiny_drive_method("ESSL3D all")._spatial_views(pair)
    assert (a.angle != 0).all() and (a.scale != 1).all() and (a.shift != 0).all()


def test_every_transformation_can_be_contrasted_or_classified(pair: ScenePair) -> None:
    for name in ALL:
        alone = {"flow_weight": 0.0, "flow": METHODS["ESSL3D"](VOXELS).flow.config}
        classified = tiny_drive_method("ESSL3D", contrast=(), classify=(name,), **alone).step(pair).terms
        assert set(classified) == {name, f"{name}_accuracy"}
        contrasted = tiny_drive_method("ESSL3D", contrast=(name,), classify=(), **alone).step(pair).terms
        assert set(contrasted) == {"contrast", "contrast_top1", "pairs", "skipped"}


def test_a_wedge_alone_enters_the_spatial_views(pair: ScenePair) -> None:
    method = tiny_drive_method("ESSL3D space", field_of_view=90.0)
    views, _ = method._spatial_views(pair)
    inside = [int((cloud[:, 0] >= cloud[:, 1].abs()).sum()) for cloud in pair.current]
    assert list(views[0].voxels.sizes) == inside and max(inside) < 120
