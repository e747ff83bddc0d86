"""Every method: forward, backward, save, load, precision, bad input."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import PIXEL_MEAN, PIXEL_STD, EncoderConfig
from equissl.geometry import euler_to_rotmat, rotmat_to_unitquat
from equissl.methods import METHODS, SIE, CapsIE, EquiCaps, Method, SimCLR, VICReg
from equissl.methods.views import base as views_base
from equissl.methods.views.base import normalize_images
from equissl.methods.views.supervised import quaternion_alignment

# those on scenes and on sequences have tests of their own
IMAGE_METHODS = [name for name, method in METHODS.items() if method.kind == "views"]
PARTS = {
    "Concatenated": {"all": 64, "stage_0": 32, "stage_1": 32},
    "Translator": {"all": 8},
    "Composed split": {"all": 32, "inv": 16, "equi": 16},
    "CMIM": {"all": 8, "decoder": 62},
    "CMIM vae": {"all": 8, "decoder": 62},
    "SIE": {"all": 32, "inv": 16, "equi": 16},
    "EquiCaps": {"all": 32, "inv": 4, "equi": 36},
    "EquiCaps 4x4": {"all": 32, "inv": 4, "equi": 64},
    "CapsIE": {"all": 32, "inv": 4, "equi": 20},
    "GroupEquivariant": {"all": 32, "inv": 10, "equi": 21},
    "GroupEquivariant alignment": {"all": 32, "inv": 10, "equi": 17},
}


def test_forward_backward_save_load(case: str, batch: ViewBatch, build_method: Any) -> None:
    method = build_method(case)
    out = method.step(batch)
    assert out.loss.shape == () and torch.isfinite(out.loss)
    assert all(not term.requires_grad and torch.isfinite(term) for term in out.terms.values())
    assert out.features.shape == (6, method.views, method.feature_dim) and not out.features.requires_grad
    out.loss.backward()
    for key, parameter in method.named_parameters():
        if not parameter.requires_grad:  # a teacher's
            assert parameter.grad is None, key
            continue
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, f"{key} does not learn"

    method.eval()
    expected = method.features(batch.images[:, 0])
    assert {k: v.shape[1] for k, v in expected.items()} == PARTS.get(case, {"all": 32})
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = build_method(case, seed=1).eval()
    assert not torch.equal(other.features(batch.images[:, 0])["all"], expected["all"])
    other.load_state_dict(torch.load(file), strict=True)
    for part, value in other.features(batch.images[:, 0]).items():
        assert torch.equal(value, expected[part])


def test_a_step_of_gradient_descent_lowers_the_loss(
    case: str, batch: ViewBatch, build_method: Any, take_step: Any
) -> None:
    method = build_method(case).double()
    before = copy.deepcopy(method)  # a method may count its draws
    loss = take_step(method, batch).loss
    loss.backward()
    learned = _differentiated(case, method)
    squared = sum(float(p.grad.square().sum()) for p in learned)
    rate = 1e-5 / squared**0.5
    with torch.no_grad():
        for parameter, twin in zip(learned, _differentiated(case, before), strict=True):
            twin -= rate * parameter.grad
    fall = float((loss - take_step(before, batch).loss).detach())
    assert fall == pytest.approx(rate * squared, rel=0.05)  # the finite difference along the gradient


def _differentiated(case: str, method: Method) -> list[torch.nn.Parameter]:
    """Parameters whose gradient is the derivative of the loss."""
    stopped = "encoder." if case == "CoreTuning" else "-"  # its loss detaches features, so that the encoder's is not
    return [p for name, p in method.named_parameters() if p.requires_grad and not name.startswith(stopped)]


def test_bfloat16_autocast_gives_a_float32_loss_near_the_exact_one(
    case: str, batch: ViewBatch, build_method: Any, take_step: Any
) -> None:
    method = build_method(case)
    exact = take_step(copy.deepcopy(method), batch).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = take_step(method, batch)
        features = method.features(batch.images[:, 0])
    assert out.loss.dtype == torch.float32
    assert all(term.dtype == torch.float32 for term in out.terms.values())
    assert out.loss.item() == pytest.approx(exact.item(), rel=0.1)
    assert out.features.dtype == torch.float32 and all(v.dtype == torch.float32 for v in features.values())
    out.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.requires_grad)


def test_channels_last_changes_nothing_but_the_layout(
    case: str, batch: ViewBatch, build_method: Any, take_step: Any
) -> None:
    method = build_method(case).double()
    expected = take_step(copy.deepcopy(method), batch).loss
    torch.testing.assert_close(take_step(method.to(memory_format=torch.channels_last), batch).loss, expected)


def test_wrong_number_of_views_is_named(case: str, build_batch: Any, build_method: Any) -> None:
    method = build_method(case)
    with pytest.raises(ValueError, match=f"{case.split()[0]} takes {method.views} views per object, got 4"):
        method.step(build_batch(views=4))


@pytest.mark.parametrize(
    "name", ["SIE", "EquiCaps", "EquiCaps 4x4", "CapsIE", "GroupEquivariant", "GroupEquivariant alignment"]
)
def test_action_gap(name: str, batch: ViewBatch, build_method: Any) -> None:
    method = build_method(name)
    out = method.step(batch)
    # the step's own batch is the global batch here, so both ways to the equivariance loss agree
    torch.testing.assert_close(out.action_gap["equivariance"], out.terms["equivariance"])
    assert out.action_gap["equivariance_ignored_action"] != out.action_gap["equivariance"]
    gap = method.predictor_losses(batch)
    torch.testing.assert_close(gap["equivariance_ignored_action"], out.action_gap["equivariance_ignored_action"])
    assert not gap["equivariance"].requires_grad
    method.track_action_gap = False
    assert method.step(batch).action_gap is None
    # when all samples share one action, the neighbour's action is one's own
    same = replace(
        batch,
        rotations=batch.rotations[:1].expand(6, 2, 3, 3),
        latents=batch.latents[:1].expand(6, 2, 7),
        translations=batch.translations[:1].expand(6, 2, 3),
    )
    shared = method.predictor_losses(same)
    torch.testing.assert_close(shared["equivariance"], shared["equivariance_ignored_action"])


@pytest.mark.parametrize("name", ["VICReg", "SimCLR", "Supervised"])
def test_methods_without_predictor_have_no_action_gap(name: str, batch: ViewBatch, build_method: Any) -> None:
    method = build_method(name)
    assert method.step(batch).action_gap is None and method.predictor_losses(batch) is None


def test_views_are_encoded_one_after_the_other(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("VICReg")
    out = method.step(batch)
    torch.testing.assert_close(out.features[:, 1], method.features(batch.images[:, 1])["all"].detach())


def test_parameter_counts_of_the_published_models() -> None:
    def count(method: torch.nn.Module) -> int:
        return sum(p.numel() for p in method.parameters())

    with torch.device("meta"):
        assert count(VICReg()) == count(SimCLR()) == 20_630_208
        assert count(SIE()) == count(SIE(variance_on_predictor=False)) == 20_105_920
        mlp = {n: count(SIE(predictor="mlp", predictor_options={"layers": n}).predictor) for n in (1, 2, 3)}
        assert mlp == {1: 1_053_696, 2: 2_103_296, 3: 3_152_896}
        for changes in ({"pose": "rigid"}, {"pose": "rigid", "frame": "base"}, {"pose_size": 4}):
            rigid = {k: count(EquiCaps(capsules=k, **changes)) for k in (16, 32, 64)}
            assert rigid == {16: 16_907_488, 32: 31_579_904, 64: 87_761_728}
        # backbone, capsule projector and the hypernetwork of SIE at 16 capsules of 16 numbers
        assert count(CapsIE()) == 11_180_736 + 5_726_752 + 256 * 256 * 4
    assert {k: count(EquiCaps(capsules=k)) for k in (16, 32, 64)} == {16: 13_409_280, 32: 18_619_712, 64: 37_986_240}


@pytest.mark.parametrize(("name", "file"), [("VICReg", "VICReg"), ("SimCLR", "SimCLR"), ("SIE", "SIE")])
def test_state_dict_has_the_published_layout(name: str, file: str, golden: Any) -> None:
    rows = (line.split("\t") for line in (golden / f"official_keys_{file}.tsv").read_text().splitlines()[1:])
    published = [shape for key, shape, _ in rows if not key.startswith("evaluator")]
    ours = ["x".join(map(str, v.shape)) or "scalar" for v in METHODS[name]().state_dict().values()]
    assert ours == published  # same tensors in the same order


def test_sie_splits_the_representation(batch: ViewBatch, build_method: Any) -> None:
    parts = build_method("SIE", equi_dim=10).features(batch.images[:, 0])
    assert parts["inv"].shape == (6, 22) and parts["equi"].shape == (6, 10)
    assert torch.equal(torch.cat([parts["inv"], parts["equi"]], dim=1), parts["all"])
    for wrong in (0, 32, -1):
        with pytest.raises(ValueError, match=f"between 1 and 31, got {wrong}"):
            build_method("SIE", equi_dim=wrong)


@pytest.mark.parametrize("action", ["quaternion", "rotmat"])
def test_sie_identity_start_predicts_no_change_where_nothing_turned(action: str, build_batch: Any) -> None:
    encoder, options = EncoderConfig(width=4), {"init": "identity"}
    method = SIE(encoder, projector=(24, 20), action=action, predictor_options=options)
    still = build_batch()
    first = still.rotations[:, :1].expand(-1, 2, -1, -1)
    still = replace(still, rotations=first, latents=still.latents[:, :1].expand(-1, 2, -1))
    e = torch.randn(6, 10)
    torch.testing.assert_close(method.predictor(e, method.actions(still)), e)


def test_sie_rejects_unknown_choices() -> None:
    for wrong in ({"predictor": "oracle"}, {"action": "euler"}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong.values()))}'"):
            SIE(EncoderConfig(width=4), projector=(8,), **wrong)


def test_sie_with_mlp_predictor_and_rotation_matrices_learns(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("SIE", predictor="mlp", action="rotmat", predictor_options={"layers": 2})
    method.step(batch).loss.backward()
    assert all(p.grad.abs().max() > 0 for p in method.predictor.parameters())


def test_equicaps_refuses_images_of_another_size(build_batch: Any, build_method: Any) -> None:
    with pytest.raises(ValueError, match=r"built for feature maps of 2 x 2, got \(4, 4\)"):
        build_method("EquiCaps").step(build_batch(size=128))


def test_equicaps_starts_with_uniform_activations(build_batch: Any) -> None:
    method = EquiCaps(EncoderConfig(width=4), image_size=64, capsules=32)
    batch = build_batch()
    out = method.step(batch)
    assert out.terms["invariance"].item() == pytest.approx(3.465736, abs=1e-5)
    assert out.terms["entropy_gap"].item() == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(method.features(batch.images[:, 0])["inv"], torch.full((6, 32), 1 / 32))


def test_equicaps_stays_finite_on_dead_capsules(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("EquiCaps")
    with torch.no_grad():
        method.projector.bn_a.weight.zero_()
        method.projector.bn_a.bias.fill_(-200)  # every activation underflows to zero
        method.projector.bn_pose.weight.zero_()
        method.projector.bn_pose.bias.zero_()  # every pose is zero
    out = method.step(batch)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


def test_supervised_reaches_zero_loss_on_the_truth(batch: ViewBatch, build_method: Any) -> None:
    target = batch.relative_quats()
    logits = 1e4 * torch.nn.functional.one_hot(batch.labels, 5).double()
    for kind, sign in (("mse", 1), ("alignment", -3)):
        loss, terms = build_method("Supervised", rotation_loss=kind).loss(
            sign * target, target, logits, logits, batch.labels
        )
        assert loss.item() == pytest.approx(0, abs=1e-12) and terms.keys() == {"rotation", "classification"}


def test_quaternion_alignment_is_sin_squared_of_half_the_angle() -> None:
    angle = torch.tensor([0.0, 0.3, 1.7, 3.1], dtype=torch.float64)
    euler = torch.stack([0 * angle, 0 * angle, angle], dim=1)
    q, identity = rotmat_to_unitquat(euler_to_rotmat(euler)), rotmat_to_unitquat(euler_to_rotmat(0 * euler))
    expected = torch.sin(angle / 2).square().mean()
    torch.testing.assert_close(quaternion_alignment(5 * q, identity), expected)


def test_supervised_names_labels_outside_the_classes(batch: ViewBatch, build_method: Any) -> None:
    with pytest.raises(ValueError, match=r"expected labels in 0\.\.2 \(num_classes=3\), got 0\.\.4"):
        build_method("Supervised", num_classes=3).step(batch)


def test_normalize_images() -> None:
    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    mean = torch.tensor([0.5016, 0.5037, 0.5060]).view(3, 1, 1)
    std = torch.tensor([0.1030, 0.0999, 0.0969]).view(3, 1, 1)
    torch.testing.assert_close(normalize_images(pixels), (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    done = torch.randn(5, 3, 8, 8)
    assert torch.equal(normalize_images(done), done)
    method = SimCLR(EncoderConfig(width=4, pixel_mean=(0.4, 0.5, 0.6), pixel_std=(0.2, 0.25, 0.3)), [8, 8])
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(method.normalise(pixels), (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    for wrong in ({"pixel_mean": (0.5, 0.5)}, {"pixel_std": (0.2, 0.2, 0.0)}):
        with pytest.raises(ValueError, match="expected three values each of pixel_mean and pixel_std"):
            EncoderConfig(**wrong)


def test_registry_goes_by_class_name(cases: list[str]) -> None:
    assert all(name == method.__name__ and issubclass(method, Method) for name, method in METHODS.items())
    assert {case.split()[0] for case in cases} == set(IMAGE_METHODS)  # the tests of this file leave none out


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_constructors_can_be_configured_from_yaml(name: str, small_vit: EncoderConfig) -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(METHODS[name], "method")
    config = {"encoder": {"name": "resnet18", "width": 4, "stem": "nopool"}}
    if name in ("VICReg", "SimCLR", "SIE"):
        config["projector"] = [8, 6]
    if name == "Concatenated":
        config["stages"] = 1
    if name == "SIE":
        config["predictor_options"] = {"init": "identity"}
    if name in ("EquiCaps", "CMIM"):
        config["image_size"] = 32
    if name == "CMIM":
        config["code_dim"] = 32  # its representation is the code
    if name in ("MAE", "MixedAE"):
        config["encoder"] = {"name": small_vit.name, "options": small_vit.options}
    parsed = parser.parse_object({"method": config})
    again = parser.parse_string(parser.dump(parsed))  # as a saved config.yaml is read
    method = parser.instantiate(again).method
    assert isinstance(method, METHODS[name]) and method.feature_dim == 32


def test_training_after_inference_mode(batch: ViewBatch, build_method: Any) -> None:
    views_base._pixel_statistics.cache_clear()
    method = build_method("VICReg")
    with torch.inference_mode():
        method.features(batch.images[:, 0])
    method.step(batch).loss.backward()
    kept = views_base._pixel_statistics(PIXEL_MEAN, PIXEL_STD, torch.float32, torch.device("cpu"))
    assert not any(t.is_inference() for t in kept)
