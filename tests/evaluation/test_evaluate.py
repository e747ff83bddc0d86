"""From a run folder to results.json, on tiny runs of real methods."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from synthetic_store import write_synthetic_store

from equissl.datasets.views.store.store import ViewStore
from equissl.encoders.config import EncoderConfig
from equissl.evaluation import evaluate
from equissl.evaluation.probes import FeatureRows, train_probes
from equissl.evaluation.views.cached import feature_sets
from equissl.evaluation.views.config import EvaluateConfig, HueProbeConfig, LinearProbeConfig, RotationProbeConfig
from equissl.evaluation.views.features import in_memory
from equissl.evaluation.views.online import OnlineProbe
from equissl.evaluation.views.probing import choose_tasks
from equissl.evaluation.views.retrieval import embed_features
from equissl.methods import Supervised
from equissl.reporting import format_table, write_report
from equissl.runs import load_method
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain

METHODS = {
    "vicreg": ("VICReg", {"projector": [16, 16]}),
    "sie": ("SIE", {"projector": [16, 16]}),
    "equicaps": ("EquiCaps", {"image_size": 16, "capsules": 4}),
}


def settings(**kw) -> EvaluateConfig:
    rotation = RotationProbeConfig(hidden=(16,), steps=20, val_pairs=4)
    budgets = {"classification": LinearProbeConfig(steps=20), "hue": HueProbeConfig(steps=20)}
    return EvaluateConfig(rotation=rotation, **budgets, **kw)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    store = write_synthetic_store(root / "views.h5", objects=32, views=4, size=16)
    for name, (method, arguments) in METHODS.items():
        encoder = {"name": "resnet18", "width": 4, "stem": "small"}
        config = {
            "method": {"class_path": method, "init_args": {"encoder": encoder, **arguments}},
            "data": {"store": str(store), "batch_size": 8},
            "trainer": {"max_steps": 3, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
            "collapse": {"every": 1},
        }
        pretrain(resolve_config(config), root / name)
        evaluate(root / name, settings())
    return [root / name for name in METHODS]


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def test_further_parts_of_a_method_on_single_views_are_probed(runs: list[Path], tmp_path: Path) -> None:
    encoder = {"name": "resnet18", "width": 4, "stem": "small"}
    arguments = {"encoder": encoder, "image_size": 16, "code_dim": 6, "decoder_width": 2}
    config = {
        "method": {"class_path": "CMIM", "init_args": arguments},
        "data": {"store": str(runs[0].parent / "views.h5"), "batch_size": 8},
        "trainer": {"max_steps": 3, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }
    run = pretrain(resolve_config(config), tmp_path / "cmim")
    found = evaluate(run, settings())
    assert found["views_seen"] == 3 * 8 and found["method"] == "CMIM"
    for part in ("all", "decoder"):
        assert 0 <= found[f"classification/{part}/top1"] <= 1 and f"rotation/r2_uniform/{part}" in found
    assert "cmim" in write_report([run], tmp_path / "page.html").read_text()


def test_results_are_flat_and_hold_scores_baselines_and_diagnostics(runs: list[Path]) -> None:
    vicreg, sie, equicaps = map(results, runs)
    assert vicreg["method"] == "VICReg" and vicreg["views_seen"] == 3 * 8 * 2
    assert vicreg["classification/chance"] == 0.25
    assert not any(isinstance(value, dict) for value in vicreg.values())
    assert list(vicreg) == sorted(vicreg)
    for part in ("all", "inv", "equi"):
        for key in (f"classification/{part}/top1", f"rotation/r2_uniform/{part}", f"collapse/rankme/{part}"):
            assert (key in vicreg) == (part == "all") and key in sie and key in equicaps
    assert "predictor/equivariance_ignored_action" in sie and "predictor/equivariance" in equicaps
    assert not any(key.startswith("predictor/") for key in vicreg)
    assert (
        sie["rotation/mean_deg/constant"]
        == equicaps["rotation/mean_deg/constant"]
        == vicreg["rotation/mean_deg/constant"]
    )


def test_saved_errors_are_those_of_the_scores(runs: list[Path]) -> None:
    with np.load(runs[1] / "eval.npz") as errors:
        assert set(errors.files) == {"all", "inv", "equi", "constant", "identity"}
        for part in errors.files:
            assert errors[part].mean() == pytest.approx(results(runs[1])[f"rotation/mean_deg/{part}"], rel=1e-5)


def test_evaluating_again_gives_the_same_numbers_from_the_cache(runs: list[Path]) -> None:
    before = results(runs[1])
    caches = {path.name: path.stat().st_mtime_ns for path in (runs[1] / "features").iterdir()}
    assert set(caches) == {"train.h5", "val.h5", "val_embedding.h5"}
    again = evaluate(runs[1], settings())
    assert {key: value for key, value in again.items() if key != "seconds"} == {
        key: value for key, value in before.items() if key != "seconds"
    }
    assert {path.name: path.stat().st_mtime_ns for path in (runs[1] / "features").iterdir()} == caches


def test_evaluation_leaves_the_checkpoint_alone(runs: list[Path]) -> None:
    checkpoint = runs[0] / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    method, _ = load_method(runs[0])
    evaluate(runs[0], settings(cache=False))
    after, _ = load_method(runs[0])
    assert checkpoint.read_bytes() == before
    assert all(torch.equal(value, after.state_dict()[key]) for key, value in method.state_dict().items())


def test_a_store_without_validation_objects_is_an_error(runs: list[Path], tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "train_only.h5", objects=8, views=2, size=16, val_fraction=0.0)
    with pytest.raises(ValueError, match="val"):
        evaluate(runs[0], settings(cache=False), store=store)


def test_table_and_page_of_real_runs(runs: list[Path], tmp_path: Path) -> None:
    text = format_table([results(run) for run in runs])
    assert [line.split("  ")[0] for line in text.splitlines()[2:5]] == ["VICReg", "SIE", "EquiCaps"]
    page = write_report(runs, tmp_path / "report.html").read_text()
    for expected in (
        "VICReg",
        "EquiCaps · equi",
        "constant predictor",
        "wrong action / right",
        "Online class probe",
        "data:image/png",
    ):
        assert expected in page
    assert "http://" not in page and "https://" not in page and "<script" not in page and "$" not in page


def test_every_protocol_of_a_predicting_method_and_its_embedding(runs: list[Path]) -> None:
    found = results(runs[1])
    for group in ("rotation_absolute", "hue", "hue_circular", "light"):
        for part in ("all", "inv", "equi", "constant"):
            assert f"{group}/r2_uniform/{part}" in found and f"{group}/r2_global/{part}" in found
    for key in ("mrr", "h1", "h2", "h5", "h10", "pre"):
        for group in ("retrieval", "retrieval_strict"):
            for name in ("", "/chance", "/source", "/ignored_action"):
                assert 0 <= found[f"{group}/{key}{name}"] <= 1
    assert not any(key.startswith(("hue_mlp", "translation", "classification_train_mode")) for key in found)
    assert not any(key.startswith("retrieval") for key in results(runs[0]) if "config" not in key)
    more = evaluate(runs[1], settings(parts=["embedding"], protocols=["hue_mlp", "rotation"]))
    assert evaluate(runs[0], settings(parts=["embedding"]))["collapse/dim/embedding"] == 16
    assert more["collapse/dim/embedding"] == 8 and "hue_mlp/mean_turns/embedding" in more
    assert not any(key.startswith(("classification/", "retrieval/", "rotation/r2_uniform/all")) for key in more)
    for run in runs[:2]:
        evaluate(run, settings())


def test_impossible_protocols_are_errors_by_name_and_lines_otherwise(runs: list[Path]) -> None:
    lines: list[str] = []
    evaluate(runs[0], settings(), log=lines.append)
    assert "skipping retrieval: VICReg has no predictor" in lines
    assert sum(line.startswith("skipping translation_") for line in lines) == 2
    with pytest.raises(ValueError, match="'retrieval' is not possible here: VICReg has no predictor"):
        evaluate(runs[0], settings(protocols=["retrieval"]))
    with pytest.raises(ValueError, match="'translation_base' is not possible here"):
        evaluate(runs[1], settings(protocols=["translation_base"]))
    with pytest.raises(ValueError, match="expected a method with an embedding, Supervised has none"):
        supervised = Supervised(EncoderConfig(width=2, stem="small"), num_classes=2)
        embed_features(supervised, {"all": torch.zeros(2, 2, 16)}, "cpu", in_memory)
    with pytest.raises(ValueError, match=r"unknown protocol 'hues'"):
        evaluate(runs[0], settings(protocols=["hues"]))


def test_train_mode_is_the_published_way_and_leaves_the_run_alone(runs: list[Path]) -> None:
    before = results(runs[0])
    found = evaluate(runs[0], settings(protocols=["classification", "rotation", "train_mode"]))
    same = {key: value for key, value in found.items() if key.startswith(("classification/", "rotation/"))}
    assert same == {key: before[key] for key in same}
    assert found["rotation_train_mode/mean_deg/all"] != found["rotation/mean_deg/all"]
    assert 0 <= found["classification_train_mode/all/top1"] <= 1
    evaluate(runs[0], settings())


def test_in_eval_mode_the_published_way_ends_with_the_weights_of_the_cached_one(runs: list[Path]) -> None:
    """Features computed anew for every batch, and features computed once, train the same heads."""
    method, training = load_method(runs[1])
    store = ViewStore(training.data.store)
    train, val = feature_sets(method, store, runs[1], settings(), torch.device("cpu"))
    for task in choose_tasks(train, val, 4, "legacy", settings(protocols=["classification", "rotation", "hue"])):
        online = OnlineProbe(method, store, task, "equi", train, val)
        online.fit(task.steps(len(train.objects)) if task.name != "hue" else 3)
        if task.name == "hue":
            assert online.validate().shape == (len(val.objects), 2)
            continue
        (cached,) = train_probes([task], {"equi": FeatureRows(train.parts["equi"], None, "cpu")}, train)
        torch.testing.assert_close(cached.head.state_dict(), online.head.state_dict(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("damage", ["cut", "text", "no parts"])
def test_a_damaged_cache_is_made_again(runs: list[Path], damage: str) -> None:
    before = results(runs[1])
    for name in ("val.h5", "val_embedding.h5"):
        cache = runs[1] / "features" / name
        if damage == "no parts":
            with h5py.File(cache, "r+") as file:
                for part in list(file):
                    del file[part]
        else:
            cache.write_bytes(cache.read_bytes()[:1000] if damage == "cut" else b"not a feature file")
    assert {**evaluate(runs[1], settings()), "seconds": 0} == {**before, "seconds": 0}


def test_a_store_of_one_object_is_an_error(runs: list[Path], tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "one.h5", objects=1, views=3, size=16)
    with pytest.raises(ValueError, match="all 1 are outside"):
        evaluate(runs[1], settings(cache=False), store=store)


def test_the_subject_is_found_by_its_nearest_view(runs: list[Path]) -> None:
    found = evaluate(runs[0], settings(protocols=["subject"], parts=["all", "embedding"]))
    method, _ = load_method(runs[0])
    store = ViewStore(found["store"])
    unseen = store.select("val")
    assert found["subject/chance"] == pytest.approx(3 / (4 * len(unseen) - 1))
    images = store.read_images((unseen[:, None] * 4 + np.arange(4)).ravel())
    with torch.inference_mode():
        parts = method.features(images)
        parts["embedding"] = method.embedding(parts)
    for part in ("all", "embedding"):
        rows = torch.nn.functional.normalize(parts[part], dim=1)
        nearest = (rows @ rows.T).fill_diagonal_(-2).argmax(1)
        right = (nearest // 4 == torch.arange(len(rows)) // 4).double().mean()
        assert found[f"subject/{part}/top1"] == pytest.approx(right.item())
    assert "subject top-1 %" in format_table([found])


def test_the_subject_needs_other_views(runs: list[Path], tmp_path: Path) -> None:
    store = write_synthetic_store(tmp_path / "one.h5", objects=16, views=1, size=16)
    with pytest.raises(ValueError, match=r"'subject' is not possible here: .*two views of two objects"):
        evaluate(runs[0], settings(protocols=["subject"]), store=store)
