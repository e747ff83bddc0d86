"""Things of one's own, outside of the package: the examples of docs/extending.md, by import path and entry point."""

from __future__ import annotations

import doctest
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from equissl import cli
from equissl.bench import BENCHES
from equissl.datasets.drives.readers import READERS
from equissl.datasets.images.formats import FORMATS
from equissl.datasets.images.sequences.create import FORMS
from equissl.datasets.images.sequences.saliency import SALIENCY
from equissl.datasets.meshes import MESH_SOURCES
from equissl.encoders import ENCODERS
from equissl.encoders.aggregator import AGGREGATORS
from equissl.encoders.cloud import CLOUD_ENCODERS
from equissl.encoders.text import TEXT_ENCODERS
from equissl.encoders.voxel import VOXEL_BACKBONES
from equissl.evaluation import evaluate
from equissl.evaluation.views.config import EvaluateConfig, HueProbeConfig
from equissl.evaluation.views.tasks import PROBES
from equissl.kinds import KINDS
from equissl.objectives import OBJECTIVES
from equissl.predictors import PREDICTORS
from equissl.renderers import RENDERERS
from equissl.runs.configfile import resolve_config
from equissl.scene_flow import PROVIDERS
from equissl.training import pretrain
from equissl.util.registry import Registry
from equissl.weights.layouts import FAMILIES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
REGISTRIES: dict[str, Registry] = {
    "AGGREGATORS": AGGREGATORS,
    "BENCHES": BENCHES,
    "CLOUD_ENCODERS": CLOUD_ENCODERS,
    "ENCODERS": ENCODERS,
    "FAMILIES": FAMILIES,
    "FORMATS": FORMATS,
    "FORMS": FORMS,
    "MESH_SOURCES": MESH_SOURCES,
    "OBJECTIVES": OBJECTIVES,
    "PREDICTORS": PREDICTORS,
    "PROBES": PROBES,
    "PROVIDERS": PROVIDERS,
    "READERS": READERS,
    "RENDERERS": RENDERERS,
    "SALIENCY": SALIENCY,
    "TEXT_ENCODERS": TEXT_ENCODERS,
    "VOXEL_BACKBONES": VOXEL_BACKBONES,
}
#: Registry, name in the package of the test, and import path.
PLUGINS = {
    "spread": (OBJECTIVES, "mine:spread"),
    "patches": (ENCODERS, "mine:Patches"),
    "additive": (PREDICTORS, "mine:Additive"),
    "silhouette": (RENDERERS, "mine:Silhouette"),
    "boxes": (MESH_SOURCES, "mine:Boxes"),
    "arrays": (READERS, "mine:Arrays"),
    "still": (PROVIDERS, "mine:Still"),
    "floor_hue": (PROBES, "mine:floor_hue"),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The examples as an installed package ``mine``, with entry points."""
    root = tmp_path_factory.mktemp("site")
    (root / "mine.py").write_text("\n".join(["from __future__ import annotations", *blocks("python")]))
    info = root / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    plugins = {**PLUGINS, "series": (KINDS, "mine:SERIES")}
    points = "\n".join(f"[{registry.group}]\n{name} = {path}" for name, (registry, path) in plugins.items())
    (info / "entry_points.txt").write_text(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setenv("PYTHONPATH", str(root), prepend=":")
        for registry in (*REGISTRIES.values(), KINDS):
            patch.setattr(registry, "_outside", None)
        yield root
        sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views of one's own meshes by one's own renderer."""
    out = tmp_path_factory.mktemp("views") / "views.h5"
    flags = ["--meshes", "mine:Boxes", "--renderer", "mine:Silhouette", "--views", "4", "--size", "16"]
    assert cli.main(["render", *flags, "--val_fraction", "0.5", "--workers", "0", "--out", str(out)]) == 0
    return out


def train(out: Path, store: Path, method: dict) -> Path:
    config = {
        "method": method,
        "data": {"store": str(store), "batch_size": 2},
        "trainer": {"max_steps": 2, "loggers": ["csv"], "threads": 1, "precision": "32"},
    }
    pretrain(resolve_config(config), out)
    return out


def test_the_examples_do_what_the_page_says(tmp_path: Path) -> None:
    names = {"np": np, "torch": torch, "folder": tmp_path}
    example = doctest.DocTestParser().get_doctest("\n".join(blocks("pycon")), names, "extending.md", None, 0)
    assert len(example.examples) > 15
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize("name", PLUGINS)
def test_entry_points_and_import_paths_lead_to_the_same(name: str) -> None:
    registry, path = PLUGINS[name]
    assert list(registry)[-1] == name
    assert registry[name] is registry[path] is registry[path.replace(":", ".")]
    assert registry.name_of(registry[name]) == name


def test_own_meshes_and_renderer_make_a_store(store: Path) -> None:
    with h5py.File(store) as file:
        assert file["labels"][()].tolist() == [0, 1] * 4
    assert "silhouette" in store.with_suffix(".md").read_text()


def test_own_objective_and_encoder_train(store: Path, tmp_path: Path) -> None:
    arguments = {"encoder": {"name": "mine:Patches", "width": 8}, "objective": {"name": "mine:spread"}}
    run = train(tmp_path / "run", store, {"class_path": "Invariant", "init_args": {**arguments, "projector": [8]}})
    assert "spread" in (run / "metrics.csv").read_text()


def test_own_predictor_trains(store: Path, tmp_path: Path) -> None:
    arguments = {"encoder": {"name": "patches", "width": 8}, "projector": [8, 8], "predictor": "mine:Additive"}
    train(tmp_path / "run", store, {"class_path": "SIE", "init_args": arguments})
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]
    assert any(key.endswith("predictor.shift.weight") for key in state)


def test_own_method_trains_and_own_probe_evaluates_it(store: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "run", store, {"class_path": "mine.Mine"})
    found = evaluate(run, EvaluateConfig(protocols=["mine:floor_hue"], hue=HueProbeConfig(steps=3)))
    assert found["floor_hue/r2_uniform/constant"] <= 0
    assert np.isfinite(found["floor_hue/mean_distance/all"])
    assert "floor_hue/mean_distance/all" in json.loads((run / "results.json").read_text())


def test_own_kind_trains_evaluates_reports_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series, run, page = tmp_path / "series.npy", tmp_path / "run", tmp_path / "page.html"
    np.save(series, np.random.default_rng(0).normal(size=(16, 20)).cumsum(1))
    data = ["--data.store", str(series), "--data.length", "8", "--data.batch_size", "4"]
    trainer = ["--trainer.max_steps", "3", "--trainer.loggers", '["mine:Lines"]', "--trainer.log_every", "1"]
    assert cli.main(["pretrain", "--method", "mine:Agree", *data, *trainer, "--out", str(run)]) == 0
    assert "nt_xent=" in (run / "lines.txt").read_text()
    assert cli.main(["evaluate", str(run), "--pairs", "6"]) == 0
    assert "own / other" in capsys.readouterr().out
    assert json.loads((run / "results.json").read_text())["kind"] == "series"
    assert cli.main(["report", str(run), "--out", str(page)]) == 0
    assert "Windows of series." in page.read_text()
    assert cli.main(["export", str(run), "--out", str(tmp_path / "export")]) == 0
    assert json.loads((tmp_path / "export" / "card.json").read_text())["input"] == {"length": 8}
    assert cli.main(["evaluate", str(run), "--protocols", "[]"]) == 2  # a flag of views


def test_own_reader_and_flow_provider(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "drives").mkdir()
    np.save(tmp_path / "drives" / "a.npy", np.random.default_rng(0).uniform(-20, 20, (4, 200, 3)))
    drives, flows = str(tmp_path / "drives.h5"), str(tmp_path / "flows.h5")
    flags = ["--ground", "false", "--check", "false", "--workers", "1"]
    assert cli.main(["ingest", "mine:Arrays", str(tmp_path / "drives"), "--out", drives, *flags]) == 0
    assert "1 drives, 4 sweeps, 3 pairs" in capsys.readouterr().out
    assert cli.main(["flow", drives, "--provider", "mine:Still", "--out", flows]) == 0
    assert "flow of 3 pairs, 0 failed" in capsys.readouterr().out


def test_own_benchmark(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "my_bench.py").write_text(
        "def bench_sum(terms: int = 3) -> dict:\n    return {'sum': sum(range(terms))}\n"
    )
    assert cli.main(["bench", "my_bench:bench_sum", "--terms", "5"]) == 0
    assert capsys.readouterr().out.split() == ["sum", "10"]


@pytest.mark.parametrize("name", REGISTRIES)
def test_everything_built_in_can_be_imported(name: str) -> None:
    known = REGISTRIES[name]
    assert len(known) >= 2 and all(callable(known[key]) for key in known)


@pytest.mark.parametrize(
    ("folder", "pattern", "registry"),
    [
        ("renderers", r"^class (?!TorchRenderer)(\w+Renderer)\b", RENDERERS),
        ("datasets/drives/readers", r"^class (\w+)\(\w*Reader\)", READERS),
        ("equissl/scene_flow", r"^class ([A-Z]\w+Flow)\b", PROVIDERS),
    ],
)
def test_what_is_written_is_named_in_its_table(folder: str, pattern: str, registry: Registry) -> None:
    """A backend or format that its table does not name would never be found."""
    files = (PAGE.parent.parent / folder).glob("*.py")
    written = {name for path in files for name in re.findall(pattern, path.read_text(), re.MULTILINE)}
    assert len(written) >= 3
    assert written <= {thing.__name__ for thing in registry.values()}
