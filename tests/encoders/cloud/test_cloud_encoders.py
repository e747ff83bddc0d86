"""What all encoders of point clouds keep: shapes, place and size, order of points, gradients, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.encoders.cloud import CLOUD_ENCODERS, CloudEncoder, CloudEncoderConfig
from equissl.geometry import euler_to_rotmat

SMALL = {
    "pointnet": {"width": 4},
    "point_transformer": {"width": 16, "layers": 1, "heads": 2, "centres": 12, "neighbours": 8},
    "equivariant": {"irreps": "8x0e+4x1e+4x2e", "width": 4, "centres": 12, "neighbours": 8},
    "voxel": {"resolution": 24},
}
every = pytest.mark.parametrize("name", SMALL)


def cloud(batch: int = 3, points: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points of long boxes with normals and colours."""
    draws = torch.randn(3, batch, points, 3, generator=torch.Generator().manual_seed(seed))
    normals = torch.nn.functional.normalize(draws[1], dim=2)
    return draws[0] * torch.tensor([2.0, 1.0, 0.5]), normals, draws[2].sigmoid()


def build(name: str, normals: bool = True, colours: bool = True, **options) -> CloudEncoder:
    torch.manual_seed(0)
    return CloudEncoderConfig(name, normals, colours, SMALL[name] | options).build()


def test_every_encoder_is_tested() -> None:
    assert set(CLOUD_ENCODERS) == set(SMALL)


@every
@pytest.mark.parametrize(("normals", "colours"), [(False, False), (True, False), (True, True)])
def test_shapes_and_gradients(name: str, normals: bool, colours: bool) -> None:
    encoder, (points, normal, colour) = build(name, normals, colours), cloud()
    features, tokens = encoder(points, normal, colour), encoder.dense(points, normal, colour)
    assert features.shape == (3, encoder.feature_dim) and tokens.shape[::2] == (3, encoder.token_dim)
    features.square().sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@every
def test_neither_place_nor_size_is_seen(name: str) -> None:
    encoder, (points, normals, colours) = build(name).double(), (x.double() for x in cloud())
    moved = 5 * points + torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(encoder(moved, normals, colours), encoder(points, normals, colours))


@every
def test_what_is_read_matters_and_what_is_not_does_not(name: str) -> None:
    points, normals, colours = cloud()
    encoder = build(name)
    found = encoder(points, normals, colours)
    assert (encoder(points, -normals, colours) - found).abs().max() > 1e-4
    assert (encoder(points, normals, 1 - colours) - found).abs().max() > 1e-4
    plain = build(name, False, False)
    assert torch.equal(plain(points, normals, colours), plain(points))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pointnet", {}),
        ("voxel", {}),
        ("point_transformer", {"choice": "farthest"}),
        ("equivariant", {"choice": "all"}),
        ("equivariant", {"choice": "farthest"}),
    ],
)
def test_order_of_points_does_not_matter(name: str, options: dict) -> None:
    encoder, inputs = build(name, **options).double(), [x.double() for x in cloud()]
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoder(*(x[:, order] for x in inputs)), encoder(*inputs))


@every
def test_gradients_are_finite_where_points_coincide_or_a_cloud_is_turned_about_z(name: str) -> None:
    """e3nn's own Wigner-D matrices go through Euler angles, which a turn about z does not determine."""
    encoder, (points, normals, colours) = build(name), cloud(4)
    points[0, ::2] = points[0, 0]  # half of the points in one place, more than there are neighbours
    points[1] = 0.7  # all of them
    points[2] = points[3] @ euler_to_rotmat(torch.tensor([0.0, 0.0, 0.5])).T
    normals[3] = 0  # of a face without area
    inputs = [x.requires_grad_() for x in (points, normals, colours)]
    features = encoder(*inputs)
    features.square().sum().backward()
    assert features.isfinite().all()
    for x in [*inputs, *encoder.parameters()]:
        assert x.grad is not None and x.grad.isfinite().all()


@every
def test_same_weights_same_features(name: str) -> None:
    first, second = build(name), build(name)
    for parameter in first.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*cloud()), second(*cloud()))


@every
def test_bad_clouds_are_named(name: str) -> None:
    encoder, (points, normals, colours) = build(name), cloud()
    with pytest.raises(ValueError, match=r"expected normals, which this .* reads beside the points, got none"):
        encoder(points, None, colours)
    with pytest.raises(ValueError, match=r"points \(N, P, 3\) and points of their shape, got \(40, 3\)"):
        encoder(points[0], normals, colours)
    with pytest.raises(ValueError, match=r"and colours of their shape, got \(3, 39, 3\)"):
        encoder(points, normals, colours[:, 1:])
    with pytest.raises(ValueError, match=r"points of a floating dtype, got torch.int64"):
        encoder(points.long(), normals, colours)
    broken = points.clone()
    broken[1, 5, 0], broken[1, 6, 1], broken[2, 0] = float("nan"), float("inf"), float("nan")
    with pytest.raises(ValueError, match=r"finite points, got 3 points with NaN or infinite values in clouds \[1, 2\]"):
        encoder(broken, normals, colours)
    if encoder.fewest_points > 1:
        with pytest.raises(ValueError, match=r"clouds of at least 8 points for .*, got 7"):
            encoder(points[:, :7], normals[:, :7], colours[:, :7])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CloudEncoderConfig("pointnets"), "'pointnets'.*'pointnet'"),
        (CloudEncoderConfig("pointnet", options={"widht": 4}), "'pointnet' has no option 'widht'.*width"),
        (CloudEncoderConfig("pointnet", options={"normals": True}), "has no option 'normals'"),
        (CloudEncoderConfig("pointnet", options={"width": 0}), "width of at least 1, got 0"),
        (CloudEncoderConfig("point_transformer", options={"heads": 5}), "heads that divide the width, got .*heads=5"),
        (CloudEncoderConfig("equivariant", options={"irreps": "4x1o"}), "even irreps.*'4x1e', got '4x1o'"),
        (CloudEncoderConfig("equivariant", options={"irreps": ""}), "expected irreps of degrees up to None, got ''"),
        (CloudEncoderConfig("equivariant", options={"irreps": "4x3e", "degree": 2}), "up to 2, got '4x3e'"),
        (CloudEncoderConfig("equivariant", options={"neighbours": 1}), "at least 2 neighbours, got .*neighbours=1"),
        (CloudEncoderConfig("voxel", options={"resolution": 8}), "at least 24 voxels"),
    ],
)
def test_bad_configs_are_named(config: CloudEncoderConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config.build()
