"""Cells, predictors and classifiers: published sizes, equivariance, and controls that must fail."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equissl.encoders.recurrent import (
    LiftConv,
    ProjectConv,
    RecurrentAggregator,
    RecurrentCell,
    RecurrentTokenAggregator,
    RegularConv,
    RotationVelocities,
    TranslationVelocities,
    VideoClassifier,
    VideoCNN,
    assert_flow_equivariant,
    equivariance_error,
    pool_velocities,
    recurrent_cell,
    steerable_basis,
    video_predictor,
)
from equissl.geometry.planar import rotate_plane

COORDINATES = ["image", "comoving"]
# float32 sums of some hundred products of order 1: a kernel may take them in another order at the edge of an image.
# Controls that must fail are off by 0.01 or more.
ROUNDING = 1e-5


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def frames(steps: int, side: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, steps, 1, side, side)


def blob(side: int, width: float = 2.0) -> Tensor:
    """A smooth off-centre blob, (side, side)."""
    c = torch.arange(side) - (side - 1) / 2
    return torch.exp(-((c[None] - 3) ** 2 + (c[:, None] + 1) ** 2) / (2 * width**2))


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_translation_predictor_has_the_published_size(radius: int) -> None:
    model = video_predictor(TranslationVelocities(radius))
    assert parameters(model) == 739_584
    assert (parameters(model.cell), parameters(model.decoder)) == (148_608, 590_976)


def test_rotation_predictor_with_the_published_decoder_has_the_published_size() -> None:
    model = video_predictor(RotationVelocities(10, 4, 36), 32, decoder="plain")
    assert parameters(model) == 48_007_488
    assert parameters(model.decoder) == 47_786_112
    assert parameters(model.cell) == 192 + 221_184


@pytest.mark.parametrize(("order", "per_pair"), [(36, 216), (4, 24)])
def test_planar_convolutions_have_six_parameters_per_orientation(order: int, per_pair: int) -> None:
    assert parameters(LiftConv(1, 5, order)) == 6 * 5
    assert parameters(RegularConv(2, 3, order)) == per_pair * 6
    assert parameters(ProjectConv(2, 1, order)) == 6 * 2


def test_classifiers_have_the_published_sizes() -> None:
    assert parameters(VideoClassifier(TranslationVelocities(0))) == 241_638
    assert parameters(VideoClassifier(TranslationVelocities(2))) == 241_638
    assert parameters(VideoClassifier(TranslationVelocities(2), learned_transport=True)) == 242_263
    assert parameters(VideoCNN()) == 208_598


def test_output_shapes() -> None:
    model = video_predictor(TranslationVelocities(1), 4, 1)
    assert model(frames(3, 28), horizon=10).shape == (2, 10, 1, 28, 28)
    assert model.next_frames(frames(3, 28)).shape == (2, 3, 1, 28, 28)
    assert model.cell.encode(frames(1, 28)).slices.shape == (2, 9, 4, 28, 28)
    for network in (VideoClassifier(TranslationVelocities(1), 6, (2, 3, 4)), VideoCNN(channels=(2, 3, 4))):
        assert network(frames(4, 8)).shape == (2, 6)


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_state_after_one_frame_does_not_depend_on_velocity(coordinates: str) -> None:
    cell = recurrent_cell(TranslationVelocities(2), 1, 3, coordinates)  # type: ignore[arg-type]
    h = cell.states(frames(1, 7))[:, 0]
    assert torch.equal(h, h[:, :1].expand_as(h))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("velocity", [(1, 0), (-2, 1), (2, 2)])
def test_translation_states_are_equivariant(coordinates: str, velocity: tuple[int, int]) -> None:
    cell = recurrent_cell(TranslationVelocities(2), 1, 8, coordinates)  # type: ignore[arg-type]
    assert equivariance_error(cell, frames(10, 28), velocity) < ROUNDING


def test_static_shift_is_equivariant() -> None:
    cell, x = recurrent_cell(TranslationVelocities(1), 1, 4), frames(5, 12)
    expected = cell.states(x).roll((3, 5), (-2, -1))
    torch.testing.assert_close(cell.states(x.roll((3, 5), (-2, -1))), expected, rtol=0, atol=ROUNDING)


def test_without_velocities_the_second_state_mixes_two_frames_of_reference() -> None:
    """Negative control: the slice ν = 0 alone is the G-RNN, right after one frame and wrong after two."""
    cell, x = recurrent_cell(TranslationVelocities(0), 1, 16), frames(3, 16)
    velocity_set = TranslationVelocities(0)
    plain, moved = cell.states(x)[:, :, 0], cell.states(velocity_set.move_video(x, (1, 0)))[:, :, 0]
    errors = (moved - velocity_set.move_video(plain, (1, 0))).abs().amax(dim=(0, 2, 3, 4))
    assert errors[0] < ROUNDING
    assert errors[1] > 0.1


def test_pooled_states_of_a_truncated_set_are_not_equivariant() -> None:
    cell = recurrent_cell(TranslationVelocities(1), 1, 8)

    def pooled(x: Tensor) -> Tensor:
        return pool_velocities(cell.states(x).flatten(0, 1)).unflatten(0, x.shape[:2])

    error = equivariance_error(pooled, frames(4, 12), (1, 1), cell.velocity_set, "frames", first=0)
    assert error > 0.01
    assert equivariance_error(pooled, frames(4, 3), (1, 1), cell.velocity_set, "frames", first=0) < ROUNDING


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("velocity", [(1, 0), (-2, 1), (2, 2)])
def test_rollouts_are_equivariant(coordinates: str, velocity: tuple[int, int]) -> None:
    model = video_predictor(TranslationVelocities(2), 6, 2, coordinates=coordinates)  # type: ignore[arg-type]
    x = frames(4, 5)
    assert equivariance_error(model, x, velocity) < ROUNDING
    assert model(x).abs().max() > 1e-3


def test_published_timing_is_not_equivariant() -> None:
    model = video_predictor(TranslationVelocities(2), 6, 2, timing="published")
    x = frames(4, 5)
    assert equivariance_error(model, x, (1, 0)) > 0.1 * float(model(x).abs().max().detach())
    with pytest.raises(AssertionError, match=r"VideoPredictor is not equivariant .*\(1, 0\)"):
        assert_flow_equivariant(model, x, [(0, 0), (1, 0)])


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_quarter_turn_flows(coordinates: str) -> None:
    """States, and roll-outs through the equivariant decoder; the published decoder must fail."""
    velocity_set, x = RotationVelocities(90, 2, 4), frames(6, 8)
    assert_flow_equivariant(recurrent_cell(velocity_set, 1, 4, coordinates), x, tolerance=1e-5)  # type: ignore[arg-type]
    assert_flow_equivariant(video_predictor(velocity_set, 4, 2, coordinates=coordinates), x, tolerance=1e-5)  # type: ignore[arg-type]
    plain = video_predictor(velocity_set, 4, 2, decoder="plain")
    assert equivariance_error(plain, x, (90,)) > 0.1 * float(plain(x).abs().max().detach())


@pytest.mark.parametrize("velocity_set", [TranslationVelocities(1), RotationVelocities(90, 2, 4)], ids=lambda f: f.name)
def test_coordinates_give_the_same_numbers(velocity_set: TranslationVelocities | RotationVelocities) -> None:
    image, comoving = (video_predictor(velocity_set, 3, 1, coordinates=c) for c in ("image", "comoving"))
    comoving.load_state_dict(image.state_dict())
    x = frames(4, 6)
    torch.testing.assert_close(comoving(x, 5), image(x, 5), atol=1e-6, rtol=1e-5)
    lifted_once = RecurrentCell(velocity_set, image.cell.lift, image.cell.recurrent, lift_moved=False)
    torch.testing.assert_close(lifted_once.states(x), image.cell.states(x), atol=1e-6, rtol=1e-5)


def test_comoving_coordinates_blur_a_state_once() -> None:
    """A narrow blob moved 10° by 10° loses nearly half of itself in a turn; moved there at once, almost nothing."""
    velocity_set, x = RotationVelocities(10, 1, 36), blob(28, 1.2).expand(1, 3, 1, 28, 28)
    unit = torch.zeros(36, 36, 1, 1)
    unit[range(36), range(36)] = 1.0

    def peak_after_a_turn(coordinates: str) -> float:
        carry = nn.Conv2d(36, 36, 1, bias=False)
        carry.weight = nn.Parameter(unit)  # a memory, and an input that is written into every orientation
        lift = nn.Conv2d(1, 36, 1, bias=False)
        nn.init.ones_(lift.weight)
        cell = RecurrentCell(velocity_set, lift, carry, coordinates=coordinates)  # type: ignore[arg-type]
        with torch.no_grad():
            state = cell(x[:, 0])
            for _ in range(36):
                state = cell(torch.zeros(1, 1, 28, 28), state)
            index = velocity_set.velocities.index((10.0,))
            return float(cell.look(state)[0, index].amax() / x.max())

    assert peak_after_a_turn("image") < 0.7
    assert peak_after_a_turn("comoving") > 0.99


@pytest.mark.parametrize("degrees", [10.0, 20.0, 40.0])
def test_convolution_of_36_orientations_nearly_commutes_with_small_rotations(degrees: float) -> None:
    velocity_set, x = RotationVelocities(10, 1, 36), blob(25, 2.5)[None, None]
    net = nn.Sequential(LiftConv(1, 16, 36), nn.ReLU(), RegularConv(16, 16, 36))
    with torch.no_grad():
        expected = velocity_set.move_features(net(x), (degrees,))
        found = net(rotate_plane(x, degrees))
        reversed_roll = velocity_set.move_features(expected, (-degrees,), 2)
        wrong = rotate_plane(reversed_roll, 2 * degrees)  # right place, orientations shifted the wrong way
    scale = expected.norm()
    assert (found - expected).norm() / scale < 0.04  # two layers
    assert (found - wrong).norm() / scale > 0.1


def test_steerable_basis_rotates_as_images_do() -> None:
    torch.testing.assert_close(steerable_basis(torch.pi / 2), steerable_basis().rot90(1, (-2, -1)))
    basis = steerable_basis()
    torch.testing.assert_close(basis.flatten(1).norm(dim=1), torch.ones(6, dtype=torch.float64))
    assert torch.linalg.matrix_rank(basis.flatten(1)) == 6


def test_classifier_is_invariant_where_velocities_are_a_group() -> None:
    model = VideoClassifier(TranslationVelocities(2), channels=(4, 6, 8)).eval()
    assert_flow_equivariant(model, frames(5, 5), tolerance=1e-6)
    padded = VideoClassifier(TranslationVelocities(2), channels=(4, 6, 8)).eval()
    for layer in padded.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "zeros"
    assert equivariance_error(padded, frames(5, 5), (1, -1)) > 1e-5


@pytest.mark.parametrize("learned", [False, True])
def test_classifiers_after_each_frame(learned: bool) -> None:
    recurrent = VideoClassifier(TranslationVelocities(1), 3, (2, 3, 4), learned_transport=learned)
    for model in (recurrent, VideoCNN(3, channels=(2, 3, 4))):
        model.eval()
        x = frames(5, 8)
        features = model.features_by_frame(x)
        assert features.shape == (2, 5, 4)
        for seen in (1, 3, 5):
            torch.testing.assert_close(features[:, seen - 1], model.features(x[:, :seen]))


def test_gradient_stops_at_frames_that_are_fed_back() -> None:
    model, x = video_predictor(TranslationVelocities(0), 2, 0), frames(2, 4)
    grads = []
    for detach in (True, False):
        model.zero_grad()
        model(x, 3, detach=detach)[:, -1].sum().backward()
        grads.append(model.decoder[0].weight.grad.clone())
    assert not torch.allclose(*grads)


def test_full_teacher_forcing_predicts_from_true_frames() -> None:
    model, x = video_predictor(TranslationVelocities(1), 3, 1), frames(6, 5)
    forced = model(x[:, :3], 3, truth=x[:, 3:], teacher_forcing=1.0)
    torch.testing.assert_close(forced, model.next_frames(x[:, :5])[:, 2:])
    with pytest.raises(ValueError, match="teacher forcing"):
        model(x, 2, teacher_forcing=0.5)


@pytest.mark.parametrize("motion", ["yaw", "translation"])
def test_aggregator(motion: str) -> None:
    aggregator = RecurrentAggregator(6, 4, 8, radius=1, motion=motion)  # type: ignore[arg-type]
    maps = torch.rand(2, 3, 6, 4, 4, requires_grad=True)
    features = aggregator(maps)
    assert features.shape == (2, aggregator.feature_dim)
    features.sum().backward()
    assert maps.grad is not None
    assert all(p.grad is not None for p in aggregator.parameters())


def test_yaw_flows_move_the_aggregators_orientations() -> None:
    aggregator = RecurrentAggregator(6, 3, 5, radius=2)
    x = torch.rand(2, 4, 15, 2, 2)  # maps that carry the group, as `embed` is to make them
    assert equivariance_error(aggregator.cell, x, (1,)) < 1e-6


def test_tokens_in_a_flow_equivariant_cell() -> None:
    aggregator = RecurrentTokenAggregator(24, orientations=8)
    tokens = torch.rand(2, 5, 24)
    expected = aggregator.norm(aggregator.maps(tokens.view(2, 5, 24, 1, 1)))
    assert torch.equal(aggregator(tokens), expected) and expected.shape == (2, 24)
    with pytest.raises(ValueError, match="multiple of the 8 orientations, got 20"):
        RecurrentTokenAggregator(20)
    with pytest.raises(ValueError, match=r"expected tokens \(B, M, 24\)"):
        aggregator(tokens[..., :23])


def test_refusals() -> None:
    velocity_set = TranslationVelocities(1)
    with pytest.raises(TypeError, match="velocity_set and output"):
        equivariance_error(lambda x: x, frames(2, 4), (1, 0))
    with pytest.raises(ValueError, match="translations"):
        VideoClassifier(RotationVelocities(90, 1, 4))
    with pytest.raises(ValueError, match="T >= 1"):
        recurrent_cell(velocity_set, 1, 2).encode(torch.zeros(1, 0, 1, 4, 4))
    with pytest.raises(ValueError, match="horizon"):
        video_predictor(velocity_set, 2, 1)(frames(1, 4), 0)
    with pytest.raises(ValueError, match="nothing to compare"):
        equivariance_error(recurrent_cell(TranslationVelocities(0), 1, 2), frames(2, 5), (1, 0))
