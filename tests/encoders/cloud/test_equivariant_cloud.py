"""The equivariant encoder of clouds: features turn by Wigner-D matrices, at every layer and to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.encoders.cloud import EquivariantCloudEncoder
from equissl.encoders.cloud.irrep_layers import Coupling, Gate, IrrepLinear, IrrepNorm, SelfProduct, harmonics
from equissl.geometry import euler_to_rotmat, random_rotmat, wigner_ds
from equissl.predictors import GroupRepresentation

IRREPS = "6x0e+4x1e+3x2e+2x3e"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(batch: int = 2, points: int = 128, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Points of an irregular box with normals and colours."""
    draws = torch.rand(3, batch, points, 3, generator=seeded(), dtype=dtype)
    normals = torch.nn.functional.normalize(draws[1] - 0.5, dim=2)
    return draws[0] * torch.tensor([2.0, 1.0, 0.5]), normals, draws[2]


def encoder(**options) -> EquivariantCloudEncoder:
    torch.manual_seed(0)
    settings = {"irreps": IRREPS, "width": 4, "centres": 24, "neighbours": 8, "normals": True, "colours": True}
    return EquivariantCloudEncoder(**(settings | options))


def turned(features: Tensor, irreps, rotation: Tensor) -> Tensor:
    """``D(R) f`` of features (..., D), written out with the project's Wigner-D matrices."""
    parts, start = [], 0
    matrices = wigner_ds(rotation, max(ir.l for _, ir in irreps))
    for copies, ir in irreps:
        part = features[..., start : start + copies * ir.dim].unflatten(-1, (copies, ir.dim))
        parts.append((part @ matrices[ir.l].T).flatten(-2))
        start += copies * ir.dim
    return torch.cat(parts, dim=-1)


def error(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


@pytest.mark.parametrize("choice", ["spread", "all"])
@torch.no_grad()
def test_features_turn_with_the_cloud(choice: str) -> None:
    net, (points, normals, colours) = encoder(choice=choice), cloud()
    features, tokens = net(points, normals, colours), net.dense(points, normals, colours)
    for number, rotation in enumerate(random_rotmat(100, seeded(1))):
        inputs = points @ rotation.T + 1, normals @ rotation.T, colours
        found = net(*inputs)
        assert error(found, turned(features, net.irreps, rotation)) < 1e-5
        assert error(net.invariants(found), net.invariants(features)) < 1e-5
        if number < 10:
            assert error(net.dense(*inputs), turned(tokens, net.token_irreps, rotation)) < 1e-4
        assert error(found, features) > 0.01  # the pose is there


@torch.no_grad()
def test_farthest_points_turn_with_the_cloud() -> None:
    """In float64, where rounding does not decide between two points that are nearly as far."""
    net, (points, normals, colours) = encoder(choice="farthest").double(), cloud(dtype=torch.float64)
    features = net(points, normals, colours)
    for rotation in random_rotmat(10, seeded(1), torch.float64):
        found = net(points @ rotation.T, normals @ rotation.T, colours)
        assert error(found, turned(features, net.irreps, rotation)) < 1e-10


@torch.no_grad()
def test_neighbours_at_equal_distances_do_not_matter() -> None:
    """Of a lattice, rounding picks other neighbours after every turn: the farthest ones have no weight."""
    places = torch.cartesian_prod(*[torch.linspace(-1, 1, 4)] * 3)[None]
    # colours break the symmetry, without which there is nothing to turn
    colours = torch.rand(places.shape, generator=seeded(2))
    net = encoder(normals=False, choice="all")
    features = net(places, None, colours)
    for rotation in random_rotmat(20, seeded(1)):
        found = net(places @ rotation.T, None, colours)
        assert error(found, turned(features, net.irreps, rotation)) < 1e-5


@torch.no_grad()
def test_group_representation_compares_its_features() -> None:
    """ρ(g)ᵀ f(x) = f(g⁻¹ x), so that `match` finds the rotation of a cloud by its features."""
    net, (points, normals, colours) = encoder(), cloud(8)
    representation, rotations = GroupRepresentation(net.irreps), random_rotmat(8, seeded(3))
    features = net(points, normals, colours)
    moved = net(points @ rotations.mT, normals @ rotations.mT, colours)
    torch.testing.assert_close(representation(moved, rotations), features, rtol=1e-4, atol=1e-5)
    scores = representation.match(
        moved, features, random_rotmat(50, seeded(4)).index_copy(0, torch.arange(8), rotations)
    )
    assert torch.equal(scores.argmax(dim=1), torch.arange(8))


@torch.no_grad()
def test_symmetry_of_a_cloud_is_one_of_its_features() -> None:
    half_turn = euler_to_rotmat(torch.tensor([0.0, 0.0, torch.pi], dtype=torch.float64))
    points = cloud(1, 40, torch.float64)[0]
    points = torch.cat([points, points @ half_turn.T], dim=1)
    net = encoder(normals=False, colours=False, choice="all").double()
    features = net(points)
    assert error(turned(features, net.irreps, half_turn), features) < 1e-10
    assert error(turned(features, net.irreps, euler_to_rotmat(torch.tensor([0.0, 0.0, 1.0]).double())), features) > 0.01


@torch.no_grad()
def test_mirror_images_differ() -> None:
    """Rotations alone are no reason to take a left shoe for a right one."""
    net, (points, _, colours) = encoder(normals=False), cloud()
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    assert error(net.invariants(net(mirrored, None, colours)), net.invariants(net(points, None, colours))) > 1e-3


@torch.no_grad()
def test_autocast_does_not_touch_it() -> None:
    net, inputs = encoder(), cloud()
    with torch.autocast("cpu", torch.bfloat16):
        found = net(*inputs)
    assert found.dtype == torch.float32 and torch.equal(found, net(*inputs))


def test_sizes() -> None:
    net = encoder()
    assert net.feature_dim == 6 + 12 + 15 + 14 and net.invariant_dim == 15 and net.degree == 3
    assert str(net.token_irreps) == "4x0e+4x1e+4x2e+4x3e" and net.token_dim == 64
    with pytest.raises(ValueError, match=r"features \(N, 47\), got \(2, 46\)"):
        net.invariants(torch.zeros(2, 46))


def test_invariants_are_scalars_and_lengths() -> None:
    net, features = encoder(), torch.randn(2, 47, generator=seeded())
    found = net.invariants(features)
    torch.testing.assert_close(found[:, :6], features[:, :6])
    torch.testing.assert_close(found[:, 6], features[:, 6:9].norm(dim=1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_harmonics_turn_by_the_projects_matrices() -> None:
    vectors = torch.randn(20, 3, generator=seeded(), dtype=torch.float64)
    for rotation in random_rotmat(5, seeded(1), torch.float64):
        matrix = torch.block_diag(*wigner_ds(rotation, 3))
        torch.testing.assert_close(harmonics(vectors @ rotation.T, 3, 0.1), harmonics(vectors, 3, 0.1) @ matrix.T)
    far = harmonics(1e6 * vectors, 3, 0.1)
    for order in range(4):  # |Y_l|² = 2l + 1 of a direction
        square = far[:, order**2 : (order + 1) ** 2].square().sum(dim=1)
        torch.testing.assert_close(square, torch.full_like(square, 2 * order + 1))
    assert torch.equal(harmonics(torch.zeros(3), 2, 0.1), torch.eye(9)[0])


@pytest.mark.parametrize("layer", [IrrepLinear, SelfProduct, Gate, IrrepNorm, Coupling])
@torch.no_grad()
def test_layers_commute_with_rotations(layer: type) -> None:
    torch.manual_seed(0)
    degree, width = 2, 5
    outputs = (7,) if layer in (IrrepLinear, Coupling) else ()
    net = layer(degree, width, *outputs).double()
    x, y = torch.randn(2, 4, 9, width, generator=seeded(), dtype=torch.float64)

    def run(x: Tensor, y: Tensor) -> Tensor:
        return net((x[:, :, None] * y[:, None]).flatten(1, 2)) if layer is Coupling else net(x)

    for rotation in random_rotmat(5, seeded(1), torch.float64):
        matrix = torch.block_diag(*wigner_ds(rotation, degree))
        torch.testing.assert_close(run(matrix @ x, matrix @ y), matrix @ run(x, y))
    assert (run(x, y) - run(x.flip(0), y)).abs().max() > 0.1
