"""BYOL and SimSiam against closed forms and lightly."""

from __future__ import annotations

import pytest
import torch

from equissl.losses.negative_cosine import byol, cross_view_cosine, simsiam

EYE = torch.eye(6, dtype=torch.float64)
P = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Z = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_closed_forms() -> None:
    x, other = EYE[:, None].expand(6, 2, 6), EYE.roll(1, 0)[:, None].expand(6, 2, 6)
    for target, full, half in ((3 * x, 0, -1), (other, 4, 0), (-x, 8, 1)):
        assert byol(x, target).item() == pytest.approx(full, abs=1e-12)
        assert simsiam(x, target).item() == pytest.approx(half, abs=1e-12)
    collapsed = torch.ones(4, 2, 3)
    assert byol(collapsed, collapsed).item() == pytest.approx(0, abs=1e-6)
    assert byol(P, Z).item() == pytest.approx(4 + 4 * simsiam(P, Z).item(), rel=1e-12)


def test_own_view_is_no_target() -> None:
    """A prediction meets the other views' targets only, also where only the large crops have targets."""
    cosines = torch.nn.functional.cosine_similarity(P[:, :, None], Z[:, None], dim=-1)
    pairs = [(v, t) for v in range(3) for t in range(2) if v != t]
    expected = torch.stack([cosines[:, v, t] for v, t in pairs]).mean()
    torch.testing.assert_close(cross_view_cosine(P, Z[:, :2]), expected)


def test_targets_get_no_gradient() -> None:
    p, z = P.clone().requires_grad_(), Z.clone().requires_grad_()
    (byol(p, z) + simsiam(p, z)).backward()
    assert z.grad is None and p.grad.abs().max() > 0
    joined = P.clone().requires_grad_()
    simsiam(joined, joined).backward()
    separate = P.clone().requires_grad_()
    simsiam(separate, P).backward()
    assert torch.equal(joined.grad, separate.grad)


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    oracle = lightly.NegativeCosineSimilarity()
    expected = (oracle(P[:, 0], Z[:, 1]) + oracle(P[:, 1], Z[:, 0])) / 2
    assert simsiam(P[:, :2], Z[:, :2]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_target_errors() -> None:
    for bad in (Z[:4], Z[..., :2], torch.cat((Z, Z), dim=1), Z[:, :0], Z[:, 0]):
        with pytest.raises(ValueError, match=r"targets of shape \(5, T, 4\) with T in 1..3"):
            byol(P, bad)
    assert simsiam(P, Z * float("inf")).isnan()
