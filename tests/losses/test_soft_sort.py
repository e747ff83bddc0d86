"""Differentiable sorting networks: frozen outputs of diffsort 0.2.0, hard limits, and what every mixing must keep."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from equissl.losses.soft_sort import rank_mass, soft_sort

networks = pytest.mark.parametrize("network", ["odd_even", "bitonic"])
swaps = pytest.mark.parametrize("swap", ["cauchy", "logistic"])

# diffsort 0.2.0 at steepness 2.5 in float64: second row's least value, sum of squares of the first sorted row, and the
# first row's matrix weighted by cos(0, 1, ...). Its bitonic network of 11 wires is another one.
DIFFSORT = {
    ("odd_even", 2, "cauchy"): (-0.6935039634, 0.8011018535, 0.0309932126),
    ("odd_even", 2, "logistic"): (-0.6870908051, 0.8042313144, 0.0302510224),
    ("odd_even", 3, "cauchy"): (-0.5251479135, 0.6195972062, 1.2811648672),
    ("odd_even", 3, "logistic"): (-0.6952682637, 0.8270360820, 1.3946392707),
    ("odd_even", 8, "cauchy"): (-0.4288491207, 0.5695935910, 0.3591863121),
    ("odd_even", 8, "logistic"): (-0.6612183573, 1.5045315878, 0.5219949487),
    ("odd_even", 11, "cauchy"): (-0.2928578076, 0.6395191231, -0.4883659199),
    ("odd_even", 11, "logistic"): (-0.4732611862, 1.9308504667, -0.4506122465),
    ("bitonic", 2, "cauchy"): (-0.6935039634, 0.8011018535, 0.0309932126),
    ("bitonic", 3, "logistic"): (-0.7329002393, 0.8345291038, 1.4657806587),
    ("bitonic", 5, "cauchy"): (-0.4359490290, 0.5833122459, -0.9434737181),
    ("bitonic", 5, "logistic"): (-0.5812411544, 1.3504081720, -1.6277280858),
    ("bitonic", 8, "cauchy"): (-0.3601163351, 1.2067803309, 1.3134061759),
    ("bitonic", 8, "logistic"): (-0.6492072377, 2.1494082046, 1.7254232316),
    ("bitonic", 13, "cauchy"): (-0.3585900213, 0.7153913319, 0.1302536531),
    ("bitonic", 13, "logistic"): (-0.5556267865, 2.3279269713, -0.1733653915),
}


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("network", "count", "swap"), DIFFSORT)
def test_matches_diffsort(network: str, count: int, swap: str) -> None:
    values = torch.sin(1.7 * torch.arange(2 * count, dtype=torch.float64) + 0.3).view(2, count)
    ordered, matrix = soft_sort(values, 2.5, network, swap)
    weights = torch.cos(torch.arange(count * count, dtype=torch.float64)).view(count, count)
    got = (ordered[1, 0].item(), ordered[0].square().sum().item(), (matrix[0] * weights).sum().item())
    assert got == pytest.approx(DIFFSORT[network, count, swap], abs=1e-9)


def test_whole_matrix_of_diffsort() -> None:
    ordered, matrix = soft_sort(torch.tensor([0.3, -0.7, 1.1, 0.2, -0.4], dtype=torch.float64), 3.0)
    expected = [
        [0.1573207020, 0.1637057187, 0.3403851758, 0.2976904529, 0.0408979505],
        [0.6245424876, 0.2175640788, 0.0933751715, 0.0598517106, 0.0046665515],
        [0.0179422864, 0.0473632073, 0.0862569829, 0.1301912004, 0.7182463230],
        [0.0680443224, 0.1267908644, 0.3039046065, 0.3511089841, 0.1501512225],
        [0.1321502016, 0.4445761307, 0.1760780633, 0.1611576519, 0.0860379525],
    ]
    torch.testing.assert_close(matrix, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)
    want = [-0.4094982318, -0.2035558909, 0.1219853098, 0.1963799949, 0.7946888179]
    torch.testing.assert_close(ordered, torch.tensor(want, dtype=torch.float64), atol=1e-9, rtol=0)


@networks
@swaps
def test_equal_values(network: str, swap: str) -> None:
    """Three equal items: the last one enters the network a comparison later."""
    _, matrix = soft_sort(torch.full((3,), 0.4, dtype=torch.float64), 7.0, network, swap)
    rows = {
        "odd_even": [[3, 3, 2], [3, 3, 2], [2, 2, 4]],
        "bitonic": [[4, 2, 2], [2, 3, 3], [2, 3, 3]],
    }[network]
    torch.testing.assert_close(matrix, torch.tensor(rows, dtype=torch.float64) / 8)


@networks
@pytest.mark.parametrize("count", range(1, 13))
def test_networks_sort_every_sequence_of_zeros_and_ones(network: str, count: int) -> None:
    """By the zero-one principle they then sort everything."""
    values = torch.tensor(list(itertools.product((0.0, 1.0), repeat=count)))
    ordered, _ = soft_sort(values, 1e9, network, "logistic")
    assert torch.equal(ordered, values.sort(dim=1).values)


@networks
@pytest.mark.parametrize("count", [22, 38, 43, 64, 65])
def test_larger_sizes_sort(network: str, count: int) -> None:
    """At 22 wires diffsort's bitonic network leaves about half of all inputs unsorted."""
    values = random(100, count).argsort(dim=1).double()
    ordered, matrix = soft_sort(values, 1e9, network, "logistic")
    assert torch.equal(ordered, values.sort(dim=1).values)
    assert torch.equal(matrix.argmax(dim=2).double(), values)  # items are their own ranks


@networks
@swaps
@pytest.mark.parametrize("count", [1, 2, 7, 11, 16])
def test_matrix_is_doubly_stochastic_and_sorts(network: str, swap: str, count: int) -> None:
    values = random(3, 2, count)
    ordered, matrix = soft_sort(values, 2.0, network, swap)
    assert matrix.min() > 0
    ones = torch.ones(3, 2, count, dtype=torch.float64)
    torch.testing.assert_close(matrix.sum(dim=-1), ones)
    torch.testing.assert_close(matrix.sum(dim=-2), ones)
    torch.testing.assert_close((values[..., None, :] @ matrix).squeeze(-2), ordered)


@networks
@swaps
@pytest.mark.parametrize("count", [1, 2, 5, 11])
def test_rank_mass_is_the_matrix_times_ranks(network: str, swap: str, count: int) -> None:
    values, ranks = random(3, 2, count).requires_grad_(), random(4, count)
    mass = rank_mass(values, ranks, 2.0, network, swap)
    expected = (soft_sort(values, 2.0, network, swap)[1] @ ranks.T).mT
    torch.testing.assert_close(mass, expected, rtol=1e-12, atol=1e-12)
    if count > 1:
        weights = torch.arange(mass.numel(), dtype=torch.float64).view(mass.shape).cos()
        gradients = [torch.autograd.grad((m * weights).sum(), values)[0] for m in (mass, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@networks
@swaps
def test_gradcheck(network: str, swap: str) -> None:
    steepness = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    values = random(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, b: soft_sort(x, b, network, swap), (values, steepness))


@networks
@swaps
def test_shift_and_scale(network: str, swap: str) -> None:
    values = random(4, 6)
    _, matrix = soft_sort(values, 2.0, network, swap)
    torch.testing.assert_close(soft_sort(values + 5, 2.0, network, swap)[1], matrix)
    torch.testing.assert_close(soft_sort(3 * values, 2 / 3, network, swap)[1], matrix)


def test_far_tails_keep_their_digits() -> None:
    """1/2 + arctan(v) / pi would round to 0 in float32 here."""
    _, matrix = soft_sort(torch.tensor([1.0, 0.0]), 1e9)
    torch.testing.assert_close(matrix[0, 0].item(), 1e-9 / torch.pi, rtol=1e-6, atol=0)


@networks
def test_half_precision_runs_in_float32(network: str) -> None:
    values = random(8, 11).half().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ordered, matrix = soft_sort(values, 1.0, network)
    exact, exact_matrix = soft_sort(values.detach().double(), 1.0, network)
    assert ordered.dtype == matrix.dtype == torch.float32
    torch.testing.assert_close(ordered.double(), exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(matrix.double(), exact_matrix, rtol=1e-5, atol=1e-6)


@networks
def test_compiled_without_a_break_in_the_graph(network: str) -> None:
    torch.compiler.reset()
    values = random(3, 7)
    compiled = torch.compile(lambda x: soft_sort(x, 2.0, network), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(values), soft_sort(values, 2.0, network), rtol=1e-12, atol=1e-15)


def test_errors() -> None:
    values = random(2, 3)
    for bad in (values[:, :0], values.long(), values[0, 0]):
        with pytest.raises(ValueError, match=r"floating-point values of shape \(..., n\), got torch"):
            soft_sort(bad)
    with pytest.raises(ValueError, match="positive steepness, got 0"):
        soft_sort(values, 0)
    with pytest.raises(ValueError, match="'odd_even' or 'bitonic', got 'bubble'"):
        soft_sort(values, network="bubble")
    with pytest.raises(ValueError, match="'cauchy' or 'logistic', got 'hard'"):
        soft_sort(values, swap="hard")
    with pytest.raises(ValueError, match=r"ranks of shape \(G, 3\), got \(1, 4\)"):
        rank_mass(values, torch.ones(1, 4))
