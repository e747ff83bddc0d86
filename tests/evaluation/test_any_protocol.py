"""Every subset of protocols and every store ends in results, a table and a page; what is impossible is named."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from synthetic_store import write_synthetic_store

from equissl import cli
from equissl.datasets.views.store.store import ViewStore
from equissl.datasets.views.store.writer import write_store
from equissl.evaluation import evaluate
from equissl.evaluation.views.config import (
    EvaluateConfig,
    HueProbeConfig,
    LinearProbeConfig,
    RotationProbeConfig,
    SequenceConfig,
)
from equissl.evaluation.views.evaluate import evaluate_views
from equissl.evaluation.views.tasks import OTHER_PROTOCOLS, PROBES
from equissl.reporting import format_table, write_report
from equissl.runs import load_method
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain

SMALL = {"encoder": {"name": "resnet18", "width": 4, "stem": "small"}}
METHODS = {
    "SIE": {"projector": [8, 8], **SMALL},
    "SeqJEPA": {"views": 3, "action_dim": 8, "layers": 1, "hidden": 16, **SMALL},
}
NAMES = [*PROBES, *OTHER_PROTOCOLS]


def settings(protocols: list[str] | None = None, **more) -> EvaluateConfig:
    return EvaluateConfig(
        protocols=protocols,
        classification=LinearProbeConfig(steps=2),
        rotation=RotationProbeConfig(hidden=(8,), steps=2, val_pairs=3),
        hue=HueProbeConfig(steps=2),
        sequence=SequenceConfig(lengths=(1, 2), sequences=2),
        **more,
    )


def turned(path: Path, source: Path, euler: np.ndarray) -> Path:
    """A copy of a store with the given angles (objects, views, 3) in place of its own."""
    store = ViewStore(source)
    latents = np.asarray(store.latents).copy()
    latents[..., :3] = euler
    images = store.read_images(np.arange(len(latents) * store.num_views)).numpy().transpose(0, 2, 3, 1)
    images = images.reshape(len(latents), store.num_views, *images.shape[1:])
    parts = (np.asarray(store.labels), store.schema, list(store.classes), np.asarray(store.split))
    return write_store(path, images, latents, *parts, encoding="raw", attributes={"seed": 0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("protocols")
    views = write_synthetic_store(root / "views.h5", objects=16, views=4, size=16)
    write_synthetic_store(root / "one_class.h5", objects=16, views=4, size=16, classes=1)
    write_synthetic_store(root / "one_view.h5", objects=16, views=1, size=16)
    turned(root / "fixed.h5", views, np.zeros(3))
    turned(root / "posed.h5", views, np.random.default_rng(0).uniform(-1, 1, (16, 1, 3)))
    for name, arguments in METHODS.items():
        config = {
            "method": {"class_path": name, "init_args": arguments},
            "data": {"store": str(views), "batch_size": 4},
            "trainer": {"max_steps": 1, "loggers": [], "threads": 1, "precision": "32"},
        }
        pretrain(resolve_config(config), root / name)
    return root


@pytest.fixture(autouse=True)
def no_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equissl.reporting.views.page.gallery", lambda store: [])  # its PNGs take most of the time


def shown(run: Path, out: Path) -> tuple[str, str]:
    """The table and the page of the run's only evaluation, which is then removed."""
    table = format_table([json.loads((run / "results.json").read_text())])
    page = write_report([run], out).read_text()
    shutil.rmtree(run / "results")
    return table, page


@pytest.mark.parametrize("method", METHODS)
def test_every_protocol_alone_and_some_pairs(folder: Path, method: str) -> None:
    run, done = folder / method, []
    loaded = load_method(run)
    pairs = list(combinations(NAMES, 2))
    for chosen in [*([name] for name in NAMES), *map(list, pairs[:: len(pairs) // 4]), []]:
        try:
            found = evaluate_views(run, *loaded, settings(chosen))
        except ValueError as error:
            assert "not possible here" in str(error), chosen
            continue
        table, page = shown(run, folder / "page.html")
        done += chosen
        assert found["config/protocols"] == chosen and len(set(map(len, table.splitlines()))) == 1
        assert not chosen or len(table.splitlines()[0].split()) > 1, chosen  # it has a column
        assert "<h2>Results</h2>" in page
    possible = {"classification", "rotation", "rotation_absolute", "hue", "hue_mlp", "hue_circular", "light", "subject"}
    possible |= {"retrieval", "train_mode"} if method == "SIE" else {"aggregate", "path_integration"}
    assert possible <= set(done)


@pytest.mark.parametrize(
    ("store", "lost", "kept"),
    [
        ("fixed.h5", ("rotation", "rotation_absolute"), ("classification", "hue")),
        ("posed.h5", ("rotation",), ("classification", "rotation_absolute")),
        ("one_view.h5", ("rotation", "hue"), ("classification", "light")),
    ],
)
def test_a_store_loses_what_it_does_not_allow_with_a_reason(
    folder: Path, store: str, lost: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    for method in METHODS:
        lines: list[str] = []
        found = evaluate(folder / method, settings(), store=folder / store, log=lines.append)
        groups = {key.partition("/")[0] for key in found if not key.endswith("/sign")}
        assert not groups & set(lost) and set(kept) <= groups, method
        for name in lost:
            assert any(line.startswith(f"skipping {name}: ") for line in lines), name
        table, page = shown(folder / method, folder / "page.html")
        assert "Results" in page and table
    with pytest.raises(ValueError, match=f"'{lost[0]}' is not possible here: .*"):
        evaluate(folder / "SIE", settings([lost[0]]), store=folder / store)


def test_one_class_is_no_success(folder: Path) -> None:
    evaluate(folder / "SIE", settings(["classification"]), store=folder / "one_class.h5")
    table, page = shown(folder / "SIE", folder / "page.html")
    assert table.splitlines()[-1].split() == ["chance", "100.0", "–"]
    assert "times chance" not in page and "as by chance: the store holds one class" in page


def test_parts_alone_are_shown(folder: Path) -> None:
    for part in ("inv", "embedding"):
        evaluate(folder / "SIE", settings(["classification", "rotation"], parts=[part]))
        table, page = shown(folder / "SIE", folder / "page.html")
        assert f"classification {part} top-1 %" in table and f"Highest top-1, {part}" in page


def test_the_verb_succeeds_for_a_protocol_without_class_and_rotation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--protocols", '["hue"]', "--hue.steps", "2"]
    assert cli.main(["evaluate", str(folder / "SIE"), *words]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["method", "hue", "turns"] and rows[-1].startswith("constant predictor")
