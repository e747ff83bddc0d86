"""Voxel R-CNN: its size by hand, what it learns from, and that perfect answers cost nothing and give objects back."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from equissl.datasets.sweeps.labelled_sweeps import SweepBatch
from equissl.detection import Detections, VoxelRCNN
from equissl.detection.anchors import KITTI_ANCHORS
from equissl.detection.box_code import decode_refinement, encode_refinement
from equissl.detection.grid_pool import PoolConfig
from equissl.detection.roi_head import RoIHead, RoILayers
from equissl.detection.roi_targets import (
    SampleConfig,
    confidence_target,
    draw_proposals,
    match_proposals,
    sample_proposals,
)
from equissl.geometry.box_frames import from_box_frame
from equissl.geometry.boxes import paired_iou_3d


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_by_hand() -> None:
    """Weights of every layer without bias, two numbers a channel of every norm.

    Pooling from C channels: C·32 + 64 on voxels, 3·32 + 64 on places, 32·32 + 64 behind, with C = 32, 64, 64. Behind
    it 216 points of 96 channels: (216·96)·256 + 512 and 256·256 + 512 shared, twice that last in each of two branches,
    and 256 + 1 and 7·256 + 7 with biases at their ends. OpenPCDet's has 7.59 M for cars alone (its discussion 1774).
    """
    with torch.device("meta"):
        model, cars = VoxelRCNN(), VoxelRCNN(classes=KITTI_ANCHORS[:1])
    head = model.roi_head
    pools = [c * 32 + 64 + 3 * 32 + 64 + 32 * 32 + 64 for c in (32, 64, 64)]
    assert [count(layer) for layer in head.roi_grid_pool_layers] == pools == [2_336, 3_360, 3_360]
    middle = 256 * 256 + 2 * 256
    assert count(head.shared_fc_layer) == 216 * 96 * 256 + 2 * 256 + middle == 5_374_976
    assert count(head.cls_fc_layers) == count(head.reg_fc_layers) == 2 * middle == 132_096
    assert (count(head.cls_pred_layer), count(head.reg_pred_layer)) == (257, 1_799)
    assert count(head) == sum(pools) + 5_374_976 + 2 * 132_096 + 257 + 1_799 == 5_650_280
    assert count(cars) == 711_872 + 1_219_328 + 5_140 + 5_650_280 == 7_586_620
    assert count(model) == count(cars) - 5_140 + 18_504  # 256 · (18 + 42 + 12) + 72 for three classes


def test_names_are_those_of_openpcdet() -> None:
    with torch.device("meta"):
        state = VoxelRCNN().state_dict()
    own = {name.removeprefix("roi_head."): value for name, value in state.items() if name.startswith("roi_head.")}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {f"{part}_pred_layer.{kind}" for part in ("cls", "reg") for kind in ("weight", "bias")}
    for branch in ("shared_fc_layer", "cls_fc_layers", "reg_fc_layers"):
        for place in (0, 4):  # linear, norm, ReLU, dropout, and again
            expected |= {f"{branch}.{place}.weight", *(f"{branch}.{place + 1}.{name}" for name in norm)}
    for number in range(3):
        for part in ("in", "pos", "out"):
            prefix = f"roi_grid_pool_layers.{number}.mlps_{part}.0"
            expected |= {f"{prefix}.0.weight", *(f"{prefix}.1.{name}" for name in norm)}
    assert set(own) == expected
    assert own["roi_grid_pool_layers.1.mlps_in.0.0.weight"].shape == (32, 64, 1)
    assert own["roi_grid_pool_layers.1.mlps_pos.0.0.weight"].shape == (32, 3, 1, 1)
    assert own["shared_fc_layer.0.weight"].shape == (256, 20_736)


@pytest.mark.parametrize("query", ["manhattan", "ball"])
def test_pooled_features_move_with_the_scene(query, voxel_rcnn: VoxelRCNN) -> None:
    """Scene and region moved by one voxel of the deepest stage, 8 of the input: what is pooled stays."""
    voxels = replace(voxel_rcnn.encoder.config, voxel_size=(0.25, 0.25, 0.16), coordinates="offset",
                     point_range=(0.0, -8.0, -3.0, 16.0, 8.0, 1.0))  # fmt: skip
    pool = PoolConfig(("conv2", "conv3", "conv4"), 3, 8, reach=2, query=query, radii=(1.0, 2.0, 4.0), width=8)
    torch.manual_seed(0)
    model = VoxelRCNN(encoder=voxels, pool=pool, layers=RoILayers((8,), (8,), (8,))).eval()
    generator = torch.Generator().manual_seed(0)
    cloud = torch.rand(300, 4, generator=generator) * torch.tensor([4.0, 4.0, 2.0, 1.0]) + torch.tensor(
        [5.0, -3, -2, 0]
    )
    cloud = (cloud * 64).round() / 64  # exact in single precision, moved or not
    rois = torch.tensor([[7.03, -1.07, -1.0, 3.9, 1.6, 1.5, 0.4], [6.01, 0.53, -0.9, 0.8, 0.6, 1.7, 2.0]])
    move = torch.tensor([2.0, -2.0, 0.0])
    with torch.no_grad():
        before = model.roi_head.pooled(model.encode([cloud]), [rois])
        cloud, rois = cloud.clone(), rois.clone()
        cloud[:, :3] += move
        rois[:, :3] += move
        after = model.roi_head.pooled(model.encode([cloud]), [rois])
        elsewhere = model.roi_head.pooled(model.encode([cloud]), [rois - torch.tensor([1.0, 0, 0, 0, 0, 0, 0])])
    assert before.shape == (2, 27, 24) and float(before.std()) > 0.01
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert float((elsewhere - before).abs().max()) > 0.1


def test_confidence_rises_linearly_between_two_overlaps() -> None:
    overlaps = torch.tensor([0.0, 0.25, 0.3, 0.5, 0.7, 0.75, 1.0])
    expected = torch.tensor([0.0, 0.0, 0.1, 0.5, 0.9, 1.0, 1.0])
    torch.testing.assert_close(confidence_target(overlaps, SampleConfig()), expected)


# foreground, hard and easy ones at hand: how many of each are drawn of 128
DRAWS = {
    (100, 300, 300): (64, 51, 13),  # half, and 80 % of the other half
    (10, 300, 300): (10, 94, 24),  # all there are; int(118 · 0.8) = 94
    (100, 5, 300): (64, 5, 59),
    (100, 5, 0): (64, 64, 0),
    (100, 0, 7): (64, 0, 64),
    (0, 300, 300): (0, 102, 26),
    (0, 0, 3): (0, 0, 128),
    (3, 0, 0): (128, 0, 0),
    (0, 0, 0): (0, 0, 0),
}


@pytest.mark.parametrize("given", DRAWS)
def test_how_many_are_drawn(given) -> None:
    parts = [
        torch.linspace(low, high, n) for n, (low, high) in zip(given, ((0.55, 1), (0.1, 0.54), (0, 0.09)), strict=True)
    ]
    overlaps = torch.cat(parts)[torch.randperm(sum(given), generator=torch.Generator().manual_seed(0))]
    rows = draw_proposals(overlaps, SampleConfig(), seed=3)
    drawn = overlaps[rows]
    found = (drawn >= 0.55).sum(), ((drawn >= 0.1) & (drawn < 0.55)).sum(), (drawn < 0.1).sum()
    assert tuple(map(int, found)) == DRAWS[given]
    if given[1] + given[2]:  # the foreground is not repeated
        assert len(set(rows[drawn >= 0.55].tolist())) == DRAWS[given][0]
    assert torch.equal(rows, draw_proposals(overlaps, SampleConfig(), seed=3))
    if sum(given) > 3:
        assert not torch.equal(rows, draw_proposals(overlaps, SampleConfig(), seed=4))


def test_proposals_are_compared_with_objects_of_their_class() -> None:
    boxes = torch.tensor([[10.0, 0, 0, 4, 2, 1.5, 0], [10.0, 0, 0, 2, 2, 1.5, 0], [30.0, 0, 0, 4, 2, 1.5, 0]])
    rois = torch.tensor([[10.0, 0, 0, 4, 2, 1.5, 0], [10.0, 0, 0, 4, 2, 1.5, 0], [32.0, 0, 0, 4, 2, 1.5, 0],
                         [50.0, 0, 0, 4, 2, 1.5, 0]])  # fmt: skip
    proposals = Detections(rois, torch.ones(4), torch.tensor([0, 1, 0, 0]))
    found = match_proposals(proposals, boxes, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(found.overlaps, torch.tensor([1.0, 0.5, 1 / 3, 0.0]))
    assert torch.equal(found.objects, torch.stack([boxes[0], boxes[1], boxes[2], torch.zeros(7)]))
    nothing = match_proposals(proposals, boxes[:0], torch.zeros(0, dtype=torch.int64))
    assert float(nothing.overlaps.abs().sum()) == 0 and torch.equal(nothing.rois, rois)


def some_proposals(objects: Tensor, seed: int = 0) -> Detections:
    """Twenty boxes about each object, near it and further off, some looking the other way."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0, 1.5, 20)[:, None] * torch.tensor([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    noise = torch.randn(len(objects), 20, 7, generator=generator) * spread
    boxes = (objects[:, None] + noise).flatten(0, 1)
    boxes[::3, 6] += math.pi
    return Detections(boxes, torch.rand(len(boxes), generator=generator), torch.arange(len(boxes)) // 20 % 3)


def test_perfect_answers(voxel_rcnn: VoxelRCNN, batch: SweepBatch, monkeypatch) -> None:
    head: RoIHead = voxel_rcnn.roi_head
    head.sample = SampleConfig(count=40)
    proposals = [some_proposals(batch.boxes[0]), some_proposals(batch.boxes[0], seed=1)]  # the second scene has none
    scene = voxel_rcnn.encode(batch.clouds)
    seeds = [1, 2]
    drawn = [
        sample_proposals(*given, head.sample, seed)
        for *given, seed in zip(proposals, batch.boxes, batch.labels, seeds, strict=True)
    ]
    overlaps = torch.cat([targets.overlaps for targets in drawn])
    assert int((overlaps >= 0.55).sum()) > 5 and float(overlaps[40:].max()) == 0
    wanted = confidence_target(overlaps, head.sample)
    codes = torch.cat([encode_refinement(targets.objects, targets.rois) for targets in drawn])
    codes[overlaps < 0.55] = 9.0  # of no consequence
    answers = wanted.logit(1e-7), codes
    monkeypatch.setattr(head, "forward", lambda scene, rois: answers)
    _, terms = head.loss(scene, proposals, batch.boxes, batch.labels, seeds)
    assert float(terms["roi_box"]) < 1e-6 and float(terms["roi_corner"]) < 1e-5
    entropy = -(torch.special.xlogy(wanted, wanted) + torch.special.xlogy(1 - wanted, 1 - wanted)).mean()
    assert float(terms["roi_classification"]) == pytest.approx(float(entropy), abs=1e-5)
    assert float(terms["roi_positives"]) == int((overlaps >= 0.55).sum()) / 2
    # off by 0.05 in one number of every code: smooth L1 of the golden facts
    answers = wanted.logit(1e-7), codes + torch.tensor([0.05, 0, 0, 0, 0, 0, 0])
    _, terms = head.loss(scene, proposals, batch.boxes, batch.labels, seeds)
    assert float(terms["roi_box"]) == pytest.approx(0.01125, rel=1e-3)
    # and decoded again, of every object one box is left
    every = [match_proposals(*given) for given in zip(proposals, batch.boxes, batch.labels, strict=True)]
    codes = torch.cat([encode_refinement(t.objects, t.rois) for t in every])
    answers = torch.where(torch.cat([t.overlaps for t in every]) > 0.3, 5.0, -5.0), codes
    found = head.detect(scene, proposals)
    assert len(found[1]) == 0 and sorted(found[0].labels.tolist()) == [0, 1, 2]
    back = found[0].select(found[0].labels.argsort())
    torch.testing.assert_close(back.boxes[:, :6], batch.boxes[0][:, :6], rtol=1e-4, atol=1e-4)
    assert float((back.boxes[:, 6] - batch.boxes[0][:, 6]).sin().abs().max()) < 1e-4


def test_no_proposals(voxel_rcnn: VoxelRCNN, batch: SweepBatch) -> None:
    none = Detections(torch.zeros(0, 7), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    scene = voxel_rcnn.encode(batch.clouds)
    loss, terms = voxel_rcnn.roi_head.loss(scene, [none, none], batch.boxes, batch.labels, [0, 1])
    assert float(loss) == 0 and float(terms["roi_positives"]) == 0
    assert [len(found) for found in voxel_rcnn.roi_head.detect(scene, [none, none])] == [0, 0]
    some = some_proposals(batch.boxes[0])
    voxel_rcnn.eval()
    alone = voxel_rcnn.roi_head.detect(scene, [some, none])
    assert len(alone[0]) > 0 and len(alone[1]) == 0


def test_weights_come_back(voxel_rcnn: VoxelRCNN, batch: SweepBatch) -> None:
    other = copy.deepcopy(voxel_rcnn)
    voxel_rcnn.step(batch)  # new statistics
    with torch.no_grad():
        voxel_rcnn.roi_head.reg_pred_layer.weight.normal_(std=0.1)
    a = voxel_rcnn.eval().detect(batch.clouds)
    assert len(a[0]) > 0 and not same(a, other.eval().detect(batch.clouds))
    other.load_state_dict(voxel_rcnn.state_dict())
    assert same(a, other.detect(batch.clouds))


def same(a: list[Detections], b: list[Detections]) -> bool:
    pairs = list(zip(a, b, strict=True))
    return all(torch.equal(x.boxes, y.boxes) and torch.equal(x.scores, y.scores) for x, y in pairs)


def test_impossible_second_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="count >= 2"):
        SampleConfig(count=1)
    with pytest.raises(ValueError, match="unsure < sure"):
        SampleConfig(unsure=0.8)
    with pytest.raises(ValueError, match="positive widths"):
        RoILayers(shared=())
    with pytest.raises(ValueError, match="dropout"):
        RoILayers(dropout=1.0)


def test_the_second_stage_improves_proposals(voxel_rcnn: VoxelRCNN, batch: SweepBatch) -> None:
    """On one scene and a backbone that has learnt nothing: boxes about objects come nearer, the best are the surest."""
    torch.manual_seed(0)
    pool = PoolConfig(("conv1", "conv2"), points=3, samples=8, reach=2, width=16)
    layers = RoILayers((64,), (64,), (64,), dropout=0.0)
    encoder, sample = voxel_rcnn.encoder.config, SampleConfig(count=48)
    model = VoxelRCNN(encoder=encoder, pool=pool, sample=sample, layers=layers, norm_momentum=0.1)
    objects, labels = batch.boxes[0], batch.labels[0]
    inside = from_box_frame(torch.rand(3, 200, 3) * objects[:, None, 3:6] - objects[:, None, 3:6] / 2, objects[:, None])
    cloud = torch.cat([inside.flatten(0, 1), torch.rand(600, 1)], dim=1)
    with torch.no_grad():
        scene = model.encode([cloud])
    head, steps = model.roi_head, 60
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.zero_grad()
        head.loss(scene, [some_proposals(objects, seed=step)], [objects], [labels], [step])[0].backward()
        optimizer.step()
    unseen = match_proposals(some_proposals(objects, seed=steps), objects, labels)
    with torch.no_grad():
        logits, codes = head.eval()(scene, [unseen.rois])
    refined = paired_iou_3d(decode_refinement(codes, unseen.rois), unseen.objects)
    near = (unseen.overlaps > 0.3) & (unseen.overlaps < 0.9)
    assert int(near.sum()) > 10
    gain = float((refined - unseen.overlaps)[near].mean())
    agreement = float(torch.corrcoef(torch.stack([logits.sigmoid(), unseen.overlaps]))[0, 1])
    assert gain > 0.05 and agreement > 0.7
