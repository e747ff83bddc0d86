"""SECOND, CenterPoint and what detectors share: sizes, names, perfect answers cost nothing and give objects back."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from equissl.datasets.sweeps.labelled_sweeps import SweepBatch
from equissl.detection import SECOND, CenterPoint, Detector, NeckConfig, SelectConfig
from equissl.detection.anchor_head import AnchorOutputs
from equissl.detection.box_code import direction_bin, limit_period
from equissl.detection.center_point import KITTI_CENTERS
from equissl.detection.detections import select
from equissl.detection.neck import BEVNeck
from equissl.encoders.voxel import VoxelEncoderConfig


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_second_has_the_published_size() -> None:
    with torch.device("meta"):
        model = SECOND()
    assert count(model) == 5_325_576
    assert count(model.encoder.backbone) == 711_872
    neck = model.backbone_2d
    blocks = [count(part) for pair in zip(neck.blocks, neck.deblocks, strict=True) for part in pair]
    assert blocks == [1_033_728, 33_280, 3_247_104, 262_656] and sum(blocks) == 4_576_768
    head = model.dense_head
    assert [count(layer) for layer in (head.conv_cls, head.conv_box, head.conv_dir_cls)] == [9_234, 21_546, 6_156]
    assert head.anchors[..., 0].numel() == 211_200
    assert model.cells == (200, 176) and model.encoder.feature_dim == 256


def test_voxel_rcnn_neck_has_the_published_size() -> None:
    config = NeckConfig(widths=(64, 128), up_widths=(128, 128))
    assert count(BEVNeck(256, config)) == 1_219_328


def test_names_are_those_of_openpcdet() -> None:
    with torch.device("meta"):
        second, center = SECOND(), CenterPoint()
    names = set(second.state_dict())
    for block in (0, 1):
        convolutions = [1, *(4 + 3 * k for k in range(5))]  # behind the padding, then convolution, norm, ReLU
        assert {f"backbone_2d.blocks.{block}.{k}.weight" for k in convolutions} <= names
        assert {f"backbone_2d.blocks.{block}.{k + 1}.running_mean" for k in convolutions} <= names
        assert {f"backbone_2d.deblocks.{block}.{k}.weight" for k in (0, 1)} <= names
    heads = {f"dense_head.{layer}.{part}" for layer in ("conv_cls", "conv_box", "conv_dir_cls")
             for part in ("weight", "bias")}  # fmt: skip
    assert {name for name in names if name.startswith("dense_head")} == heads
    assert second.state_dict()["backbone_2d.blocks.1.1.weight"].shape == (256, 128, 3, 3)
    assert second.state_dict()["backbone_2d.deblocks.1.0.weight"].shape == (256, 256, 2, 2)
    outputs = {"center": 2, "center_z": 1, "dim": 3, "rot": 2, "hm": 3}
    for name, width in outputs.items():
        prefix = f"dense_head.heads_list.0.{name}"
        assert center.state_dict()[f"{prefix}.0.0.weight"].shape == (64, 64, 3, 3)
        assert center.state_dict()[f"{prefix}.0.1.running_var"].shape == (64,)
        assert center.state_dict()[f"{prefix}.1.weight"].shape == (width, 64, 3, 3)
    assert center.state_dict()["dense_head.shared_conv.0.weight"].shape == (64, 512, 3, 3)


def test_initial_scores_are_the_prior() -> None:
    second = SECOND(encoder=VoxelEncoderConfig(backend="torch"))
    assert float(second.dense_head.conv_cls.bias.detach()[0]) == pytest.approx(-4.59512, abs=1e-5)
    assert float(second.dense_head.conv_box.weight.detach().std()) == pytest.approx(0.001, rel=0.05)
    center = CenterPoint(encoder=VoxelEncoderConfig(backend="torch"))
    assert center.dense_head.heads_list[0].hm[-1].bias.tolist() == pytest.approx([-2.19] * 3)


def same_objects(found, boxes: Tensor, labels: Tensor) -> None:
    order = [int((found.boxes[:, :2] - box[:2]).norm(dim=1).argmin()) for box in boxes]
    assert sorted(order) == list(range(len(boxes))) and len(found) == len(boxes)
    torch.testing.assert_close(found.boxes[order][:, :6], boxes[:, :6], rtol=1e-4, atol=1e-4)
    assert float(limit_period(found.boxes[order][:, 6] - boxes[:, 6], 0.5, 2 * math.pi).abs().max()) < 1e-3
    assert found.labels[order].tolist() == labels.tolist()


def test_perfect_answers_of_anchors(batch: SweepBatch, second) -> None:
    """Headings too, although the box loss cannot tell them from opposite ones: the direction does."""
    head = second.dense_head
    targets = [head.targets(*objects) for objects in zip(batch.boxes, batch.labels, strict=True)]
    assert set(targets[0].labels[targets[0].labels >= 0].tolist()) == {0, 1, 2}
    assert int((targets[1].labels >= 0).sum()) == 0
    classes = torch.full((2, len(targets[0].labels), 3), -20.0)
    for number, target in enumerate(targets):
        rows = torch.nonzero(target.labels >= 0).flatten()
        classes[number, rows, target.labels[rows]] = 20.0
    codes = torch.stack([t.codes for t in targets])
    codes[..., 6] += math.pi  # the sine loss does not mind
    directions = torch.nn.functional.one_hot(torch.stack([t.directions for t in targets]), 2) * 60.0 - 30.0
    outputs = AnchorOutputs(classes, codes, directions)
    loss, terms = head.loss(outputs, batch.boxes, batch.labels)
    assert float(loss) < 1e-6 and float(terms["positives"]) > 1
    found = head.detect(outputs)
    same_objects(found[0], batch.boxes[0], batch.labels[0])
    assert len(found[1]) == 0


def test_anchor_loss_by_hand(batch: SweepBatch, second) -> None:
    """Each scene is divided by its own number of positive anchors, and ignored anchors cost nothing."""
    head = second.dense_head
    targets = [head.targets(*objects) for objects in zip(batch.boxes, batch.labels, strict=True)]
    number = len(targets[0].labels)
    outputs = AnchorOutputs(torch.randn(2, number, 3), torch.randn(2, number, 7), torch.randn(2, number, 2))
    expected = dict.fromkeys(("classification", "box", "direction"), 0.0)
    for scene, target in enumerate(targets):
        positives = [i for i in range(number) if target.labels[i] >= 0]
        for i in range(number):
            if target.labels[i] == -2:
                continue
            for kind in range(3):
                p = float(outputs.classes[scene, i, kind].sigmoid())
                right = target.labels[i] == kind
                element = -0.25 * (1 - p) ** 2 * math.log(p) if right else -0.75 * p**2 * math.log(1 - p)
                expected["classification"] += element / max(1, len(positives)) / 2
        for i in positives:
            for k in range(7):
                a, b = float(outputs.codes[scene, i, k]), float(target.codes[i, k])
                d = abs(math.sin(a - b) if k == 6 else a - b)
                expected["box"] += (4.5 * d * d if d < 1 / 9 else d - 1 / 18) / len(positives) / 2
            chances = outputs.directions[scene, i].softmax(0)
            expected["direction"] -= math.log(float(chances[target.directions[i]])) / len(positives) / 2
    loss, terms = head.loss(outputs, batch.boxes, batch.labels)
    assert {name: float(terms[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    whole = expected["classification"] + 2 * expected["box"] + 0.2 * expected["direction"]
    assert float(loss) == pytest.approx(whole, rel=1e-4)


def test_targets_of_anchors_carry_heading_bins(batch: SweepBatch, second) -> None:
    target = second.dense_head.targets(batch.boxes[0], batch.labels[0])
    for kind in range(3):
        rows = target.labels == kind
        assert set(target.directions[rows].tolist()) == {int(direction_bin(batch.boxes[0][kind, 6]))}


def test_perfect_answers_of_centres(batch: SweepBatch, center) -> None:
    head = center.dense_head
    targets = [head.targets(*objects, 0) for objects in zip(batch.boxes, batch.labels, strict=True)]
    maps = torch.zeros(2, 8, head.cells[0] * head.cells[1])
    for number, target in enumerate(targets):
        maps[number][:, target.cells] = target.boxes.T
    maps = maps.view(2, 8, *head.cells)
    heat = torch.stack([target.heatmaps for target in targets])
    peaks = torch.where(heat == 1, 20.0, -20.0)
    output = {"hm": peaks, "center": maps[:, :2], "center_z": maps[:, 2:3], "dim": maps[:, 3:6], "rot": maps[:, 6:]}
    loss, terms = head.loss([output], batch.boxes, batch.labels)
    assert float(terms["box"]) == 0 and float(loss) < 1e-3
    found = head.detect([output])
    same_objects(found[0], batch.boxes[0], batch.labels[0])
    assert len(found[1]) == 0


def test_centres_of_several_tasks_share_nothing(batch: SweepBatch) -> None:
    classes = [replace(kind, task=number) for number, kind in enumerate(KITTI_CENTERS[::-1])]
    grid = VoxelEncoderConfig(point_range=(0.0, -6.4, -3.0, 12.8, 6.4, 1.0), voxel_size=(0.2, 0.2, 0.16))
    model = CenterPoint(encoder=grid, neck=NeckConfig((1,), (1,), (8,), (1,), (8,)), classes=classes)
    assert model.dense_head.tasks == [[0], [1], [2]]
    loss, _ = model.dense_head.loss(model._answer(batch.clouds)[1], batch.boxes, batch.labels)
    assert bool(loss.isfinite())


def test_a_step_trains_everything_and_detecting_is_repeatable(detector: Detector, batch: SweepBatch) -> None:
    output = detector.step(batch)
    output.loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in detector.parameters())
    assert output.features.shape == (2, 1, detector.feature_dim)
    detector.eval()
    one, two = detector.detect(batch.clouds), detector.detect(batch.clouds)
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(one, two, strict=True))
    alone = detector.detect(batch.clouds[1:])[0]
    assert len(alone) == len(one[1])


def test_a_frozen_backbone_stays(rebuild, batch: SweepBatch) -> None:
    model = rebuild(frozen=True)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    assert not model.train().encoder.training and model.backbone_2d.training
    model.step(batch).loss.backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.encoder.state_dict().items())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("encoder."))


def test_empty_scenes(detector: Detector, batch: SweepBatch) -> None:
    empty = torch.zeros(0, 4)
    detector.eval()
    assert len(detector.detect([batch.clouds[0], empty])) == 2
    detector.train()
    none = torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64)
    mixed = SweepBatch((batch.clouds[0], empty), (none[0],) * 2, (none[1],) * 2, batch.seeds, batch.ids)
    assert bool(detector.step(mixed).loss.isfinite())


def test_selection() -> None:
    boxes = torch.tensor([[0, 0, 0, 4, 2, 1.5, 0.0], [0.1, 0, 0, 4, 2, 1.5, 0.0], [20, 0, 0, 4, 2, 1.5, 4.0],
                          [40, 0, 0, 4, 2, 1.5, 0.0], [float("inf"), 0, 0, 1, 1, 1, 0]])  # fmt: skip
    scores = torch.tensor([0.5, 0.9, 0.3, 0.05, 0.8])
    found = select(boxes, scores, torch.arange(5), SelectConfig())
    assert found.labels.tolist() == [1, 2]  # the better of two; low scores and what is no box are left out
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    assert float(found.boxes[1, 6]) == pytest.approx(4.0 - 2 * math.pi)
    assert len(select(boxes, scores, torch.arange(5), SelectConfig(after=1))) == 1
    assert select(boxes, scores, torch.arange(5), SelectConfig(score=0.0)).labels.tolist() == [1, 2, 3]
    assert len(select(boxes[:0], scores[:0], torch.arange(0), SelectConfig())) == 0


def test_impossible_detectors_are_refused(detector: Detector) -> None:
    kind, encoder, neck = type(detector), detector.encoder.config, detector.backbone_2d.config
    with pytest.raises(ValueError, match="at least one class"):
        kind(encoder=encoder, neck=neck, classes=())
    with pytest.raises(ValueError, match="different names"):
        kind(encoder=encoder, neck=neck, classes=detector.classes * 2)
    odd = replace(encoder, point_range=(0, -6.4, -3, 11.2, 6.4, 1))
    with pytest.raises(ValueError, match="strides to divide"):
        kind(encoder=odd, neck=neck)
    with pytest.raises(ValueError, match="one length"):
        NeckConfig(layers=(5,))
    with pytest.raises(ValueError, match="one size"):
        NeckConfig(up_strides=(1, 1))


def test_finer_maps_by_larger_up_strides(detector: Detector, rebuild, batch: SweepBatch) -> None:
    assert detector.encoder.bev_shape == (8, 8) and detector.cells == (16, 16)
    model = rebuild(neck=replace(detector.backbone_2d.config, up_strides=(1, 2)))
    assert model.cells == (8, 8)
    assert bool(model.step(batch).loss.isfinite())
