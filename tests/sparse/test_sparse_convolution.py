"""Sparse convolutions against torch's dense ones, and the symmetries that they must have."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from equissl.sparse import InverseConv3d, Sites, SparseConv3d, SparseSequential, SparseTensor, SubmanifoldConv3d
from equissl.sparse import torch_backend as backend_module

SHAPE, BATCH = (7, 9, 8), 3
STRIDED = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": (0, 1, 1)},
    {"kernel_size": (3, 1, 1), "stride": (2, 1, 1), "padding": 0},
    {"kernel_size": (2, 3, 1), "stride": (2, 3, 1), "padding": (0, 2, 0)},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": (1, 2, 1)},
    {"kernel_size": 1, "stride": 2, "padding": 0},
]


def random_tensor(channels: int = 3, occupied: float = 0.1, seed: int = 0, dtype: torch.dtype = torch.float64):
    """About that share of voxels, in random order, borders included."""
    generator = torch.Generator().manual_seed(seed)
    indices = (torch.rand(BATCH, *SHAPE, generator=generator) < occupied).nonzero()
    indices = indices[torch.randperm(len(indices), generator=generator)]
    features = torch.randn(len(indices), channels, generator=generator, dtype=dtype)
    return SparseTensor.of(features.requires_grad_(), indices, SHAPE, BATCH)


def at_sites(dense: Tensor, sites: Sites) -> Tensor:
    """Rows of a dense map (B, C, Z, Y, X)."""
    b, z, y, x = sites.indices.long().unbind(1)
    return dense[b, :, z, y, x]


def gradients(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return torch.autograd.grad((out * weights).sum(), inputs)


def dense_options(layer: SparseConv3d) -> dict:
    geometry = layer.geometry
    return {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (1, 1), ((3, 1, 5), 1), (3, (1, 2, 3))])
def test_submanifold_is_the_masked_dense_convolution(kernel, dilation, dtype, tolerance) -> None:
    x = random_tensor(dtype=dtype)
    layer = SubmanifoldConv3d(3, 5, kernel, dilation).to(dtype)
    padding = [d * (k // 2) for k, d in zip(layer.geometry.kernel, layer.geometry.dilation, strict=True)]
    weight = layer.weight.permute(0, 4, 1, 2, 3)
    dense = functional.conv3d(x.dense(), weight, layer.bias, padding=padding, dilation=layer.geometry.dilation)
    out, expected = layer(x), at_sites(dense, x.sites)
    torch.testing.assert_close(out.features, expected, rtol=tolerance, atol=tolerance)
    inputs = (x.features, layer.weight, layer.bias)
    for ours, theirs in zip(gradients(out.features, *inputs), gradients(expected, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=20 * tolerance)
    assert out.sites is x.sites


@pytest.mark.parametrize("options", STRIDED)
def test_strided_is_the_dense_convolution_everywhere(options) -> None:
    x, layer = random_tensor(), SparseConv3d(3, 5, **options, bias=False).double()
    dense = functional.conv3d(x.dense(), layer.weight.permute(0, 4, 1, 2, 3), **dense_options(layer))
    out = layer(x)
    torch.testing.assert_close(out.dense(), dense, rtol=1e-12, atol=1e-12)
    inputs = (x.features, layer.weight)
    for ours, theirs in zip(gradients(out.dense(), *inputs), gradients(dense, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("options", STRIDED)
def test_strided_sites_are_those_whose_kernel_covers_one(options) -> None:
    x, layer = random_tensor(1, 0.02), SparseConv3d(1, 1, **options)
    occupied = x.with_features(torch.ones(len(x), 1)).dense()
    covered = functional.conv3d(occupied, torch.ones(1, 1, *layer.geometry.kernel), **dense_options(layer))
    out = layer(x.with_features(torch.ones(len(x), 1)))
    torch.testing.assert_close(out.indices[out.sites.order].long(), covered[:, 0].round().nonzero())
    assert out.spatial_shape == tuple(covered.shape[2:])
    assert out.stride == layer.geometry.stride


def test_bias_of_a_strided_convolution_is_added_on_its_sites() -> None:
    x, layer = random_tensor(), SparseConv3d(3, 5, 3, 2, 1).double()
    dense = functional.conv3d(x.dense(), layer.weight.permute(0, 4, 1, 2, 3), layer.bias, stride=2, padding=1)
    out = layer(x)
    torch.testing.assert_close(out.features, at_sites(dense, out.sites))


@pytest.mark.parametrize("options", STRIDED)
def test_inverse_is_the_dense_transposed_convolution_on_the_former_sites(options) -> None:
    x, layer = random_tensor(), SparseConv3d(3, 5, **options, bias=False).double()
    back = InverseConv3d(5, 4, options["kernel_size"]).double()
    down = layer(x)
    features = down.features.detach().requires_grad_()
    down = down.with_features(features)
    out = back(down)
    # the dense output may end before the former grid does: there, no kernel reaches
    full = functional.conv_transpose3d(
        down.dense(),
        back.weight.permute(4, 0, 1, 2, 3),
        back.bias,
        stride=layer.geometry.stride,
        dilation=layer.geometry.dilation,
    )
    low = layer.geometry.padding
    full = functional.pad(full[:, :, low[0] :, low[1] :, low[2] :], (0, 9, 0, 9, 0, 9))
    b, z, y, width = x.indices.long().unbind(1)
    reached = functional.pad(torch.ones_like(full[:, :, :-9, :-9, :-9]), (0, 9, 0, 9, 0, 9))[b, :, z, y, width]
    expected = torch.where(reached > 0, full[b, :, z, y, width], back.bias)
    torch.testing.assert_close(out.features, expected, rtol=1e-12, atol=1e-12)
    assert out.sites is x.sites
    inputs = (features, back.weight, back.bias)
    for ours, theirs in zip(gradients(out.features, *inputs), gradients(expected, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_gradients_equal_finite_differences(kind) -> None:
    x = random_tensor(2, 0.02)
    down, back = SparseConv3d(2, 3, 3, 2, 1).double(), InverseConv3d(3, 2).double()
    layer = {"submanifold": SubmanifoldConv3d(2, 3).double(), "strided": down, "inverse": back}[kind]
    start = down(x) if kind == "inverse" else x

    def run(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, parameters, (start.with_features(features),)).features

    features = start.features.detach().requires_grad_()
    assert torch.autograd.gradcheck(run, (features, layer.weight, layer.bias))


def network() -> SparseSequential:
    layers = [SubmanifoldConv3d(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), SparseConv3d(4, 6, 3, 2, 1)]
    return SparseSequential(*layers, SubmanifoldConv3d(6, 6), InverseConv3d(6, 2)).double().eval()


def test_order_of_voxels_does_not_matter() -> None:
    x, model = random_tensor(), network()
    shuffle = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    other = SparseTensor.of(x.features[shuffle], x.indices[shuffle], SHAPE, BATCH)
    torch.testing.assert_close(model(other).features, model(x).features[shuffle], rtol=1e-13, atol=1e-13)


def test_grids_of_a_batch_do_not_see_each_other() -> None:
    x, model = random_tensor(), network()
    together = model(x)
    for index in range(BATCH):
        mine = x.indices[:, 0] == index
        indices = x.indices[mine] * torch.tensor([0, 1, 1, 1])
        alone = model(SparseTensor.of(x.features[mine], indices, SHAPE, 1))
        torch.testing.assert_close(alone.features, together.features[mine], rtol=1e-13, atol=1e-13)


def test_neighbours_do_not_wrap_around_the_grid() -> None:
    corners = torch.tensor([[0, 0, 0, 7], [0, 0, 1, 0], [0, 6, 8, 7], [1, 0, 0, 0]])
    x = SparseTensor.of(torch.ones(4, 1), corners, SHAPE, 2)
    layer = SubmanifoldConv3d(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    torch.testing.assert_close(layer(x).features, torch.ones(4, 1))


@pytest.mark.parametrize("training", [False, True])
def test_no_voxel_at_all(training) -> None:
    x = SparseTensor.of(torch.zeros(0, 3).double().requires_grad_(), torch.zeros(0, 4).int(), SHAPE, 2)
    model = SparseSequential(SubmanifoldConv3d(3, 4), SparseConv3d(4, 6, 3, 2, 1), InverseConv3d(6, 2)).double()
    model.train(training)
    out = model(x)
    assert out.features.shape == (0, 2)
    assert out.dense().shape == (2, 2, *SHAPE)
    out.features.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())
    assert out.sites.find(torch.tensor([[0, 0, 0, 0]])).tolist() == [-1]


def test_voxels_under_no_kernel_leave_nothing() -> None:
    x = SparseTensor.of(torch.ones(1, 3).double(), torch.tensor([[0, 7, 4, 4]]), (8, 9, 9), 1)
    down, back = SparseConv3d(3, 4, 3, 2).double(), InverseConv3d(4, 2).double()
    assert len(down(x)) == 0
    torch.testing.assert_close(back(down(x)).features, back.bias[None])


def test_index_maps_are_made_once_for_each_geometry(monkeypatch) -> None:
    made = []
    for name in ("submanifold_pairs", "strided_pairs"):
        original = getattr(backend_module, name)
        monkeypatch.setattr(backend_module, name, lambda *a, f=original, n=name: made.append(n) or f(*a))
    layers = [SubmanifoldConv3d(3, 3), SubmanifoldConv3d(3, 3), SubmanifoldConv3d(3, 3, dilation=2)]
    model = SparseSequential(*layers, SparseConv3d(3, 3, 3, 2), SubmanifoldConv3d(3, 3)).double()
    x = random_tensor()
    first = model(x)
    assert made == ["submanifold_pairs", "submanifold_pairs", "strided_pairs", "submanifold_pairs"]
    assert copy.deepcopy(model)(x).sites is first.sites, "a second network on the same voxels shares all maps"
    assert len(made) == 4


def test_maps_are_freed_with_their_tensors() -> None:
    gc.disable()
    try:
        x = random_tensor()
        out = SparseConv3d(3, 3, 3, 2).double()(x)
        target, source = weakref.ref(out.sites), weakref.ref(x.sites)
        del out
        assert target() is None, "the strided sites are not held by a cycle"
        del x
        assert source() is None
    finally:
        gc.enable()


def test_inverse_refuses_what_it_cannot_undo() -> None:
    x = random_tensor()
    with pytest.raises(ValueError, match="made by a strided convolution"):
        InverseConv3d(3, 3).double()(x)
    with pytest.raises(ValueError, match=r"\(3, 3, 3\).*got \(3, 1, 1\)"):
        InverseConv3d(3, 3, (3, 1, 1)).double()(SparseConv3d(3, 3, 3, 2).double()(x))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 0, 0]], r"every voxel once, got 1 repetitions.*\[0, 0, 0, 0\]"),
        ([[0, 0, 0, 8]], r"below \(3, 7, 9, 8\), got \[0, 0, 0, 8\]"),
        ([[3, 0, 0, 0]], r"got \[3, 0, 0, 0\]"),
        ([[0, -1, 0, 0]], r"got \[0, -1, 0, 0\]"),
        ([[0, 0, 0]], r"\(N, 4\) of batch, z, y, x, got torch.int64 \(1, 3\)"),
    ],
)
def test_wrong_indices_are_refused(indices, message) -> None:
    with pytest.raises(ValueError, match=message):
        SparseTensor.of(torch.zeros(len(indices), 1), torch.tensor(indices), SHAPE, BATCH)


def test_other_wrong_input_is_refused() -> None:
    x = random_tensor()
    with pytest.raises(ValueError, match="one row for each site"):
        x.with_features(x.features[1:])
    with pytest.raises(ValueError, match="with 4 channels"):
        SubmanifoldConv3d(4, 2)(x)
    with pytest.raises(ValueError, match="odd kernel"):
        SubmanifoldConv3d(4, 2, 2)
    with pytest.raises(ValueError, match="holds the kernel"):
        SparseConv3d(3, 3, 11).double()(x)
    with pytest.raises(ValueError, match="at least the spatial shape"):
        x.padded((6, 9, 8))
    with pytest.raises(ValueError, match=r"integer indices"):
        SparseTensor.of(torch.zeros(1, 1), torch.zeros(1, 4), SHAPE, 1)


def test_autocast_multiplies_in_half_and_sums_in_single() -> None:
    x = random_tensor(16, 0.5, dtype=torch.float32)
    layer = SubmanifoldConv3d(16, 8, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x).features
    assert out.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(out.float().sum(), layer.weight)
    rounded = copy.deepcopy(layer).double()
    with torch.no_grad():
        rounded.weight.copy_(layer.weight.bfloat16())
    exact = rounded(x.with_features(x.features.bfloat16().double())).features
    # each of 27 products and the sum are rounded to 8 bits: half a unit in the last place of each
    assert (out.double() - exact).abs().max() < 2**-9 * 4 * exact.abs().max()
    (exact_gradient,) = torch.autograd.grad(exact.sum(), rounded.weight)
    assert (gradient.double() - exact_gradient).abs().max() < 2**-8 * exact_gradient.abs().max()


def test_a_tensor_can_be_sent_to_a_worker() -> None:
    x = random_tensor()
    down = SparseConv3d(3, 3, 3, 2).double()(x)
    copied = pickle.loads(pickle.dumps(down.with_features(down.features.detach())))
    torch.testing.assert_close(copied.dense(), down.dense().detach())
    assert copied.stride == (2, 2, 2)
    assert x.to("cpu").sites is x.sites


def test_find_rows_of_voxels() -> None:
    x = random_tensor()
    assert x.sites.find(x.indices).tolist() == list(range(len(x)))
    free = (x.with_features(torch.ones(len(x), 1)).dense()[:, 0] == 0).nonzero()
    outside = torch.tensor([[0, 0, 0, 8], [0, 0, -1, 0], [3, 0, 0, 0], [-1, 0, 0, 0]])
    assert (x.sites.find(torch.cat([free, outside])) == -1).all()
