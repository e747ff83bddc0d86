"""CenterPoint's velocities: what is added and what is not, the loss by hand, and that perfect answers come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equissl.datasets.sweeps.labelled_sweeps import SweepBatch
from equissl.detection import CenterPoint, Detections, SelectConfig
from equissl.detection.center_head import CenterWeights
from equissl.detection.detections import select

VELOCITIES = torch.tensor([[5.0, -1.0], [float("nan"), float("nan")], [0.5, 0.0]])


@pytest.fixture
def moving(center: CenterPoint) -> CenterPoint:
    torch.manual_seed(0)
    return CenterPoint(encoder=center.encoder.config, neck=center.backbone_2d.config, velocity=True).eval()


@pytest.fixture
def told(batch: SweepBatch) -> SweepBatch:
    """Three objects, the velocity of the second unknown; and a scene without any."""
    return replace(batch, velocities=(VELOCITIES, torch.zeros(0, 2)))


def test_velocity_adds_one_output_of_two_channels_by_openpcdets_name(center: CenterPoint, moving: CenterPoint) -> None:
    plain, more = center.state_dict(), moving.state_dict()
    added = {name for name in more if name not in plain}
    assert plain.keys() <= more.keys() and {name.rpartition(".vel.")[0] for name in added} == {
        "dense_head.heads_list.0"
    }
    assert more["dense_head.heads_list.0.vel.1.weight"].shape == (2, 64, 3, 3)
    outputs = [name for name, _ in moving.dense_head.heads_list[0].named_children()]
    assert outputs == ["center", "center_z", "dim", "rot", "vel", "hm"]


def perfect(moving: CenterPoint, told: SweepBatch) -> tuple[list[dict[str, torch.Tensor]], list]:
    head = moving.dense_head
    objects = zip(told.boxes, told.labels, told.velocities, strict=True)  # type: ignore[arg-type]
    targets = [head.targets(boxes, labels, 0, velocities) for boxes, labels, velocities in objects]
    maps = torch.zeros(2, 10, head.cells[0] * head.cells[1])
    for number, target in enumerate(targets):
        maps[number][:, target.cells] = torch.cat([target.boxes, target.velocities.nan_to_num(7.0)], dim=1).T
    maps = maps.view(2, 10, *head.cells)
    peaks = torch.where(torch.stack([target.heatmaps for target in targets]) == 1, 20.0, -20.0)
    parts = maps.split([2, 1, 3, 2, 2], dim=1)
    return [{"hm": peaks, **dict(zip(("center", "center_z", "dim", "rot", "vel"), parts, strict=True))}], targets


def test_perfect_velocities_cost_nothing_and_come_back(moving: CenterPoint, told: SweepBatch) -> None:
    outputs, _ = perfect(moving, told)
    loss, terms = moving.dense_head.loss(outputs, told.boxes, told.labels, told.velocities)
    assert float(terms["velocity"]) == float(terms["box"]) == 0 and float(loss) < 1e-3
    found = moving.dense_head.detect(outputs)
    order = [int((found[0].boxes[:, :2] - box[:2]).norm(dim=1).argmin()) for box in told.boxes[0]]
    expected = VELOCITIES.nan_to_num(7.0)  # what the map says where nobody knows
    torch.testing.assert_close(found[0].velocities[order], expected)
    assert found[1].velocities.shape == (0, 2)


def test_velocity_loss_by_hand(moving: CenterPoint, told: SweepBatch) -> None:
    """Off by (1, -2) and by (0, 0.5), of three objects; the unknown one costs and teaches nothing."""
    outputs, targets = perfect(moving, told)
    flat = outputs[0]["vel"].flatten(2)
    flat[0][:, targets[0].cells[0]] += torch.tensor([1.0, -2.0])
    flat[0][:, targets[0].cells[1]] += 100.0
    flat[0][:, targets[0].cells[2]] += torch.tensor([0.0, 0.5])
    outputs[0]["vel"] = flat.view_as(outputs[0]["vel"]).requires_grad_()
    moving.dense_head.weights = CenterWeights(heatmap=0.0, boxes=0.25, velocity=0.2)
    loss, terms = moving.dense_head.loss(outputs, told.boxes, told.labels, told.velocities)
    assert float(terms["velocity"]) == pytest.approx(3.5 / 3) and float(loss.detach()) == pytest.approx(
        0.25 * 0.2 * 3.5 / 3
    )
    loss.backward()
    gradient = outputs[0]["vel"].grad.flatten(2)[0]
    step = 0.25 * 0.2 / 3
    assert gradient[:, targets[0].cells[0]].tolist() == pytest.approx([step, -step])
    assert bool(gradient.isfinite().all()) and gradient[:, targets[0].cells[1]].tolist() == [0, 0]
    assert int((gradient != 0).sum()) == 3


def test_without_known_velocities_only_the_rest_learns(moving: CenterPoint, batch: SweepBatch) -> None:
    assert batch.velocities is None
    output = moving.train().step(batch)
    output.loss.backward()
    assert float(output.terms["velocity"]) == 0 and bool(output.loss.isfinite())
    for name, parameter in moving.dense_head.named_parameters():
        assert bool(parameter.grad.isfinite().all()) and (".vel." not in name or not parameter.grad.any())


def test_detectors_without_velocities_pass_over_them(detector, told: SweepBatch) -> None:
    torch.manual_seed(0)
    with_them = detector.step(told)
    torch.manual_seed(0)
    without = detector.step(replace(told, velocities=None))
    assert torch.equal(with_them.loss, without.loss) and "velocity" not in with_them.terms
    assert all(found.velocities is None for found in detector.eval().detect(told.clouds))


def test_velocities_stay_with_their_boxes() -> None:
    boxes = torch.tensor([[0, 0, 0, 4, 2, 1.5, 0.0], [0.1, 0, 0, 4, 2, 1.5, 0.0], [20, 0, 0, 4, 2, 1.5, 0.0],
                          [40, 0, 0, 4, 2, 1.5, 0.0]])  # fmt: skip
    speeds = torch.tensor([[1.0, 0], [2.0, 0], [3.0, 0], [float("inf"), 0]])
    found = select(boxes, torch.tensor([0.5, 0.9, 0.95, 0.8]), torch.arange(4), SelectConfig(), speeds)
    assert found.labels.tolist() == [2, 1] and found.velocities.tolist() == [[3, 0], [2, 0]]
    assert found.select(found.scores < 0.92).to("cpu").velocities.tolist() == [[2, 0]]
    assert Detections(boxes, torch.rand(4), torch.arange(4)).select(torch.tensor([1])).velocities is None
