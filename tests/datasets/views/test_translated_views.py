"""3DIEBench-T from end to end: rendered, unpacked and packed, learned from and evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.datasets.meshes import get_mesh_source
from equissl.datasets.views.build.builder import build_views
from equissl.datasets.views.build.spec import BuildSpec
from equissl.datasets.views.folder.layout import pack, unpack
from equissl.datasets.views.schema import TRANSLATION, threediebench_t_schema
from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation import evaluate
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig, RotationProbeConfig
from equissl.renderers import ViewParameters, get_renderer
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain

CLASSES = ["bed", "chair"]
SPEC = BuildSpec(
    "procedural", 16, views=4, size=32, val_fraction=0.5, encoding="raw", translation_range=(0.5,) * 3, classes=CLASSES
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    return ViewStore(build_views(SPEC, tmp_path_factory.mktemp("t") / "t.h5", workers=0, progress=False).path)


def test_ten_latents_in_the_published_order_and_ranges(store: ViewStore) -> None:
    assert store.schema == threediebench_t_schema()
    shifts = store.latents[..., store.schema.columns(*TRANSLATION)]
    assert np.abs(shifts).max() <= 0.5 and shifts.std() > 0.2


def test_views_show_the_object_at_rotation_times_translation(store: ViewStore) -> None:
    latents = store.latents[3]
    views = [
        ViewParameters(turn.as_matrix(), turn.apply(row[7:]), *row[3:7])
        for row in latents
        for turn in [Rotation.from_euler("xyz", row[:3])]
    ]
    pictures = get_renderer("raycast").render(get_mesh_source("procedural", 16, 0, classes=CLASSES).load(3), views, 32)
    stored = store.read_images(np.arange(12, 16)).permute(0, 2, 3, 1).numpy()
    assert (np.abs(stored.astype(int) - pictures) <= 1).mean() > 0.999


def test_unpack_and_pack_give_the_same_store(store: ViewStore, tmp_path: Path) -> None:
    unpack(store.path, tmp_path / "folder")
    latents = np.load(next((tmp_path / "folder").rglob("latent_0.npy")))
    assert latents.shape == (10,) and latents.dtype == np.float64
    packed = ViewStore(pack(tmp_path / "folder", tmp_path / "again.h5"))
    np.testing.assert_array_equal(packed.latents, store.latents)
    assert packed.schema.names == store.schema.names


@pytest.mark.parametrize("frame", ["object", "base"])
def test_capsules_learn_from_it_and_both_translations_are_scored(store: ViewStore, frame: str, tmp_path: Path) -> None:
    method = {
        "encoder": {"width": 4, "stem": "small"},
        "image_size": 32,
        "capsules": 4,
        "pose": "rigid",
        "frame": frame,
    }
    config = {
        "method": {"class_path": "EquiCaps", "init_args": method},
        "data": {"store": str(store.path), "batch_size": 4},
        "trainer": {"max_steps": 3, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }
    run = pretrain(resolve_config(config), tmp_path / "run")
    probe = RotationProbeConfig(hidden=(8,), steps=5, val_pairs=2)
    found = evaluate(run, EvaluateConfig(rotation=probe, classification=LinearProbeConfig(steps=5)))
    for name in ("object", "base"):
        for part in ("all", "inv", "equi", "constant"):
            assert np.isfinite(found[f"translation_{name}/r2_uniform/{part}"])
