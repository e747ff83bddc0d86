"""The choice of a backend, and the adapter of spconv: with a small package of its interface, and the real ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from fake_spconv import CALLS, fake_package
from torch import nn

from equissl.sparse import (
    BackendError,
    InverseConv3d,
    SparseConv3d,
    SparseSequential,
    SparseTensor,
    SubmanifoldConv3d,
    available_backends,
    choose_backend,
    get_backend,
    set_backend,
)
from equissl.sparse import backends as backend_module
from equissl.sparse.spconv_backend import SpconvBackend

CPU = torch.device("cpu")
SHAPE = (7, 9, 8)


@pytest.fixture(autouse=True)
def _fresh_choice() -> Iterator[None]:
    caches = get_backend, backend_module._automatic
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, name: str, cpu_only: bool = False) -> None:
    for module, content in fake_package(name, cpu_only).items():
        monkeypatch.setitem(sys.modules, module, content)


def uninstall(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def voxels(device: str = "cpu", count_seed: int = 0) -> SparseTensor:
    generator = torch.Generator().manual_seed(count_seed)
    indices = (torch.rand(2, *SHAPE, generator=generator) < 0.1).nonzero()
    features = torch.randn(len(indices), 8, generator=generator)
    return SparseTensor.of(features.to(device).requires_grad_(), indices.to(device), SHAPE, 2)


def network() -> SparseSequential:
    layers = [SubmanifoldConv3d(8, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), SubmanifoldConv3d(16, 16)]
    layers += [SparseConv3d(16, 16, 3, 2, (0, 1, 1)), SubmanifoldConv3d(16, 16)]
    layers += [
        SparseConv3d(16, 16, (3, 1, 1), (2, 1, 1)),
        InverseConv3d(16, 16, (3, 1, 1)),
        SubmanifoldConv3d(16, 16, 1),
    ]
    return SparseSequential(*layers, InverseConv3d(16, 8))


def assert_same(model: nn.Module, name: str, device: str, tolerance: float) -> None:
    """Outputs and all gradients of a backend equal those of the torch backend, on any run, training or not."""
    for training in (True, False):
        found = []
        for backend in ("torch", name):
            set_backend(model.train(training), backend)
            x = voxels(device)
            out = model(x)
            parameters = (x.features, *model.parameters())
            found.append((out.dense(), *torch.autograd.grad(out.features.square().sum(), parameters)))
        for expected, ours in zip(*found, strict=True):
            assert (expected - ours).abs().max() <= tolerance * expected.abs().max()


def test_spconv_is_refused_on_the_cpu(monkeypatch) -> None:
    install(monkeypatch, "spconv")
    layer = SubmanifoldConv3d(8, 8, backend="spconv")
    with pytest.raises(BackendError, match=r"refused on the CPU: .*wrong results.*use 'torch'"):
        layer(voxels())
    backend, x = get_backend("spconv"), voxels()
    for convolve in (backend.submanifold, backend.strided):
        with pytest.raises(BackendError, match="refused on the CPU"):
            convolve(x, layer.weight, layer.geometry)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with pytest.raises(BackendError, match="refused on the CPU"):
        layer(x)
    assert not CALLS


def test_automatic_choice(monkeypatch) -> None:
    uninstall(monkeypatch, "spconv", "spconv.pytorch", "spconv_triton", "spconv_triton.pytorch")
    cuda = torch.device("cuda")
    assert choose_backend("auto", CPU).name == "torch"
    assert choose_backend("auto", cuda).name == "torch"
    assert available_backends(cuda) == ["torch"]
    install(monkeypatch, "spconv_triton")
    backend_module._automatic.cache_clear()
    assert choose_backend("auto", cuda).name == "spconv-triton"
    install(monkeypatch, "spconv")
    backend_module._automatic.cache_clear()
    assert choose_backend("auto", cuda).name == "spconv"
    assert choose_backend("auto", CPU).name == "torch"
    assert available_backends(CPU) == ["torch"]


def test_a_build_without_gpu_kernels_is_passed_over(monkeypatch) -> None:
    install(monkeypatch, "spconv", cpu_only=True)
    uninstall(monkeypatch, "spconv_triton", "spconv_triton.pytorch")
    cuda = torch.device("cuda")
    assert choose_backend("auto", cuda).name == "torch"
    with pytest.raises(BackendError, match="without GPU kernels: uninstall spconv and cumm"):
        choose_backend("spconv", cuda)


@pytest.mark.parametrize(("name", "command"), [("spconv", "spconv-cu126"), ("spconv-triton", "spconv-triton")])
def test_a_missing_package_says_what_to_install(monkeypatch, name, command) -> None:
    uninstall(monkeypatch, "spconv", "spconv.pytorch", "spconv_triton", "spconv_triton.pytorch")
    with pytest.raises(BackendError, match=f"pip install {command}"):
        SubmanifoldConv3d(8, 8, backend=name)(voxels())


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="'auto' or one of torch, spconv, spconv-triton, got 'minkowski'"):
        choose_backend("minkowski", CPU)


@pytest.mark.parametrize("name", ["spconv", "spconv-triton"])
def test_adapter_passes_everything_on(monkeypatch, name) -> None:
    install(monkeypatch, name.replace("-", "_"))
    monkeypatch.setattr(SpconvBackend, "check", lambda self, device: None)
    assert_same(network(), name, "cpu", 1e-5)


def test_adapter_shares_maps_and_keeps_gradients_in_evaluation(monkeypatch) -> None:
    install(monkeypatch, "spconv")
    monkeypatch.setattr(SpconvBackend, "check", lambda self, device: None)
    model = network().eval()
    set_backend(model, "spconv")
    x = voxels()
    CALLS.clear()
    first = model(x)
    kinds = [(call["kind"], call["known"]) for call in CALLS]
    assert kinds == [
        ("SubMConv3d", False),
        ("SubMConv3d", True),
        ("SparseConv3d", False),
        ("SubMConv3d", False),
        ("SparseConv3d", False),
        ("SparseInverseConv3d", True),
        ("SparseInverseConv3d", True),
    ]
    assert all(call["training"] for call in CALLS), "in evaluation mode spconv leaves out the gradients"
    torch.testing.assert_close(model(x).features, first.features)
    with torch.no_grad():
        model(x)
    assert not CALLS[-1]["training"]
    CALLS.clear()


def test_adapter_without_voxels(monkeypatch) -> None:
    install(monkeypatch, "spconv")
    monkeypatch.setattr(SpconvBackend, "check", lambda self, device: None)
    model = network().eval()
    set_backend(model, "spconv")
    CALLS.clear()
    out = model(SparseTensor.of(torch.zeros(0, 8), torch.zeros(0, 4).int(), SHAPE, 2))
    assert out.features.shape == (0, 8)
    out.features.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not CALLS, "spconv fails without voxels"


def test_inverse_across_backends_is_refused(monkeypatch) -> None:
    install(monkeypatch, "spconv")
    monkeypatch.setattr(SpconvBackend, "check", lambda self, device: None)
    down = SparseConv3d(8, 8, 3, 2, backend="torch")(voxels())
    with pytest.raises(ValueError, match=r"'torch', got .* 'spconv'"):
        InverseConv3d(8, 8, backend="spconv")(down)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="spconv and spconv-triton need a GPU")
@pytest.mark.parametrize("name", ["spconv", "spconv-triton"])
def test_real_package_on_the_gpu(name) -> None:
    device = torch.device("cuda")
    if name not in available_backends(device):
        pytest.skip(f"{name} is not installed")
    assert_same(network().to(device), name, "cuda", 1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares the torch backend on the GPU with the CPU")
def test_torch_backend_on_the_gpu() -> None:
    model = network().eval()
    expected = model(voxels()).dense()
    on_gpu = model.cuda()
    set_backend(on_gpu, "torch")
    torch.testing.assert_close(on_gpu(voxels("cuda")).dense().cpu(), expected, rtol=1e-4, atol=1e-4)
