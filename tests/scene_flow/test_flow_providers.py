"""Scene flow providers on made-up scenes, simulated drives and the labels of Argoverse 2."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from equissl.datasets.drives.box_points import points_in_box
from equissl.datasets.drives.readers import open_reader
from equissl.datasets.drives.simulated import DriveOptions, SimulatedDrive
from equissl.datasets.drives.sweep import Boxes, Sweep, ego_motion, rigid_flow
from equissl.metrics.scene_flow import (
    DYNAMIC,
    bucketed_epe,
    end_point_error,
    flow_accuracy,
    near_square,
    own_speed,
    threeway_epe,
)
from equissl.scene_flow import FlowError, FlowEstimate, add_flow, get_flow_provider
from equissl.scene_flow.clusters import cluster_points
from equissl.scene_flow.nsfp import NeuralPriorOptions, fit_flow, interpolate_flow, nearest_index, truncated_chamfer
from equissl.scene_flow.registration import fit_upright, propose_shifts

LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"


@pytest.fixture(scope="module")
def argoverse(shared: Path) -> tuple[Sweep, Sweep]:
    """The two labelled sweeps of the sample."""
    pytest.importorskip("pyarrow", reason="reading Argoverse 2 needs pyarrow")
    sequence = open_reader("argoverse2", shared / "data" / "argoverse2_sample").open(LOG)
    return sequence[0], sequence[1]


@lru_cache
def simulated(sequence: int) -> tuple[Sweep, Sweep]:
    # not the drives that the settings of icp_cluster were chosen on
    drive = SimulatedDrive(seed=7, number=sequence, options=DriveOptions(columns=1200))
    return drive.sweep(20), drive.sweep(21)


def pose(x: float = 0.0, y: float = 0.0, heading: float = 0.0) -> np.ndarray:
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([[cos, -sin, 0, x], [sin, cos, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def cuboid(
    rng: np.random.Generator, centre: tuple[float, float, float], size: tuple[float, float, float], n: int
) -> np.ndarray:
    """Points on the surface of a cuboid."""
    points, axis = rng.uniform(-0.5, 0.5, (n, 3)), rng.integers(0, 3, n)
    points[np.arange(n), axis] = np.sign(points[np.arange(n), axis]) * 0.5
    return points * size + centre


def scene(shift: tuple[float, float] = (0.9, 0.3), seed: int = 0) -> tuple[Sweep, Sweep, np.ndarray]:
    """Ground, a standing and a moving car; the sensor drives on by 1 m. Points are drawn anew for the second sweep."""
    rng = np.random.default_rng(seed)

    def world(moved: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        ground = np.column_stack([rng.uniform(-25, 25, (20_000, 2)), rng.normal(0, 0.01, 20_000) - 1.7])
        standing = cuboid(rng, (8, 6, -0.7), (4.2, 1.8, 1.4), 900)
        driving = cuboid(rng, (5 + moved[0], -4 + moved[1], -0.7), (4.2, 1.8, 1.4), 900)
        return np.concatenate([ground, standing, driving]).astype(np.float32), np.repeat([0, 1, 2], [20_000, 900, 900])

    first, part = world((0, 0))
    second, _ = world(shift)
    one = Sweep(first, 0, pose())
    return one, Sweep(second - np.float32([1, 0, 0]), 100_000_000, pose(1.0)), part


def score_flow(found: FlowEstimate, one: Sweep, two: Sweep) -> dict[str, float]:
    """Errors over the points whose label is valid; what a provider marks as invalid counts with the flow it gives."""
    valid = np.ones(len(one), bool) if one.flow_valid is None else one.flow_valid
    still = torch.from_numpy(rigid_flow(one.points, ego_motion(one.pose, two.pose)))[valid]
    preds, target, classes, points = (
        torch.from_numpy(array)[valid] for array in (found.flow, one.flow, one.flow_classes, one.points)
    )
    speed, error = own_speed(target, still), end_point_error(preds, target)
    near = near_square(points)
    buckets = bucketed_epe(preds[near], target[near], speed[near], classes[near])
    return {
        "epe": float(error.mean()),
        "dynamic": float(error[speed >= DYNAMIC].mean()),
        "dynamic_points": float((speed >= DYNAMIC).sum()),
        "accuracy_strict": flow_accuracy(preds, target, 0.05),
        **threeway_epe(preds, target, speed, classes > 0),
        **{f"bucketed/{name}/dynamic": bucket.dynamic for name, bucket in buckets.items()},
    }


def test_static_world_seen_from_a_car_that_drives_one_metre() -> None:
    one, two, _ = scene()
    flow = get_flow_provider("ego").estimate(one, two)
    np.testing.assert_allclose(flow.flow, np.tile([-1.0, 0, 0], (len(one), 1)), atol=1e-6)
    assert flow.valid.all() and flow.flow.dtype == np.float32


def test_clusters_are_found_and_moved() -> None:
    one, two, part = scene()
    found = get_flow_provider("icp_cluster").estimate(one, two)
    expected = np.where(part[:, None] == 2, [-0.1, 0.3, 0], [-1.0, 0, 0])
    error = np.linalg.norm(found.flow - expected, axis=1)
    np.testing.assert_allclose(found.flow[part < 2], expected[part < 2], atol=1e-5)
    # the lowest points of the car count as ground
    assert np.median(error[part == 2]) < 0.02 and (error[part == 2] < 0.05).mean() > 0.85


def test_cluster_flow_needs_no_labels() -> None:
    one, two = simulated(0)
    bare = [replace(s, boxes=None, ground=None, flow=None, flow_classes=None, semantic=None) for s in (one, two)]
    provider = get_flow_provider("icp_cluster")
    np.testing.assert_array_equal(provider.estimate(*bare).flow, provider.estimate(one, two).flow)


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_cluster_flow_beats_ego_on_simulated_drives(sequence: int) -> None:
    one, two = simulated(sequence)
    scores = {n: score_flow(get_flow_provider(n).estimate(one, two), one, two) for n in ("ego", "icp_cluster")}
    assert scores["ego"]["dynamic_points"] > 500
    assert scores["icp_cluster"]["dynamic"] < 0.5 * scores["ego"]["dynamic"]
    assert scores["icp_cluster"]["threeway"] < 0.5 * scores["ego"]["threeway"]
    assert scores["icp_cluster"]["background"] < 0.02


def test_cluster_flow_beats_ego_on_argoverse(argoverse: tuple[Sweep, Sweep]) -> None:
    one, two = argoverse
    scores = {n: score_flow(get_flow_provider(n).estimate(one, two), one, two) for n in ("ego", "icp_cluster")}
    assert scores["ego"]["dynamic"] == pytest.approx(0.6644, abs=1e-3)
    assert scores["icp_cluster"]["dynamic"] < 0.2
    assert scores["icp_cluster"]["threeway"] < 0.08
    assert scores["icp_cluster"]["background"] < 0.01


def test_boxes_reproduce_the_labels_of_argoverse(argoverse: tuple[Sweep, Sweep]) -> None:
    one, two = argoverse
    found = get_flow_provider("boxes").estimate(one, two)
    error = np.linalg.norm(found.flow - one.flow, axis=1)
    dynamic = np.linalg.norm(one.flow - rigid_flow(one.points, ego_motion(one.pose, two.pose)), axis=1) >= 0.05
    assert dynamic.sum() == 2037, "the sample's own column `dynamic` counts as many"
    assert error[dynamic].max() < 1e-6
    still = found.valid & one.flow_valid & ~dynamic
    assert error[still].mean() < 0.001 and np.quantile(error[still], 0.999) < 0.001
    # the sample labels eleven points deep inside boxes as static although the box has moved
    assert (error[still] > 0.01).sum() <= 11


def test_metrics_on_the_labels_of_argoverse(argoverse: tuple[Sweep, Sweep]) -> None:
    """Truth scores zero, a static world one per bucket; the parts add up to all points."""
    one, two = argoverse
    truth = score_flow(truth_of(one), one, two)
    assert truth["epe"] == truth["threeway"] == truth["bucketed/car/dynamic"] == 0 and truth["accuracy_strict"] == 1
    ego = score_flow(get_flow_provider("ego").estimate(one, two), one, two)
    for group in ("car", "pedestrian"):
        assert ego[f"bucketed/{group}/dynamic"] == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(ego["bucketed/wheeled_vru/dynamic"])
    foreground = one.flow_classes > 0
    moving, rest = 2037, int(foreground.sum()) - 2037
    total = moving * ego["dynamic_foreground"] + rest * ego["static_foreground"]
    total += (len(one) - moving - rest) * ego["background"]
    assert total / len(one) == pytest.approx(ego["epe"], rel=1e-9)


def truth_of(sweep: Sweep) -> FlowEstimate:
    return FlowEstimate(sweep.flow, np.ones(len(sweep), bool))


def test_class_numbers_are_those_of_the_labelled_boxes(argoverse: tuple[Sweep, Sweep]) -> None:
    one, _ = argoverse
    numbers = {"REGULAR_VEHICLE": 19, "PEDESTRIAN": 17, "BOX_TRUCK": 6, "BICYCLE": 3, "MOTORCYCLE": 14, "STROLLER": 23}
    inside = [points_in_box(one.points, box) for box in one.boxes.boxes]
    alone = np.bincount(np.concatenate(inside), minlength=len(one)) == 1
    for name, number in numbers.items():
        named = np.concatenate([i for i, other in zip(inside, one.boxes.names, strict=True) if other == name])
        classes = one.flow_classes[named[alone[named]]]
        assert len(classes) and (classes == number).mean() > 0.98, name  # labels are made with larger boxes


def test_boxes_are_the_truth_of_simulated_drives() -> None:
    one, two = simulated(1)
    found = get_flow_provider("boxes", skip_ground=True).estimate(one, two)
    error = np.linalg.norm(found.flow - one.flow, axis=1)[found.valid]
    assert np.quantile(error, 0.99) < 1e-5
    # with the road counted in, points below moving cars would move
    with_ground = score_flow(get_flow_provider("boxes").estimate(one, two), one, two)
    assert with_ground["background"] > score_flow(found, one, two)["background"]


def test_boxes_that_vanish_make_their_points_invalid() -> None:
    one, two, part = scene()
    rows = np.array([[8, 6, -0.7, 4.2, 1.8, 1.4, 0], [5, -4, -0.7, 4.2, 1.8, 1.4, 0]])
    later = rows[1:] + np.array([-0.1, 0.3, 0, 0, 0, 0, 0])
    one = replace(one, boxes=Boxes(rows, ("car", "car"), ("a", "b")))
    two = replace(two, boxes=Boxes(later, ("car",), ("b",)))
    found = get_flow_provider("boxes").estimate(one, two)
    assert not found.valid[part == 1].any() and found.valid[part == 2].all()
    np.testing.assert_allclose(found.flow[part == 2], np.tile([-0.1, 0.3, 0], (900, 1)), atol=1e-5)
    with pytest.raises(FlowError, match="has none"):
        get_flow_provider("boxes").estimate(one, replace(two, boxes=None))
    with pytest.raises(FlowError, match="track of its own"):
        get_flow_provider("boxes").estimate(replace(one, boxes=Boxes(rows, ("car", "car"), ("a", "a"))), two)
    with pytest.raises(FlowError, match="ground mask"):
        get_flow_provider("boxes", skip_ground=True).estimate(one, two)


def test_files_give_back_what_was_written(tmp_path: Path) -> None:
    one, two, part = scene()
    carried = add_flow(one, two, get_flow_provider("ego"))
    carried = replace(carried, flow_valid=part < 2)
    assert carried.flow_provider == "ego" and one.flow is None
    (tmp_path / "flows").mkdir()
    np.savez(tmp_path / "flows" / "0.npz", flow=carried.flow, flow_is_valid=carried.flow_valid)
    with h5py.File(tmp_path / "drive.h5", "w") as file:
        group = file.create_group("0")
        group["seflow"], group["flow_is_valid"] = carried.flow, carried.flow_valid
        file["town/0"] = group
    h5 = {"path": tmp_path / "drive.h5", "key": "seflow"}
    for options in ({"path": tmp_path / "flows"}, h5, {**h5, "drive": "town"}):
        found = get_flow_provider("file", **options).estimate(one, two)
        np.testing.assert_array_equal(found.flow, carried.flow)
        np.testing.assert_array_equal(found.valid, part < 2)


def test_flow_that_is_not_finite_is_invalid(tmp_path: Path) -> None:
    one, two, _ = scene()
    flow = np.zeros_like(one.points)
    flow[5] = np.nan
    np.savez(tmp_path / "0.npz", flow=flow)
    found = get_flow_provider("file", path=tmp_path).estimate(one, two)
    assert np.flatnonzero(~found.valid).tolist() == [5] and np.isfinite(found.flow).all()


def test_damaged_or_missing_files_are_named(tmp_path: Path) -> None:
    one, two, _ = scene()
    with pytest.raises(FlowError, match="nothing"):
        get_flow_provider("file", path=tmp_path / "none.h5")
    provider = get_flow_provider("file", path=tmp_path)
    with pytest.raises(FlowError, match=r"0\.npz, found nothing"):
        provider.estimate(one, two)
    np.savez(tmp_path / "0.npz", flow=np.zeros((3, 3)))
    with pytest.raises(FlowError, match=r"expected flow of shape \(21800, 3\).*got \(3, 3\)"):
        provider.estimate(one, two)
    np.savez(tmp_path / "0.npz", other=np.zeros((3, 3)))
    with pytest.raises(FlowError, match="found other"):
        provider.estimate(one, two)
    (tmp_path / "0.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(FlowError, match="cannot be read"):
        provider.estimate(one, two)
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF cut")
    with pytest.raises(FlowError, match="frame 0: cannot be read"):
        get_flow_provider("file", path=tmp_path / "cut.h5").estimate(one, two)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("17")
    with pytest.raises(FlowError, match="expected a group 0"):
        get_flow_provider("file", path=tmp_path / "other.h5").estimate(one, two)


@pytest.mark.parametrize("name", ["ego", "icp_cluster", "nsfp", "boxes"])
def test_poses_must_be_known_and_finite(name: str) -> None:
    one, two, _ = scene()
    with pytest.raises(FlowError, match="pose"):
        get_flow_provider(name).estimate(replace(one, pose=None), two)
    with pytest.raises(FlowError, match="finite poses"):
        get_flow_provider(name).estimate(one, replace(two, pose=np.full((4, 4), np.nan)))


def test_names_and_settings_are_checked() -> None:
    with pytest.raises(FlowError, match="did you mean 'icp_cluster'"):
        get_flow_provider("icp_clusters")
    with pytest.raises(FlowError, match="gain"):
        get_flow_provider("icp_cluster", gain=2.0)
    with pytest.raises(FlowError, match="margin"):
        get_flow_provider("boxes", margin=-1)
    with pytest.raises(FlowError, match="itterations"):
        get_flow_provider("nsfp", itterations=3)
    with pytest.raises(FlowError, match="patience"):
        get_flow_provider("nsfp", patience=0)
    one, two, _ = scene()
    with pytest.raises(FlowError, match="later"):
        get_flow_provider("icp_cluster").estimate(one, replace(two, timestamp=0))


@pytest.mark.parametrize("name", ["ego", "icp_cluster", "nsfp"])
def test_empty_sweeps_are_no_error(name: str) -> None:
    one, two, _ = scene()
    nothing = np.zeros(0, dtype=np.int64)
    assert get_flow_provider(name).estimate(one.select(nothing), two).flow.shape == (0, 3)
    blind = get_flow_provider(name).estimate(one, two.select(nothing)).flow
    np.testing.assert_allclose(blind, np.tile([-1.0, 0, 0], (len(one), 1)), atol=1e-6)


def test_clusters_are_connected_components() -> None:
    rng = np.random.default_rng(0)
    blobs = [rng.uniform(-0.5, 0.5, (80, 3)) + centre for centre in ([0, 0, 0], [3, 0, 0], [0, 4, 0])]
    points = np.concatenate([*blobs, [[9.0, 9, 9]]])
    labels = cluster_points(points, link=0.6, min_points=10)
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2, -1], [80, 80, 80, 1]))
    order = rng.permutation(len(points))
    shuffled = cluster_points(points[order], link=0.6, min_points=10)
    same = labels[order][:, None] == labels[order][None]
    np.testing.assert_array_equal(shuffled[:, None] == shuffled[None], same)
    assert len(cluster_points(points[:0])) == 0


def test_upright_fit_and_shifts_find_a_known_motion() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(50, 3)) * [2, 1, 0.5]
    motion = pose(1.2, -0.4, 0.3)
    motion[2, 3] = 0.1
    target = source @ motion[:3, :3].T + motion[:3, 3]
    np.testing.assert_allclose(fit_upright(source, target), motion, atol=1e-9)
    shift = np.array([1.1, -0.6, 0.05])
    best = propose_shifts(source, source + shift, 2.0, 0.2, 3)[0]
    assert np.abs(best - shift).max() < 0.15
    assert propose_shifts(source, source + 50, 2.0, 0.2, 3).shape == (0, 3)


def test_neural_prior_fits_a_moving_object() -> None:
    one, two, part = scene((0.5, 0.2))
    options = {"iterations": 250, "width": 64, "layers": 4, "max_points": 1500, "patience": 60}
    found = get_flow_provider("nsfp", **options).estimate(one, two)
    expected = np.where(part[:, None] == 2, [-0.5, 0.2, 0], [-1.0, 0, 0])
    high = one.points[:, 2] > -1.4
    error = np.linalg.norm(found.flow - expected, axis=1)
    # standing still would be wrong by 0.54
    assert error[(part == 2) & high].mean() < 0.2
    assert error[(part == 1) & high].mean() < 0.2
    again = get_flow_provider("nsfp", **options).estimate(one, two)
    np.testing.assert_array_equal(again.flow, found.flow)


def test_neural_prior_loss_is_the_truncated_chamfer_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 3, generator=generator) * 2, torch.randn(30, 3, generator=generator) * 2
    squared = torch.cdist(a.double(), b.double()).square()
    near = [squared.min(dim=1).values, squared.min(dim=0).values]
    expected = sum(torch.where(d <= 1.0, d, 0.0).mean() for d in near)
    assert float(truncated_chamfer(a, b, 1.0)) == pytest.approx(float(expected), rel=1e-5)
    torch.testing.assert_close(nearest_index(a, b), torch.cdist(a, b).argmin(dim=1))
    flow = fit_flow(a, a + 0.05, NeuralPriorOptions(iterations=60, width=16, layers=2))
    assert flow.shape == a.shape and flow.isfinite().all()


def test_interpolation_keeps_known_points_and_constant_flow() -> None:
    rng = np.random.default_rng(0)
    known, wanted = rng.normal(size=(30, 3)), rng.normal(size=(20, 3))
    flow = rng.normal(size=(30, 3))
    np.testing.assert_allclose(interpolate_flow(known, flow, known), flow, atol=1e-5)
    np.testing.assert_allclose(interpolate_flow(known, np.ones((30, 3)), wanted), 1.0)
    assert interpolate_flow(known[:1], flow[:1], wanted).shape == (20, 3)
