"""SepCLR against its definition, closed forms, and what it owes as a loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses import similarity
from equissl.losses.align_uniform import alignment_loss, uniformity_loss
from equissl.losses.sep_clr import SepCLRWeights, sep_clr, sep_clr_terms

Y = torch.tensor([1, 0, 1, 1, 0, 1])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts(batch: int = 6, views: int = 2) -> tuple[Tensor, Tensor]:
    return random(batch, views, 4), 0.7 * random(batch, views, 3, seed=1)


def by_definition(c: Tensor, s: Tensor, y: Tensor, tau: float) -> dict[str, float]:
    """Two views, loops over samples and pairs."""
    c, batch = normalize(c, dim=2), len(y)

    def potential(a: Tensor, b: Tensor) -> float:
        return -(a - b).square().sum().item() / (2 * tau)

    def align(a: Tensor, b: Tensor) -> float:
        return sum(-potential(x, z) for x, z in zip(a, b, strict=True)) / len(a)

    def uniform(x: Tensor) -> float:
        pairs = [math.exp(potential(x[i], x[j])) for i in range(batch) for j in range(i)]
        return math.log(sum(pairs) / len(pairs))

    def entropy(c: Tensor, s: Tensor) -> float:
        sums = [
            sum(math.exp(potential(c[i], c[j]) + potential(s[i], s[j])) for j in range(batch)) / batch
            for i in range(batch)
        ]
        return sum(map(math.log, sums)) / batch

    shown = s * y[:, None, None]
    return {
        "common_alignment": align(c[:, 0], c[:, 1]),
        "common_uniformity": (uniform(c[:, 0]) + uniform(c[:, 1])) / 2,
        "salient_alignment": align(s[y == 1, 0], s[y == 1, 1]),
        "salient_uniformity": (uniform(shown[:, 0]) + uniform(shown[:, 1])) / 2,
        "information_less": sum(align(s[y == 0, v], 0 * s[y == 0, v]) for v in (0, 1)) / 2,
        "joint_entropy": (entropy(c[:, 0], shown[:, 0]) + entropy(c[:, 1], shown[:, 1])) / 2,
    }


@pytest.mark.parametrize("tau", [0.5, 0.2])
def test_terms_match_the_definition(tau: float) -> None:
    c, s = parts()
    terms = sep_clr_terms(c, s, Y, tau)
    expected = by_definition(c, s, Y, tau)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)
    a, u, sa, su, less, joint = expected.values()
    total = a + 2 * u + 30 * (sa + 2 * su) + 7 * less + 5 * joint
    value = sep_clr(c, s, Y, SepCLRWeights(salient=30, information_less=7, joint_entropy=5), tau)
    assert value.item() == pytest.approx(total, rel=1e-10)


def test_temperature_one_half_is_alignment_and_uniformity_at_t_one() -> None:
    c, s = parts(views=3)
    s = normalize(s, dim=2)
    terms = sep_clr_terms(c, s, torch.ones(6), 0.5)
    for part, name in ((c, "common"), (s, "salient")):
        assert terms[f"{name}_uniformity"].item() == pytest.approx(uniformity_loss(part, t=1.0).item(), rel=1e-12)
        assert terms[f"{name}_alignment"].item() == pytest.approx(alignment_loss(part).item(), rel=1e-12)


def test_joint_entropy_closed_forms() -> None:
    def joint(c: Tensor, s: Tensor, y: Tensor) -> float:
        return sep_clr_terms(c, s, y)["joint_entropy"].item()

    ones, none = torch.ones(4, 2, 3).double(), torch.zeros(4, 2, 3).double()
    eye = torch.eye(4, dtype=torch.float64)[:, None].expand(4, 2, 4)
    everyone = torch.ones(4)
    assert joint(ones, ones, everyone) == pytest.approx(0, abs=1e-12)
    assert joint(ones, 100 * eye, everyone) == pytest.approx(-math.log(4))
    assert joint(ones, 100 * eye, 0 * everyone) == pytest.approx(0, abs=1e-12)  # the background shows no salient part
    assert joint(eye, none, everyone) == pytest.approx(-1.0455414, abs=1e-7)
    assert joint(eye, none, everyone) == pytest.approx(math.log((1 + 3 * math.exp(-2)) / 4))


@pytest.mark.parametrize("y", [torch.zeros(6), torch.ones(6, dtype=torch.bool)], ids=["background", "target"])
def test_batches_of_one_class_are_finite(y: Tensor) -> None:
    c, s = (x.requires_grad_() for x in parts())
    terms = sep_clr_terms(c, s, y)
    gradients = torch.autograd.grad(sep_clr(c, s, y), (c, s))
    assert all(gradient.isfinite().all() for gradient in gradients)
    if y.any():
        assert terms["information_less"].item() == 0 < terms["salient_alignment"].item()
    else:
        assert terms["salient_alignment"].item() == 0 < terms["information_less"].item()
        assert terms["salient_uniformity"].item() == pytest.approx(0, abs=1e-12)
    assert all(term.isfinite() for term in terms.values())


def test_salient_part_of_the_background_is_only_shortened() -> None:
    c, s = parts()
    s.requires_grad_()
    weights = SepCLRWeights(information_less=0)
    gradient = torch.autograd.grad(sep_clr(c, s, Y, weights), s)[0]
    assert gradient[Y == 0].abs().max() == 0 < gradient[Y == 1].abs().min()


def test_gradcheck() -> None:
    c, s = (x.requires_grad_() for x in (random(4, 3, 6), random(4, 3, 5, seed=1)))
    assert torch.autograd.gradcheck(lambda c, s: sep_clr(c, s, Y[:4]), (c, s))


def test_symmetries() -> None:
    c, s = parts(views=3)
    value = sep_clr(c, s, Y).item()
    order = torch.tensor([4, 2, 0, 1, 5, 3])
    assert sep_clr(c[order], s[order], Y[order]).item() == pytest.approx(value, rel=1e-12)
    assert sep_clr(c[:, [2, 0, 1]], s[:, [2, 0, 1]], Y).item() == pytest.approx(value, rel=1e-12)
    turn, lengths = (torch.linalg.qr(random(n, n)).Q for n in (4, 3)), random(6, 3, 1).exp()
    turn_c, turn_s = turn
    assert sep_clr(c @ turn_c * lengths, s @ turn_s, Y).item() == pytest.approx(value, rel=1e-12)
    assert sep_clr(c, s * lengths, Y).item() != pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "collapsed", "orthonormal"])
def test_half_precision(dtype: torch.dtype, kind: str) -> None:
    z = {
        "random": random(12, 3, 16),
        "collapsed": torch.full((12, 3, 16), 0.7),
        "orthonormal": torch.eye(12)[:, None].repeat(1, 3, 1),
    }[kind].to(dtype)
    exact, y = z.double(), torch.arange(12) % 3 > 0
    z.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = sep_clr(*z.split(z.shape[2] // 2, dim=2), y)
    expected = sep_clr(*exact.split(z.shape[2] // 2, dim=2), y)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-2, abs=1e-4)
    value.backward()
    assert z.grad is not None and z.grad.dtype == dtype and z.grad.isfinite().all()


def test_blocks_and_compilation_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    c, s = parts()
    expected = sep_clr(c, s, Y)
    compiled = torch.compile(lambda c, s: sep_clr(c, s, Y), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(c, s), expected, rtol=1e-12, atol=0)
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 10)
    torch.testing.assert_close(sep_clr(c, s, Y), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 1])
def test_broken_embeddings_show(bad: float, row: int) -> None:
    for broken in (0, 1):
        both = parts()
        both[broken][row, 1, 2] = bad
        assert not sep_clr(*both, Y).isfinite()


def test_zero_vectors() -> None:
    c, s = parts()
    c[2], s[2] = 0, 0
    c.requires_grad_()
    value = sep_clr(c, s, Y)
    assert value.isfinite() and torch.autograd.grad(value, c)[0].isfinite().all()


def test_errors() -> None:
    c, s = parts()
    with pytest.raises(ValueError, match=r"y \(B,\), got \(6, 2, 4\), \(6, 2, 3\) and \(5,\)"):
        sep_clr(c, s, Y[:5])
    with pytest.raises(ValueError, match=r"expected common \(B, V, Dc\)"):
        sep_clr(c[:, 0], s[:, 0], Y)
    with pytest.raises(ValueError, match=r"at least 2 samples, 2 views .* got \(1, 2, 4\)"):
        sep_clr(c[:1], s[:1], Y[:1])
    with pytest.raises(ValueError, match=r"at least 2 samples, 2 views .* got \(6, 1, 4\)"):
        sep_clr(c[:, :1], s[:, :1], Y)
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        sep_clr(c, s, Y, temperature=0)
