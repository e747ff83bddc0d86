"""The tests of every method, for those on paired data, and the way through the program."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from paired_batches import CLOUD, EQUIVARIANT, SMALL, TEXT, random_batch
from PIL import Image
from torch import Tensor

from equissl import cli
from equissl.datasets.paired.batch import PairedBatch
from equissl.datasets.paired.config import PairedData
from equissl.datasets.views.build.builder import build_views
from equissl.datasets.views.build.spec import BuildSpec
from equissl.encoders import convert_sync_batchnorm
from equissl.evaluation import evaluate
from equissl.evaluation.paired.config import PairedOptions, PoseOptions
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig, RotationProbeConfig
from equissl.methods import METHODS
from equissl.methods.paired.base import PairedMethod
from equissl.objectives import ObjectiveConfig
from equissl.reporting import format_table, write_report
from equissl.runs import MethodConfig, PretrainConfig, TrainerConfig, load_method
from equissl.runs.checkpoint import read_checkpoint
from equissl.training import pretrain
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.util.runfolder import LAST
from equissl.weights import load_exported

EXTRA = {"extra": ObjectiveConfig("byol", {"hidden": 16})}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "CLIP": ("CrossModal", {"cloud": CLOUD, "text": TEXT}),
    "BYOLIP": ("CrossModal", {"text": TEXT, "views": 2, "texts": 2, "smoothing": 0.1, **EXTRA}),
    "TCL": ("TCL", {"text": TEXT, "projector": (8,), "queue": 16, "ramp": 4, "texts": 2}),
    "M3CoL": ("M3CoL", {"text": TEXT, "cloud": CLOUD, "num_classes": 3, "fusion": 8, "mixing": 0.5}),
    "equivariant": ("PairedEquivariant", {"cloud": EQUIVARIANT, "text": TEXT, "irrep_projector": (16,)}),
}
every_case = pytest.mark.parametrize("variant", CASES)


def tiny(variant: str, seed: int = 0) -> PairedMethod:
    torch.manual_seed(seed)
    name, options = CASES[variant]
    return METHODS[name](**{**SMALL, **options})  # type: ignore[return-value]


def batch_of(method: PairedMethod, objects: int = 6) -> PairedBatch:
    return random_batch(objects, method.views, 1, max(method.texts, 1))


def together(variant: str) -> Any:
    """A method in float64 whose loss does not depend on how the batch is shared out: M3CoL mixes within a process."""
    method: Any = tiny(variant).double()
    if hasattr(method, "mixed"):
        method.mixed = 0.0
    return method


def share(value: Any, rank: int, world: int) -> Any:
    if isinstance(value, Tensor):
        return value.chunk(world)[rank]
    if not hasattr(value, "labels") and not hasattr(value, "points") and not hasattr(value, "tokens"):
        return value
    return replace(value, **{f.name: share(getattr(value, f.name), rank, world) for f in fields(value)})


def test_no_method_on_paired_data_is_left_out() -> None:
    ours = {name for name, method in METHODS.items() if method.kind == "paired"}
    assert ours == {name for name, _ in CASES.values()}


@every_case
def test_forward_backward_save_load(variant: str) -> None:
    method = tiny(variant)
    batch = batch_of(method)
    out = method.step(batch)
    assert out.loss.shape == () and torch.isfinite(out.loss)
    assert all(not term.requires_grad and torch.isfinite(term) for term in out.terms.values())
    seen = 1 if variant == "TCL" else method.views  # the second view is the teacher's
    assert out.features.shape == (6, seen, method.feature_dim) and not out.features.requires_grad
    out.loss.backward()
    still = [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not still
    method.eval()
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = tiny(variant, seed=1).eval()
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    expected = method.features(images)["all"]
    assert not torch.equal(other.features(images)["all"], expected)
    other.load_state_dict(torch.load(file), strict=True)
    assert torch.equal(other.features(images)["all"], expected)


@every_case
def test_bfloat16_autocast_gives_a_float32_loss_near_the_exact_one(variant: str) -> None:
    method = tiny(variant)
    batch = batch_of(method)
    exact = method.step(batch).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = method.step(batch)
    assert out.loss.dtype == torch.float32 == out.features.dtype
    assert out.loss.item() == pytest.approx(exact.item(), rel=0.1)


def worker(rank: int, world: int) -> dict[str, Any]:
    """Loss and gradients of every variant on this process' share."""
    import torch.distributed as dist

    found: dict[str, Any] = {}
    for variant in CASES:
        method = convert_sync_batchnorm(together(variant))
        out = method.step(share(batch_of(method, 8), rank, world))
        out.loss.backward()
        for key, parameter in method.named_parameters():
            if parameter.requires_grad:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(gradient)
                found[f"{variant} {key}"] = gradient / world
        found[f"{variant} loss"] = out.loss.detach()
    return found


@pytest.mark.slow  # starts two processes
def test_two_processes_equal_one_on_the_joined_batch(two_processes: Any) -> None:
    results = two_processes(__file__)
    for variant in CASES:
        method = together(variant)
        out = method.step(batch_of(method, 8))
        out.loss.backward()
        largest = max(float(p.grad.abs().max()) for p in method.parameters() if p.grad is not None)
        for found in results:
            torch.testing.assert_close(found[f"{variant} loss"], out.loss.detach(), rtol=1e-6, atol=0)
            for key, parameter in method.named_parameters():
                if parameter.grad is not None:  # the normalised pixels are in float32's precision
                    torch.testing.assert_close(
                        found[f"{variant} {key}"],
                        parameter.grad,
                        rtol=1e-4,
                        atol=1e-5 * largest,
                        msg=f"{variant} {key}",
                    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = BuildSpec(
        "procedural", 16, 32, renderer_options={"quality": "draft"}, views=3, encoding="raw", points=48,
        val_fraction=0.5, classes=["chair", "car"], rotation_range=(0.0, 0.0, 1.5),
    )  # fmt: skip
    return build_views(spec, tmp_path_factory.mktemp("paired") / "views.h5", workers=0, progress=False).path


def config(store: Path, variant: str, steps: int = 4, **data: Any) -> PretrainConfig:
    name, options = CASES[variant]
    init_args = {**SMALL, **options}
    return PretrainConfig(
        MethodConfig(name, json.loads(json.dumps(init_args, default=vars))),
        PairedData(kind="paired", store=str(store), batch_size=4, **data),
        trainer=TrainerConfig(
            max_steps=steps, precision="32", accelerator="cpu", log_every=2, checkpoint_every=3, loggers=["csv"]
        ),
    )


def options() -> PairedOptions:
    probes = EvaluateConfig(
        protocols=["classification", "rotation"], diagnostic_batches=0,
        classification=LinearProbeConfig(steps=5), rotation=RotationProbeConfig(steps=5, val_pairs=2),
    )  # fmt: skip
    return PairedOptions(pose=PoseOptions(64, 2), views=probes)


class Killed(Exception):
    pass


class KillAt(Observer):
    def before_batch(self, loop: Loop, batch: Any) -> None:
        if loop.step == 4:
            raise Killed


@every_case
def test_pretrain_resume_evaluate_report_and_export(store: Path, tmp_path: Path, variant: str) -> None:
    run, twin = tmp_path / "run", tmp_path / "twin"
    with pytest.raises(Killed):
        pretrain(config(store, variant, 6), run, [KillAt()])
    pretrain(config(store, variant, 6), run)  # continues after step 3, within the second epoch
    pretrain(config(store, variant, 6), twin)
    states = [read_checkpoint(r / LAST)["state_dict"] for r in (run, twin)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    results = evaluate(run, options())
    assert json.loads((run / "results.json").read_text())["kind"] == "paired"
    assert results["val_objects"] == 8 and 0 <= results["retrieval/image_to_text/r5"] <= 1
    assert ("pose/mean_deg" in results) == (variant == "equivariant")
    assert ("retrieval/cloud_to_image/r1" in results) == (variant not in ("BYOLIP", "TCL"))
    table = format_table([results])
    assert "zero-shot % image" in table and "constant answer" in table
    page = write_report([run], tmp_path / "page.html").read_text()
    assert "Retrieval across modalities" in page and "were never trained on" in page
    assert cli.main(["export", str(run), f"--out={tmp_path / 'out'}"]) == 0
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    exported, trained = load_exported(tmp_path / "out"), load_method(run)[0]
    assert torch.equal(exported.features(images)["all"], trained.features(images)["all"])


def test_captioned_images_of_a_user(tmp_path: Path) -> None:
    rows = [("image", "text", "label")]
    generator = torch.Generator().manual_seed(0)
    for number in range(20):
        kind = ("red", "green")[number % 2]
        pixels = torch.randint(100, (40, 40, 3), generator=generator, dtype=torch.uint8)
        pixels[..., number % 2] += 150
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", f"a {kind} picture, number {number}", kind))
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    settings = config(tmp_path, "BYOLIP", 3, size=32, val_fraction=0.4)
    run = pretrain(settings, tmp_path / "run")
    results = evaluate(run, options())
    assert results["val_images"] == 8 and results["retrieval/distinct_captions"] == 8
    assert 0 <= results["zero_shot/image/top1"] <= 1 and results["retrieval/text_to_image/r10"] == 1
    assert "8 captioned images" in write_report([run], tmp_path / "page.html").read_text()


def test_a_store_without_clouds_is_refused(store: Path, tmp_path: Path) -> None:
    spec = BuildSpec("procedural", 8, 32, renderer_options={"quality": "draft"}, views=2, classes=["chair", "car"])
    plain = build_views(spec, tmp_path / "plain.h5", workers=0, progress=False).path
    with pytest.raises(ValueError, match=r"expected point clouds in .*plain.h5"):
        pretrain(config(plain, "CLIP"), tmp_path / "run")
    run = pretrain(config(store, "CLIP"), tmp_path / "other")
    with pytest.raises(ValueError, match=r"expected point clouds in .*plain.h5"):
        evaluate(run, options(), store=plain)
