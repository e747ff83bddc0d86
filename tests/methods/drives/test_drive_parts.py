"""Labels of transformations, random parts of clouds, places on rays, small heads."""

from __future__ import annotations

import math

import pytest
import torch
from drive_cases import make_cloud, make_pair, tiny_drive_method
from torch import nn

from equissl.geometry.sweep_transforms import TransformRanges, draw_transforms, sweep_transform
from equissl.methods.drives.cropping import drop_points, random_cuboid
from equissl.methods.drives.heads import SiteHead
from equissl.methods.drives.occupancy import ray_queries
from equissl.methods.drives.transformations import (
    TransformationClassifier,
    classification_accuracy,
    classification_loss,
    crop_front,
)


def transform(degrees: list[float], scale: float = 1.0, shift: float = 0.0, flip: int = 0):
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    ones = torch.ones(len(degrees))
    return sweep_transform(angle, scale * ones, shift * torch.ones(len(degrees), 3), (flip * ones).long())


def test_absolute_labels() -> None:
    rotation = TransformationClassifier("rotation", TransformRanges(), 4)
    turned = transform([-90, -72, -0.01, 0, 18, 89.99])
    assert rotation.labels(turned).flatten().tolist() == [0, 1, 4, 5, 6, 9]
    assert rotation(torch.zeros(6, 4)).shape == (6, 1, 10)
    scale = TransformationClassifier("scale", TransformRanges(), 4)
    assert scale.labels(transform([0], scale=0.96)).item() == 0 and scale.labels(transform([0], scale=1.04)).item() == 4
    flip = TransformationClassifier("flip", TransformRanges(), 4)
    assert flip.labels(transform([0, 0], flip=1)).flatten().tolist() == [1, 1] and flip.classes == 2
    moved = transform([0])
    moved.shift[:] = torch.tensor([0.01, 0.11, 0.19])
    assert TransformationClassifier("translation", TransformRanges(), 4).labels(moved).tolist() == [[0, 2, 4]]


def test_relative_labels() -> None:
    def relative(name: str, **ranges) -> TransformationClassifier:
        return TransformationClassifier(name, TransformRanges(**ranges), 4, target="relative")

    first, second = transform([-90, 0, 80]), transform([90, 10, -80])
    # -180..180 degrees in ten bins of 36
    assert relative("rotation").labels(second, first).flatten().tolist() == [9, 5, 0]
    assert relative("flip").labels(transform([0], flip=1), transform([0], flip=1)).item() == 0
    assert relative("flip").labels(transform([0], flip=1), transform([0], flip=0)).item() == 1
    assert relative("scale").labels(transform([0], scale=1.05), transform([0], scale=0.95)).item() == 4
    assert relative("translation").labels(transform([0], shift=0.0), transform([0], shift=0.19)).tolist() == [[0, 0, 0]]
    assert relative("rotation").layers[0].in_features == 8
    with pytest.raises(ValueError, match="relative targets are measured from"):
        relative("rotation").labels(first)


def test_every_label_can_occur() -> None:
    drawn = (
        draw_transforms(TransformRanges(), torch.arange(400), 0),
        draw_transforms(TransformRanges(), torch.arange(400), 1),
    )
    for name in ("rotation", "translation", "scale", "flip"):
        for target in ("absolute", "relative"):
            classifier = TransformationClassifier(name, TransformRanges(), 4, target=target)
            labels = classifier.labels(*drawn)
            assert labels.unique().tolist() == list(range(classifier.classes)), (name, target)


def test_chance_and_certainty() -> None:
    labels = torch.arange(10)[:, None]
    uniform = torch.zeros(10, 1, 10)
    assert classification_loss(uniform, labels).item() == pytest.approx(2.302585, abs=1e-6)
    certain = 100 * torch.eye(10)[:, None]
    assert classification_loss(certain, labels).item() == pytest.approx(0, abs=1e-6)
    assert classification_accuracy(certain, labels) == 1 and classification_accuracy(uniform, labels) == 0.1


def test_the_front_is_ahead() -> None:
    cloud = torch.tensor([[1.0, 0, 0], [1, 0.9, 5], [1, 1.1, 0], [-1, 0, 0], [1, -0.9, 0]])
    assert crop_front([cloud], 90.0)[0].tolist() == cloud[[0, 1, 4]].tolist()


def test_random_parts_of_clouds() -> None:
    cloud = make_cloud(300, torch.Generator().manual_seed(0))
    sizes = []
    for seed in range(20):
        part = random_cuboid(cloud, 0.5, seed)
        span = part[:, :2].amax(0) - part[:, :2].amin(0)
        assert (span <= cloud[:, :2].amax(0) - cloud[:, :2].amin(0)).all() and len(part) >= 1
        sizes.append(len(part))
        assert torch.equal(part, random_cuboid(cloud, 0.5, seed))
        kept = drop_points(cloud, 0.3, seed)
        assert 0.6 * 300 < len(kept) <= 300 and torch.isin(kept[:, 0], cloud[:, 0]).all()
    assert len(set(sizes)) > 5 and max(sizes) < 300
    assert len(random_cuboid(cloud[:0], 0.5, 0)) == len(drop_points(cloud[:0], 0.5, 0)) == 0


def test_places_on_rays() -> None:
    cloud = make_cloud(100, torch.Generator().manual_seed(0))
    sensor = torch.tensor([1.0, 2.0, 0.5])
    queries = ray_queries(cloud, sensor, 40, depth=0.5, seed=0)
    assert len(queries.positions) == 80 and queries.occupied.tolist() == [0.0] * 40 + [1.0] * 40
    before, behind = queries.positions.view(2, 40, 3)
    returns = (before + behind) / 2
    nearest = torch.cdist(returns, cloud[:, :3], compute_mode="donot_use_mm_for_euclid_dist")
    assert (nearest.amin(1) < 1e-5).all()
    torch.testing.assert_close(queries.intensity[:40], cloud[nearest.argmin(1), 3])
    distance = [torch.linalg.vector_norm(places - sensor, dim=1) for places in (before, returns, behind)]
    assert (distance[0] < distance[1]).all() and (distance[1] < distance[2]).all()
    assert (torch.linalg.vector_norm(before - returns, dim=1) <= 0.5 + 1e-6).all()
    # on one line through the sensor
    assert torch.linalg.cross(before - sensor, behind - sensor).norm(dim=1).max() < 1e-3
    assert torch.equal(ray_queries(cloud, sensor, 1000, 0.5, 0).occupied, torch.arange(2.0).repeat_interleave(100))


def test_the_sensor_turns_with_the_scene() -> None:
    method = tiny_drive_method("Occupancy", sensor=(1.0, 0.0, 0.0))
    matrix = transform([90.0], shift=0.5).matrix
    torch.testing.assert_close(method._sensors(matrix), torch.tensor([[0.5, 1.5, 0.5]]))
    offsets = method._offsets(torch.tensor([[-7.9, 0.1, 3.0], [-2.0, 7.9, 1.0]]))
    torch.testing.assert_close(offsets, torch.tensor([[-1.9, -1.9, 3.0], [0.0, 1.9, 1.0]]))


def test_occupancy_is_learned_from_one_batch() -> None:
    method, batch = tiny_drive_method("Occupancy", depth=3.0), make_pair()
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    accuracy = []
    for _ in range(40):
        out = method.step(batch)
        accuracy.append(float(out.terms["occupancy_accuracy"]))
        optimiser.zero_grad()
        out.loss.backward()
        optimiser.step()
    assert min(accuracy[-5:]) > 0.66 and math.isclose(accuracy[0], 0.5, abs_tol=0.15)


def test_a_head_takes_any_number_of_rows() -> None:
    head = SiteHead(3, (4, 2))
    assert [tuple(head(torch.randn(n, 3)).shape) for n in (0, 1, 5)] == [(0, 2), (1, 2), (5, 2)]
    assert head.training and all(module.training for module in head)
    norm = next(module for module in head if isinstance(module, nn.BatchNorm1d))
    assert norm.num_batches_tracked == 1
    with pytest.raises(ValueError, match="at least one size"):
        SiteHead(3, ())
