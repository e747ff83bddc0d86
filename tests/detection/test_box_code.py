"""Codes of boxes, directions, anchors and their assignment, peaks: golden numbers and slow twins."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.detection.anchors import BACKGROUND, IGNORED, KITTI_ANCHORS, AnchorClass, assign_objects, make_anchors
from equissl.detection.box_code import (
    decode_boxes,
    decode_refinement,
    direction_bin,
    encode_boxes,
    encode_refinement,
    limit_period,
    point_along,
)
from equissl.detection.heatmaps import draw_peak, gaussian_radii, gaussian_radius

KITTI_RANGE = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)


def test_code_of_one_box() -> None:
    anchor = torch.tensor([10, 5, -1, 3.9, 1.6, 1.56, 0], dtype=torch.float64)
    box = torch.tensor([10.5, 4.8, -0.9, 4.2, 1.7, 1.5, 0.2], dtype=torch.float64)
    expected = [0.11861136, -0.04744453, 0.06410256, 0.07410797, 0.06062462, -0.03922071, 0.2]
    torch.testing.assert_close(encode_boxes(box, anchor), torch.tensor(expected).double(), rtol=0, atol=1e-7)
    torch.testing.assert_close(decode_boxes(encode_boxes(box, anchor), anchor), box)


def test_refinement_of_one_box() -> None:
    """A region that looks along y, and an object 1 m before it, 0.2 m to its left and 0.15 m above."""
    roi = torch.tensor([10, 5, -1, 4.0, 3.0, 1.5, math.pi / 2], dtype=torch.float64)
    box = torch.tensor([9.8, 6, -0.85, 4.4, 3.0, 1.5, math.pi / 2 + 0.1], dtype=torch.float64)
    expected = torch.tensor([0.2, 0.04, 0.1, math.log(1.1), 0, 0, 0.1], dtype=torch.float64)
    torch.testing.assert_close(encode_refinement(box, roi), expected)
    torch.testing.assert_close(decode_refinement(expected, roi), box)
    opposite = box + torch.tensor([0, 0, 0, 0, 0, 0, math.pi])
    torch.testing.assert_close(encode_refinement(opposite, roi), expected)


def test_refinement_undone_up_to_half_turns() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes, rois = (torch.rand(200, 7, generator=generator).double() * 4 + 0.1 for _ in range(2))
    boxes[:, 6] = boxes[:, 6] * 5 - 10
    codes = encode_refinement(boxes, rois)
    assert float(codes[:, 6].abs().max()) <= math.pi / 2 + 1e-12
    back = decode_refinement(codes, rois)
    torch.testing.assert_close(back[:, :6], boxes[:, :6])
    turns = (back[:, 6] - boxes[:, 6]) / math.pi
    torch.testing.assert_close(turns, turns.round())
    assert float((back[:, 6] - rois[:, 6]).abs().max()) <= math.pi / 2 + 1e-12


def test_decoding_undoes_encoding() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes, anchors = (torch.rand(100, 7, generator=generator).double() * 4 + 0.1 for _ in range(2))
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes)


def test_direction_bins() -> None:
    headings = torch.tensor([0, 0.5, 0.79, 1.57, 3.0, 3.93, -1.57, -3.1], dtype=torch.float64)
    assert direction_bin(headings).tolist() == [1, 1, 0, 0, 0, 1, 1, 0]


def test_a_heading_is_what_its_axis_and_direction_say() -> None:
    headings = torch.linspace(-3.1, 3.1, 200).double()
    opposite = headings + math.pi  # all that the sine loss promises
    found = point_along(opposite, direction_bin(headings))
    assert float(limit_period(found - headings, 0.5, 2 * math.pi).abs().max()) < 1e-9


def test_anchors_at_full_size() -> None:
    anchors = make_anchors(KITTI_ANCHORS, KITTI_RANGE, (200, 176))
    assert anchors.shape == (200, 176, 3, 2, 7) and anchors[..., 0].numel() == 211_200
    # both ends of the range, no shift by half a cell
    torch.testing.assert_close(anchors[0, 0, 0, 0, :2], torch.tensor([0.0, -40.0]))
    torch.testing.assert_close(anchors[-1, -1, 0, 0, :2], torch.tensor([70.4, 40.0]))
    torch.testing.assert_close(anchors[3, 7, 1, 1, 0], torch.tensor(7 * 70.4 / 175))
    torch.testing.assert_close(anchors[3, 7, 1, 1, 1], torch.tensor(-40 + 3 * 80 / 199))
    # z is the middle: bottom + half the height
    torch.testing.assert_close(anchors[0, 0, :, 0, 2], torch.tensor([-1.78 + 0.78, -0.6 + 0.865, -0.6 + 0.865]))
    assert anchors[0, 0, 0, :, 6].tolist() == pytest.approx([0.0, 1.57])
    # in the order y, x, class, rotation
    assert anchors.flatten(0, -2)[1].tolist() == anchors[0, 0, 0, 1].tolist()
    assert anchors.flatten(0, -2)[6].tolist() == anchors[0, 1, 0, 0].tolist()


def slow_overlap(anchor: Tensor, box: Tensor) -> float:
    """Intersection over union of two rectangles along the axes, one by one."""
    sides = []
    for b in (anchor.tolist(), box.tolist()):
        upright = abs(b[6] - math.pi * math.floor(b[6] / math.pi + 0.5)) < math.pi / 4
        dx, dy = (b[3], b[4]) if upright else (b[4], b[3])
        sides.append((b[0] - dx / 2, b[1] - dy / 2, b[0] + dx / 2, b[1] + dy / 2))
    (a0, a1, a2, a3), (b0, b1, b2, b3) = sides
    shared = max(0.0, min(a2, b2) - max(a0, b0)) * max(0.0, min(a3, b3) - max(a1, b1))
    return shared / ((a2 - a0) * (a3 - a1) + (b2 - b0) * (b3 - b1) - shared)


def slow_assignment(anchors: Tensor, boxes: Tensor, matched: float, unmatched: float) -> list[int]:
    table = [[slow_overlap(anchor, box) for box in boxes] for anchor in anchors]
    best_of_box = [max(row[j] for row in table) for j in range(len(boxes))]
    found = []
    for row in table:
        best = max(row)
        is_best = any(row[j] == best_of_box[j] > 0 for j in range(len(boxes)))
        if is_best or best >= matched:
            found.append(row.index(best))
        else:
            found.append(BACKGROUND if best < unmatched else IGNORED)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_assignment_is_that_of_a_slow_twin(seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchors = make_anchors(KITTI_ANCHORS[:1], (0, -8, -3, 16, 8, 1), (16, 16))[..., 0, :, :].reshape(-1, 7).double()
    boxes = torch.rand(6, 7, generator=generator).double() * torch.tensor([16, 16, 1, 1, 0.5, 0.2, 6.28])
    boxes += torch.tensor([0, -8, -1, 3.5, 1.4, 1.5, -3.14])
    expected = slow_assignment(anchors, boxes, 0.6, 0.45)
    assert {BACKGROUND, IGNORED} < set(expected) and max(expected) >= 0
    assert assign_objects(anchors, boxes, 0.6, 0.45).tolist() == expected


def test_assignment_without_objects_or_overlap() -> None:
    anchors = make_anchors(KITTI_ANCHORS[:1], (0, -8, -3, 16, 8, 1), (4, 4)).reshape(-1, 7)
    assert set(assign_objects(anchors, torch.zeros(0, 7), 0.6, 0.45).tolist()) == {BACKGROUND}
    far = torch.tensor([[900.0, 0, 0, 4, 2, 1.5, 0]])
    assert set(assign_objects(anchors, far, 0.6, 0.45).tolist()) == {BACKGROUND}


@pytest.mark.parametrize(
    "wrong", [{"size": (0.0, 1.0, 1.0)}, {"matched": 0.3}, {"unmatched": -0.1}, {"name": ""}, {"paste": -1}]
)
def test_impossible_classes_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="expected"):
        AnchorClass(**{"name": "Car", "size": (4.0, 2.0, 1.5), "bottom": -1.7, **wrong})


def test_classes_by_name_alias_and_case() -> None:
    kind = ObjectClass("pedestrian", aliases=("human.pedestrian.*",), neighbours=("Person_sitting",))
    assert kind.matches("Pedestrian") and kind.matches("human.pedestrian.adult")
    assert not kind.matches("Person_sitting") and not kind.matches("pedestrians")
    assert kind.resembles("person_sitting")


def test_gaussian_radius() -> None:
    radii = gaussian_radii((3.9 / 0.4, 1.6 / 0.4))
    assert radii == pytest.approx((10.79374, 20.72585, 2.61632), abs=1e-5)
    assert gaussian_radius((3.9 / 0.4, 1.6 / 0.4)) == 2
    assert gaussian_radius((1.0, 1.0)) == 2 and gaussian_radius((60.0, 30.0)) > 2


def test_peaks_are_gaussians_that_only_rise() -> None:
    heatmap = torch.zeros(9, 7)
    draw_peak(heatmap, (4, 3), 2)
    draw_peak(heatmap, (0, 0), 2)  # cut off by the border
    before = heatmap.clone()
    draw_peak(heatmap, (4, 4), 2)
    sigma = 5 / 6
    assert float(heatmap[4, 3]) == float(heatmap[0, 0]) == 1.0
    assert float(before[4, 5]) == pytest.approx(math.exp(-4 / (2 * sigma**2)))
    assert float(before[2, 2]) == pytest.approx(math.exp(-5 / (2 * sigma**2)))  # of the peak at (4, 3)
    assert bool((heatmap >= before).all()) and float(before[8, 6]) == 0
