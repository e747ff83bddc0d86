"""Similarity queries: the oracle's answers, files for a person, and training on both."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_store import write_synthetic_store

from equissl.datasets.views.attributes import attribute_points
from equissl.datasets.views.queries import Queries, QueryDataset, draw_queries, find_odd
from equissl.datasets.views.query_files import LETTERS, QueryFileError, read_answers, write_queries
from equissl.datasets.views.schema import threediebench_schema
from equissl.datasets.views.store.store import ViewStore
from equissl.geometry import euler_to_rotmat, geodesic_angle
from equissl.runs.config import ConfigError
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain

SCHEMA = threediebench_schema()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    return ViewStore(write_synthetic_store(tmp_path_factory.mktemp("queries") / "a.h5", objects=16, views=3))


def latents(**columns: list[float]) -> torch.Tensor:
    values = torch.zeros(len(next(iter(columns.values()))), len(SCHEMA), dtype=torch.float64)
    for name, column in columns.items():
        values[:, SCHEMA.columns(name)[0]] = torch.tensor(column, dtype=torch.float64)
    return values


def test_hues_next_to_each_other_on_the_circle_are_near() -> None:
    points = attribute_points(latents(floor_hue=[0.02, 0.98, 0.5]), SCHEMA, "floor_hue")
    near, far = ((points[0] - points[k]).norm().item() for k in (1, 2))
    assert near == pytest.approx(math.sin(math.pi * 0.04)) and far == pytest.approx(math.sin(math.pi * 0.48))


def test_distance_of_poses_is_the_chord_of_the_angle_between() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.zeros(6, len(SCHEMA), dtype=torch.float64)
    rows[:, :3] = torch.rand(6, 3, generator=generator, dtype=torch.float64) * 4 - 2
    points, turns = attribute_points(rows, SCHEMA, "pose"), euler_to_rotmat(rows[:, :3])
    angles = geodesic_angle(turns[:3], turns[3:])
    torch.testing.assert_close((points[:3] - points[3:]).norm(dim=1), (angles / 2).sin())


def test_several_attributes_add_their_squares() -> None:
    rows = latents(floor_hue=[0.1, 0.3], light_theta=[0.2, 0.7])
    squares = [attribute_points(rows, SCHEMA, about).diff(dim=0).square().sum() for about in ("floor_hue", "light")]
    joined = attribute_points(rows, SCHEMA, "floor_hue+light").diff(dim=0).square().sum()
    torch.testing.assert_close(joined, sum(squares))


def test_unknown_attributes_and_latents_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'floor_hue'"):
        attribute_points(latents(floor_hue=[0.0]), SCHEMA, "flor_hue")
    with pytest.raises(ValueError, match=r"needs the latents \['rotation_x'"):
        attribute_points(torch.zeros(1, 1), type(SCHEMA)(SCHEMA.latents[3:4]), "pose")


def test_queries_show_different_objects_and_more_keep_the_first(store: ViewStore) -> None:
    objects = store.select("train")
    few, many = (draw_queries(objects, 3, count, seed=5) for count in (20, 2000))
    assert np.array_equal(many.objects[:20], few.objects) and np.array_equal(many.views[:20], few.views)
    assert all(len(set(row)) == 3 for row in many.objects.tolist())
    assert set(many.objects.ravel()) == set(objects) and set(many.views.ravel()) == {0, 1, 2}
    assert np.bincount(many.views.ravel()).min() > 1800 > 2000 * 3 / 3 - 250
    assert not np.array_equal(draw_queries(objects, 3, 20, seed=6).objects, few.objects)
    with pytest.raises(ValueError, match="3 objects, got 2"):
        draw_queries(objects[:2], 3, 20, seed=5)


def test_the_oracle_leaves_the_closest_pair(store: ViewStore) -> None:
    queries = draw_queries(store.select("train"), 3, 300, seed=0)
    odd = find_odd(queries, store, "floor_hue")
    hues = store.latents[..., SCHEMA.columns("floor_hue")[0]]
    answered = queries.answered(odd)
    for row in range(len(queries)):
        shown = {tuple(x) for x in zip(queries.objects[row], queries.views[row], strict=True)}
        assert shown == {tuple(x) for x in zip(answered.objects[row], answered.views[row], strict=True)}
        a, b, c = (hues[o, v] for o, v in zip(answered.objects[row], answered.views[row], strict=True))
        steps = [min((x - y) % 1, (y - x) % 1) for x, y in ((a, b), (a, c), (b, c))]
        assert steps[0] == min(steps)
        assert (answered.objects[row, 2], answered.views[row, 2]) == (
            queries.objects[row, odd[row]],
            queries.views[row, odd[row]],
        )


def test_batches_hold_the_views_of_their_queries(store: ViewStore) -> None:
    queries = Queries(np.array([[3, 1, 2], [0, 5, 7]]), np.array([[0, 2, 1], [1, 1, 0]]))
    batch = QueryDataset(store, queries).__getitems__([(4, 1), (0, 0)])
    assert batch.images.shape == (2, 3, 3, 16, 16) and batch.labels.tolist() == [0, 3]
    assert torch.equal(batch.images[0, 2], store.read_images(np.array([7 * 3 + 0]))[0])
    np.testing.assert_allclose(batch.latents[1, 1].numpy(), store.latents[1, 2], rtol=1e-6)


def fill_in(file: Path, change) -> None:
    with file.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for row, line in enumerate(lines):
        change(row, line)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, lines[0])
        writer.writeheader()
        writer.writerows(lines)


def test_a_persons_answers_come_back(store: ViewStore, tmp_path: Path) -> None:
    file = write_queries(store.path, tmp_path, count=6, seed=2, cell=20)
    assert file == tmp_path / "queries.csv" and len(list(tmp_path.glob("*.png"))) == 6
    with Image.open(tmp_path / "query-0003.png") as picture:
        assert picture.size == (3 * 28 + 8, 28 + 28)
    with pytest.raises(QueryFileError, match="all are empty"):
        read_answers(file, store)
    with pytest.raises(FileExistsError, match="perhaps with answers"):
        write_queries(store.path, tmp_path, count=6)
    fill_in(file, lambda row, line: line.update(odd=" " if row == 4 else LETTERS[row % 3].upper()))
    shown = draw_queries(store.select("train"), 3, 6, seed=2)
    kept = np.array([0, 1, 2, 3, 5])
    expected = Queries(shown.objects[kept], shown.views[kept]).answered(kept % 3)
    found = read_answers(file, store)
    assert np.array_equal(found.objects, expected.objects) and np.array_equal(found.views, expected.views)


def test_an_oracle_can_fill_the_file_in(store: ViewStore, tmp_path: Path) -> None:
    found = read_answers(write_queries(store.path, tmp_path, count=9, about="light", seed=1, cell=8), store)
    shown = draw_queries(store.select("train"), 3, 9, seed=1)
    assert np.array_equal(found.objects, shown.answered(find_odd(shown, store, "light")).objects)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"odd": "d"}, "line 2: expected odd to be a, b, c or empty, got 'd'"),
        ({"odd": "a", "b_view": "x"}, "line 2: b_view: expected a whole number, got 'x'"),
        ({"odd": "a", "b_view": "9"}, r"holds 16 objects of 3 views, got object \d+, view 9"),
        ({"odd": "a", "c_name": "chair"}, "not 'chair': the queries were written for another store"),
        ({"odd": "a", "a_object": "15", "a_name": "object_15"}, "object 15 is held out"),
    ],
)
def test_answers_that_do_not_fit_are_named(store: ViewStore, tmp_path: Path, change: dict, message: str) -> None:
    if "a_name" in change:
        change = {**change, "a_name": store.object_names[15]}
    file = write_queries(store.path, tmp_path, count=2, cell=8)
    fill_in(file, lambda row, line: line.update(change if row == 0 else {}))
    with pytest.raises(QueryFileError, match=message):
        read_answers(file, store)


def test_a_file_without_the_columns_is_named(store: ViewStore, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("query,odd\n0,a\n")
    with pytest.raises(QueryFileError, match="a_object, a_name"):
        read_answers(tmp_path / "a.csv", store)


def config(store: ViewStore, method: str = "SIRL", **data) -> dict:
    encoder = {"name": "resnet18", "width": 4, "stem": "small"}
    return {
        "method": {"class_path": method, "init_args": {"encoder": encoder, "projector": [8, 4]}},
        "data": {"store": str(store.path), "batch_size": 4, **data},
        "trainer": {"max_steps": 2, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }


def test_training_goes_on_bit_for_bit_on_queries_and_on_answers(store: ViewStore, tmp_path: Path) -> None:
    answers = write_queries(store.path, tmp_path, count=9, about="pose", seed=0, cell=8)
    weights = []
    for name, queries in (("oracle", {"about": "pose", "count": 9}), ("person", {"answers": str(answers)})):
        resolved = resolve_config(config(store, queries=queries))
        pretrain(resolved, tmp_path / name)
        resolved.trainer.max_steps = 4
        pretrain(resolved, tmp_path / name)
        weights.append(torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"])
    whole = resolve_config(config(store, queries={"about": "pose", "count": 9}))
    whole.trainer.max_steps = 4
    pretrain(whole, tmp_path / "whole")
    weights.append(torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"])
    for other in weights[1:]:  # the oracle's answers are the same from a file
        assert all(torch.equal(value, other[key]) for key, value in weights[0].items())


@pytest.mark.parametrize(
    ("method", "data", "message"),
    [
        ("SIRL", {}, "SIRL learns from similarity queries: expected data.queries"),
        ("VICReg", {"queries": {"about": "pose"}}, "got them with VICReg"),
        ("SIRL", {"queries": {"about": "size"}}, "unknown attribute 'size'"),
        ("SIRL", {"queries": {"count": 0}}, "at least one query, got count=0"),
    ],
)
def test_what_does_not_go_together_is_named(
    store: ViewStore, tmp_path: Path, method: str, data: dict, message: str
) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        pretrain(resolve_config(config(store, method, **data)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
