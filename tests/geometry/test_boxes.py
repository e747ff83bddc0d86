"""Boxes: closed forms, shapely, symmetries, what is no box, and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from equissl.datasets.drives.box_points import points_in_box
from equissl.geometry import boxes as module
from equissl.geometry.boxes import (
    aligned_bev_iou,
    bev_corners,
    bev_iou,
    box_corners,
    iou_3d,
    limit_heading,
    paired_bev_iou,
    paired_iou_3d,
    points_in_boxes,
    rotated_nms,
)

RAD = math.pi / 180
ROOT2 = math.sqrt(2)


def flat(x: float, y: float, dx: float, dy: float, degrees: float) -> Tensor:
    return torch.tensor([x, y, 0.0, dx, dy, 1.0, degrees * RAD], dtype=torch.float64)


def random_boxes(count: int, seed: int, spread: float = 4.0, dtype: torch.dtype = torch.float64) -> Tensor:
    uniform = torch.rand(count, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    place, size, heading = uniform[:, :3] * spread, 0.1 + 4 * uniform[:, 3:6], 40 * uniform[:, 6:] - 20
    return torch.cat([place, size, heading], dim=1).to(dtype)


def by_polygons(a: Tensor, b: Tensor, height: bool = False) -> np.ndarray:
    """Pair by pair with shapely, from corners turned by numpy."""
    shapes, extents = [], []
    for rows in (a.double().numpy(), b.double().numpy()):
        corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * rows[:, None, 3:5] / 2
        cos, sin = np.cos(rows[:, 6:]), np.sin(rows[:, 6:])
        x, y = corners[..., 0], corners[..., 1]
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
        shapes.append(shapely.polygons(turned + rows[:, None, :2]))
        extents.append((rows[:, 2] - rows[:, 5] / 2, rows[:, 2] + rows[:, 5] / 2))
    common = shapely.area(shapely.intersection(*shapes))
    sizes = [shapely.area(shape) for shape in shapes]
    if height:
        (low_a, high_a), (low_b, high_b) = extents
        common = common * np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None)
        sizes = [size * (high - low) for size, (low, high) in zip(sizes, extents, strict=True)]
    return common / (sizes[0] + sizes[1] - common)


CLOSED_FORMS = {
    "identical": (flat(3, 4, 4, 2, 77), flat(3, 4, 4, 2, 77), 1.0),
    "half a turn": (flat(3, 4, 4, 2, 77), flat(3, 4, 4, 2, 257), 1.0),
    "unit squares, 45 degrees": (flat(0, 0, 1, 1, 0), flat(0, 0, 1, 1, 45), 1 / ROOT2),
    "a car across itself": (flat(0, 0, 3.9, 1.6, 0), flat(0, 0, 3.9, 1.6, 90), 1.6 / (2 * 3.9 - 1.6)),
    "shifted along": (flat(0, 0, 4, 2, 0), flat(2, 0, 4, 2, 0), 1 / 3),
    "shifted sideways": (flat(0, 0, 4, 2, 0), flat(0, 1, 4, 2, 0), 1 / 3),
    "shifted along, both turned": (
        flat(0, 0, 4, 2, 30),
        flat(math.cos(30 * RAD), math.sin(30 * RAD), 4, 2, 30),
        0.6,
    ),
    "turned by 45": (flat(0, 0, 4, 2, 0), flat(0, 0, 4, 2, 45), 5.45584412 / (16 - 5.45584412)),
    "turned by 30": (flat(0, 0, 4, 2, 0), flat(0, 0, 4, 2, 30), 6.14359354 / (16 - 6.14359354)),
    "nested": (flat(1, 2, 4, 2, 20), flat(1, 2, 2, 1, 20), 0.25),
    "corner in corner": (flat(0, 0, 2, 2, 0), flat(1, 1, 2, 2, 0), 1 / 7),
    "square in square": (flat(0, 0, 2, 2, 0), flat(0, 0, ROOT2, ROOT2, 45), 0.5),
    "touching": (flat(0, 0, 4, 2, 0), flat(4, 0, 4, 2, 0), 0.0),
    "touching at a corner": (flat(0, 0, 2, 2, 0), flat(2, 2, 2, 2, 0), 0.0),
    "6 x 2 at 60": (flat(0, 0, 6, 2, 0), flat(0, 0, 6, 2, 60), 4 / math.sin(60 * RAD) / (24 - 4 / math.sin(60 * RAD))),
}


@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_closed_forms(case: str) -> None:
    a, b, expected = CLOSED_FORMS[case]
    for one, other in ((a, b), (b, a)):
        assert paired_bev_iou(one, other).item() == pytest.approx(expected, abs=2e-9)
        assert paired_iou_3d(one, other).item() == pytest.approx(expected, abs=2e-9)
        assert bev_iou(one[None], other[None]).item() == pytest.approx(expected, abs=2e-9)


def test_overlap_of_heights() -> None:
    a, b = flat(0, 0, 4, 2, 10), flat(0, 0, 4, 2, 10)
    b[2] = 0.25
    assert paired_iou_3d(a, b).item() == pytest.approx(0.75 / 1.25)
    b[2] = 1.0
    assert paired_iou_3d(a, b).item() == 0.0
    assert paired_bev_iou(a, b).item() == pytest.approx(1.0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 5e-6)])
def test_equals_polygons(dtype: torch.dtype, tolerance: float) -> None:
    a, b = random_boxes(8000, 0, dtype=dtype), random_boxes(8000, 1, dtype=dtype)
    expected = by_polygons(a, b)
    assert 0.3 < (expected > 0).mean() < 0.8
    np.testing.assert_allclose(paired_bev_iou(a, b).numpy(), expected, atol=tolerance)
    np.testing.assert_allclose(paired_iou_3d(a, b).numpy(), by_polygons(a, b, height=True), atol=tolerance)


@pytest.mark.parametrize("size", [1e-15, 1e-9, 1e-4])
def test_almost_equal_boxes_overlap_almost_wholly(size: float) -> None:
    a = random_boxes(2000, 2)
    change = size * torch.randn(2000, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for moved in (
        a + change,
        a + change * torch.tensor([0, 0, 0, 0, 0, 0, 1.0]),
        a + change * torch.tensor([1, 1, *[0] * 5]),
    ):
        # the smallest side is 0.1: an edge that moves by d costs a share of at most 2 d / 0.1 of the area, and so on
        assert (1 - paired_bev_iou(a, moved)).max() < 1e-12 + 1000 * size
        assert paired_bev_iou(a, moved).max() <= 1.0


def test_same_box_is_one_exactly() -> None:
    a = random_boxes(2000, 4, dtype=torch.float32)
    assert (paired_bev_iou(a, a) == 1).all()
    assert (paired_iou_3d(a, a) == 1).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_apart_is_zero_exactly(dtype: torch.dtype) -> None:
    a = random_boxes(2000, 5)
    a[:, 6] /= 10  # whole turns cost digits
    along = torch.stack([a[:, 6].cos(), a[:, 6].sin()], dim=1)
    for gap in (0.0, 1e-3, 1.0, 100.0):  # touching at any angle, too
        b = a.clone()
        b[:, :2] += (a[:, 3:4] + gap) * along
        assert not paired_bev_iou(a.to(dtype), b.to(dtype)).any()
    b = a.clone()
    b[:, 2] += a[:, 5] + 1e-3
    assert not paired_iou_3d(a.to(dtype), b.to(dtype)).any()


def test_little_in_much_is_not_lost() -> None:
    """A tiny box in a vast one, which rounding must not take for nothing."""
    tiny, vast = random_boxes(500, 24, dtype=torch.float32), random_boxes(500, 25, dtype=torch.float32)
    tiny[:, 3:6], vast[:, 3:6] = 0.1, 500.0
    for one, other in ((tiny, vast), (vast, tiny)):
        assert torch.allclose(paired_bev_iou(one, other), torch.tensor(0.01 / 250000), rtol=1e-2)


def test_symmetries() -> None:
    a, b = random_boxes(1000, 6), random_boxes(1000, 7)
    expected = paired_iou_3d(a, b)
    assert torch.allclose(paired_iou_3d(b, a), expected, atol=1e-13)
    angle, shift = 1.234, torch.tensor([300.0, -70.0, 9.0], dtype=torch.float64)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    moved = [torch.cat([c[:, :2] @ turn.T, c[:, 2:6], c[:, 6:] + angle], dim=1) for c in (a, b)]
    for c in moved:
        c[:, :3] += shift
    assert torch.allclose(paired_iou_3d(*moved), expected, atol=1e-11)
    flipped = [c * torch.tensor([1, -1, 1, 1, 1, 1, -1.0]) for c in (a, b)]
    assert torch.allclose(paired_iou_3d(*flipped), expected, atol=1e-13)
    scaled = [c * torch.tensor([7.0] * 6 + [1.0]) for c in (a, b)]
    assert torch.allclose(paired_iou_3d(*scaled), expected, atol=1e-13)
    turned = a + torch.tensor([0, 0, 0, 0, 0, 0, 200 * math.pi], dtype=torch.float64)
    assert torch.allclose(paired_iou_3d(turned, b), expected, atol=1e-12)


def test_far_from_the_origin() -> None:
    a, b = random_boxes(1000, 8), random_boxes(1000, 9)
    far = torch.tensor([2.0**40, -(2.0**40), 2.0**40, 0, 0, 0, 0], dtype=torch.float64)
    a, b = ((c[:, :7] + far) for c in (a, b))  # after the centres were rounded there
    assert torch.allclose(paired_iou_3d(a, b), paired_iou_3d(a - far, b - far), atol=1e-13)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=4, max_size=4),
    st.lists(st.floats(0, 1e3, allow_subnormal=False), min_size=6, max_size=6),
    st.lists(st.floats(-100, 100), min_size=2, max_size=2),
)
def test_always_a_share(place: list[float], size: list[float], heading: list[float]) -> None:
    a = torch.tensor([*place[:2], 0, *size[:3], heading[0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([*place[2:], 0, *size[3:], heading[1]], dtype=torch.float64, requires_grad=True)
    value = paired_iou_3d(a, b)
    assert 0 <= value <= 1
    value.backward()
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_gradient() -> None:
    a, b = random_boxes(25, 10, spread=2.0).requires_grad_(), random_boxes(25, 11, spread=2.0).requires_grad_()
    assert torch.autograd.gradcheck(paired_bev_iou, (a, b))
    assert torch.autograd.gradcheck(paired_iou_3d, (a, b))
    assert torch.autograd.gradcheck(iou_3d, (a[:4], b[:5]))


def test_gradient_is_finite_where_it_jumps() -> None:
    for name, (a, b, _) in CLOSED_FORMS.items():
        for dtype in (torch.float32, torch.float64):
            one, other = (c.to(dtype, copy=True).requires_grad_() for c in (a, b))
            paired_iou_3d(one, other).backward()
            assert one.grad is not None
            assert one.grad.isfinite().all(), name
            assert other.grad.isfinite().all(), name


@pytest.mark.parametrize(("column", "value"), [(3, 0.0), (4, 0.0), (5, 0.0), (3, -4.0), (0, math.nan), (6, math.inf)])
def test_what_is_no_box_overlaps_nothing(column: int, value: float) -> None:
    bad = flat(0, 0, 4, 2, 0)
    bad[column] = value
    good = flat(0, 0, 4, 2, 0).requires_grad_()
    for other in (good, bad):
        assert paired_iou_3d(bad, other).item() == 0.0
        assert iou_3d(bad[None], other[None]).item() == 0.0
    if column != 5:
        assert bev_iou(good[None], bad[None]).item() == 0.0
    paired_iou_3d(bad, good).backward()
    assert good.grad is not None
    assert good.grad.isfinite().all()


@pytest.mark.parametrize("block", [1 << 20, 7])
def test_matrices_equal_pairs(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(module, "CANDIDATES", block)
    a, b = random_boxes(20, 12, spread=10.0), random_boxes(30, 13, spread=10.0)
    every_a, every_b = a[:, None].expand(-1, 30, -1), b.expand(20, -1, -1)
    assert torch.allclose(bev_iou(a, b), paired_bev_iou(every_a, every_b), atol=1e-14)
    assert torch.allclose(iou_3d(a, b), paired_iou_3d(every_a, every_b), atol=1e-14)
    points = torch.rand(50, 4, generator=torch.Generator().manual_seed(14), dtype=torch.float64) * 10
    expected = np.zeros((50, 30), dtype=bool)
    for column, box in enumerate(b.numpy()):
        expected[points_in_box(points.numpy()[:, :3], box), column] = True
    assert expected.any()
    np.testing.assert_array_equal(points_in_boxes(points, b).numpy(), expected)


def test_nothing_with_something() -> None:
    none, some = torch.zeros(0, 7), random_boxes(3, 15, dtype=torch.float32)
    for function in (bev_iou, iou_3d, aligned_bev_iou):
        assert function(none, some).shape == (0, 3)
        assert function(some, none).shape == (3, 0)
        assert function(none, none).shape == (0, 0)
    assert points_in_boxes(torch.zeros(0, 3), some).shape == (0, 3)
    assert points_in_boxes(torch.zeros(5, 3), none).shape == (5, 0)
    assert rotated_nms(none, torch.zeros(0), 0.5).shape == (0,)
    assert rotated_nms(none, torch.zeros(0), 0.5, max_out=3).shape == (0,)


def test_half_precision_is_computed_in_single() -> None:
    a = random_boxes(100, 16).to(torch.bfloat16)
    assert paired_bev_iou(a, a).dtype == torch.float32
    assert (paired_bev_iou(a, a) == 1).all()


def test_corners() -> None:
    box = torch.tensor([[10.0, 20.0, 30.0, 4.0, 2.0, 6.0, math.pi / 2]])
    expected = torch.tensor([[9.0, 22.0], [9.0, 18.0], [11.0, 18.0], [11.0, 22.0]])
    assert torch.allclose(bev_corners(box)[0], expected, atol=1e-5)
    corners = box_corners(box)[0]
    assert torch.allclose(corners[:4, :2], expected, atol=1e-5)
    assert torch.allclose(corners[4:, :2], expected, atol=1e-5)
    assert corners[:, 2].tolist() == [27.0] * 4 + [33.0] * 4
    many = random_boxes(6, 17).view(2, 3, 7)
    assert box_corners(many).shape == (2, 3, 8, 3)
    assert torch.allclose(box_corners(many).mean(dim=-2), many[..., :3])
    counter_clockwise = shapely.is_ccw(shapely.linearrings(bev_corners(many[0]).numpy()))
    assert counter_clockwise.all()


def test_aligned_overlap_snaps_the_heading() -> None:
    anchors = torch.tensor([[0, 0, 0, 4.0, 2.0, 1, 0], [0, 0, 0, 4.0, 2.0, 1, 1.57]])
    boxes = torch.tensor([[0, 0, 0, 4.0, 2.0, 1, r] for r in (0.7, -0.7, 0.8, math.pi - 0.1, 7.0, 0.5 * math.pi)])
    snapped = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    across = 4 / 12
    expected = torch.where(snapped[None] == torch.tensor([[0.0], [1.0]]), 1.0, across)
    assert torch.allclose(aligned_bev_iou(anchors, boxes), expected)
    a, b = random_boxes(40, 18), random_boxes(50, 19)
    upright = [torch.cat([c[:, :6], (c[:, 6:] / (math.pi / 2)).round() * (math.pi / 2)], dim=1) for c in (a, b)]
    assert torch.allclose(aligned_bev_iou(a, b), bev_iou(*upright), atol=1e-12)


def greedy(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """One box after the other, with polygons."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i].item()):
        if not kept or by_polygons(boxes[kept], boxes[index].expand(len(kept), 7)).max() <= threshold:
            kept.append(index)
    return kept


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.8])
@pytest.mark.parametrize("block", [512, 16])
def test_suppression_is_greedy(monkeypatch: pytest.MonkeyPatch, threshold: float, block: int) -> None:
    monkeypatch.setattr(module, "SUPPRESSION_BLOCK", block)
    boxes = random_boxes(75, 20, spread=8.0)
    boxes = torch.cat([boxes, boxes * 1.01])
    scores = torch.rand(150, generator=torch.Generator().manual_seed(21)).mul(50).round()  # with ties
    expected = greedy(boxes, scores, threshold)
    assert len(expected) < 140
    assert rotated_nms(boxes, scores, threshold).tolist() == expected
    assert rotated_nms(boxes, scores, threshold, max_out=5).tolist() == expected[:5]


def test_suppression_along_a_chain() -> None:
    """Each overlaps only its neighbours: every other one stays."""
    boxes = torch.zeros(600, 7)
    boxes[:, 0], boxes[:, 3:6] = torch.arange(600), torch.tensor([1.5, 1.0, 1.0])
    assert rotated_nms(boxes, -torch.arange(600.0), 0.1).tolist() == list(range(0, 600, 2))


def test_suppression_never_keeps_what_is_no_number() -> None:
    boxes = random_boxes(5, 22, spread=1000.0)
    boxes[1, 2] = math.nan
    scores = torch.tensor([0.1, 0.9, math.nan, 0.5, math.inf])
    assert rotated_nms(boxes, scores, 0.5).tolist() == [4, 3, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_on_a_gpu() -> None:
    a, b = random_boxes(300, 26), random_boxes(200, 27)
    scores = torch.rand(300, generator=torch.Generator().manual_seed(28))
    for function in (bev_iou, iou_3d, aligned_bev_iou):
        assert torch.allclose(function(a.cuda(), b.cuda()).cpu(), function(a, b), atol=1e-12)
    kept = rotated_nms(a.cuda(), scores.cuda(), 0.1)
    assert kept.is_cuda
    assert torch.equal(kept.cpu(), rotated_nms(a, scores, 0.1))
    assert torch.equal(points_in_boxes(a.cuda(), b.cuda()).cpu(), points_in_boxes(a, b))


def test_headings_are_brought_into_range() -> None:
    angles = torch.linspace(-50, 50, 10001, dtype=torch.float64)
    limited = limit_heading(angles)
    assert ((limited >= -math.pi) & (limited < math.pi)).all()
    assert torch.allclose(torch.stack([limited.cos(), limited.sin()]), torch.stack([angles.cos(), angles.sin()]))
    inside = angles[angles.abs() < 3.14]
    assert torch.equal(limit_heading(inside), inside)
    for dtype in (torch.float32, torch.float64):
        pi = torch.tensor(math.pi, dtype=dtype)
        seam = torch.stack(
            [pi, -pi, torch.nextafter(pi, 2 * pi), torch.nextafter(pi, -pi), torch.nextafter(-pi, -2 * pi), 3 * pi]
        )
        limited = limit_heading(seam)
        assert ((limited >= -math.pi) & (limited < math.pi)).all()
    assert limit_heading(torch.tensor(math.nan)).isnan()


def test_wrong_shapes() -> None:
    good = random_boxes(3, 23)
    with pytest.raises(ValueError, match=r"expected boxes of shape \(\.\.\., 7\)"):
        paired_bev_iou(good[:, :6], good)
    with pytest.raises(ValueError, match=r"expected boxes of shape \(N, 7\)"):
        bev_iou(good[0], good)
    with pytest.raises(ValueError, match="in floating point"):
        bev_corners(good.long())
    with pytest.raises(ValueError, match=r"expected scores of shape \(3,\)"):
        rotated_nms(good, torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match="expected points"):
        points_in_boxes(good[:, :2], good)
