"""Losses of detectors against closed forms and numbers computed elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from equissl.losses.detection import corner_loss, heatmap_focal_loss, sigmoid_focal_loss, sine_difference, smooth_l1


def test_focal_loss_of_one_element() -> None:
    logit = torch.tensor(math.log(0.01 / 0.99), dtype=torch.float64)
    assert float(sigmoid_focal_loss(logit, torch.tensor(0.0).double())) == pytest.approx(7.5378e-7, rel=1e-4)
    assert float(sigmoid_focal_loss(logit, torch.tensor(1.0).double())) == pytest.approx(1.128382, rel=1e-6)


def test_focal_loss_without_focus_is_half_the_cross_entropy() -> None:
    logits, target = torch.randn(50).double(), (torch.rand(50) < 0.5).double()
    expected = 0.5 * torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(sigmoid_focal_loss(logits, target, alpha=0.5, gamma=0.0), expected)


def test_focal_loss_of_sure_answers_is_finite_with_finite_gradients() -> None:
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0.0, 1.0, 1.0, 0.0]))
    loss.sum().backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())
    torch.testing.assert_close(loss.detach(), torch.tensor([0.0, 0.0, 50.0, 150.0]))


@pytest.mark.parametrize(("x", "expected"), [(0.05, 0.01125), (1 / 9, 0.0555556), (0.2, 0.1444444), (1.0, 0.9444444)])
def test_smooth_l1(x, expected) -> None:
    values = smooth_l1(torch.tensor([x, -x], dtype=torch.float64))
    torch.testing.assert_close(values, torch.full((2,), expected, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_sine_difference_does_not_tell_opposite_headings_apart() -> None:
    target = torch.randn(20, 7).double()
    turned = target.clone()
    turned[:, 6] += math.pi
    assert float(sine_difference(turned, target).abs().max()) < 1e-12
    preds = torch.randn(20, 7).double()
    expected = torch.cat([preds[:, :6] - target[:, :6], (preds[:, 6:] - target[:, 6:]).sin()], dim=1)
    torch.testing.assert_close(sine_difference(preds, target), expected)


def test_heatmap_loss_by_hand() -> None:
    target = torch.tensor([[1.0, 0.5, 0.0, 1.0]], dtype=torch.float64)
    p = torch.tensor([[0.9, 0.4, 0.2, 0.3]], dtype=torch.float64)
    by_hand = -(
        0.1**2 * math.log(0.9) + 0.5**4 * 0.4**2 * math.log(0.6) + 0.2**2 * math.log(0.8) + 0.7**2 * math.log(0.3)
    )
    assert float(heatmap_focal_loss(p.logit(), target)) == pytest.approx(by_hand / 2)
    # without an object the sum is not divided
    nothing = heatmap_focal_loss(p.logit(), torch.zeros(1, 4).double())
    assert float(nothing) == pytest.approx(-float((p**2 * (1 - p).log()).sum()))


def test_corner_loss_in_closed_form() -> None:
    box = torch.tensor([[3.0, -2.0, 0.5, 4.0, 2.0, 1.5, 0.7]], dtype=torch.float64)
    assert float(corner_loss(box, box)) == 0
    turned = box + torch.tensor([0, 0, 0, 0, 0, 0, math.pi], dtype=torch.float64)
    assert float(corner_loss(turned, box)) == pytest.approx(0, abs=1e-12)  # opposite headings are one
    # every corner of a shifted box is off by the shift: quadratic below a metre, linear beyond
    for shift, expected in ((0.6, 0.18), (3.0, 2.5)):
        moved = box + torch.tensor([shift * 0.6, 0, -shift * 0.8, 0, 0, 0, 0])
        assert float(corner_loss(moved, box)) == pytest.approx(expected)
        assert float(corner_loss(moved + turned - box, box)) == pytest.approx(expected)
    larger = box + torch.tensor([0, 0, 0, 0.6, 0.8, 0, 0])
    assert float(corner_loss(larger, box)) == pytest.approx(0.5 * (0.3**2 + 0.4**2))
    # turned by θ, corners move on circles about the centre: a chord of 2 r sin(θ/2)
    slight = box + torch.tensor([0, 0, 0, 0, 0, 0, 0.2])
    assert float(corner_loss(slight, box)) == pytest.approx(0.5 * (2 * math.sqrt(5) * math.sin(0.1)) ** 2)


def test_gradient_of_the_corner_loss() -> None:
    box = torch.tensor([[3.0, -2.0, 0.5, 4.0, 2.0, 1.5, 0.7]], dtype=torch.float64)
    off = (box + torch.tensor([0.1, -0.2, 0.3, 0.4, -0.1, 0.2, 0.3])).requires_grad_()
    assert torch.autograd.gradcheck(lambda preds: corner_loss(preds, box), (off,))
    same = box.clone().requires_grad_()
    corner_loss(same, box).sum().backward()
    assert same.grad is not None and float(same.grad.abs().max()) == 0  # a distance of 0 has no direction
