"""CDvG: the translator and what contrast of translated views is blind to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_store import write_synthetic_store
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.evaluation import evaluate
from equissl.evaluation.views.config import EvaluateConfig, TranslationConfig
from equissl.losses import alignment_loss, nt_xent
from equissl.methods import SimCLR
from equissl.runs import load_method
from equissl.runs.configfile import resolve_config
from equissl.training import pretrain
from equissl.weights.reading import WeightsError


class Identity(nn.Module):
    num_classes = 5

    def translate(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        return images


def test_an_identical_translation_is_plain_simclr(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("CDvG", supervised=0.0).double()
    plain = SimCLR(method_encoder(), projector=(12, 10)).double()
    plain.encoder, plain.projector, method.translator = method.encoder, method.projector, Identity()
    torch.testing.assert_close(method.step(batch).loss, plain.step(batch).loss)
    same = replace(batch, images=batch.images[:, :1].expand(-1, 2, -1, -1, -1))
    embedding = method.projector(method.encoder(method.normalise(same.images[:, 0])))
    expected = nt_xent(torch.stack([embedding, embedding], dim=1), 0.1)  # every positive cosine is 1
    torch.testing.assert_close(method.step(same).loss, expected)


def method_encoder() -> Any:
    from equissl.encoders.config import EncoderConfig

    return EncoderConfig(width=4)


def test_a_view_translated_to_its_own_class_stays_as_it_is(batch: ViewBatch, build_method: Any) -> None:
    translator = build_method("CDvG").double().translator
    images = torch.randn(6, 3, 64, 64, dtype=torch.float64)
    assert torch.equal(translator.translate(images, batch.labels, batch.labels), images)
    moved = translator.translate(images, batch.labels, (batch.labels + 1) % 5)
    back = images + translator.decode(translator.encode(images)[0], (batch.labels + 1) % 5)
    torch.testing.assert_close(moved, back - translator.decode(translator.encode(images)[0], batch.labels))
    with pytest.raises(ValueError, match=r"expected labels in 0\.\.4"):
        build_method("CDvG").translator.translate(images.float(), batch.labels + 4, batch.labels)


def test_the_translator_does_not_learn(batch: ViewBatch, build_method: Any) -> None:
    method = build_method("CDvG").train()
    before = {name: value.clone() for name, value in method.translator.state_dict().items()}
    optimiser = torch.optim.SGD(method.parameters(), lr=0.1)
    method.step(batch).loss.backward()
    optimiser.step()
    assert not method.translator.training and method.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in method.translator.state_dict().items())


def test_targets_are_all_classes_by_way_of_another_one(batch: ViewBatch, build_method: Any) -> None:
    method, seen = build_method("CDvG"), []

    class Spy(Identity):
        def translate(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
            seen.append((labels, targets))
            return images

    method.translator = Spy()
    for _ in range(40):
        method.step(batch)
    assert len(seen) == 160
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(first[0], batch.labels) and (first[1] != batch.labels).all()
        assert torch.equal(second[0], first[1])
    assert torch.bincount(torch.cat([targets for _, targets in seen[1::2]]), minlength=5).min() > 480 / 5 - 5 * 9
    moved = torch.cat([(targets - labels) % 5 for labels, targets in seen[::2]])
    assert torch.bincount(moved, minlength=5)[1:].min() > 480 / 4 - 5 * 10


def test_views_that_differ_in_the_bias_align_only_where_it_is_ignored() -> None:
    """The toy of a signal and a bias of which translation moves the bias alone."""
    signal = torch.randn(20, 1, dtype=torch.float64)
    views = torch.stack([torch.cat([signal, torch.randn(20, 1, dtype=torch.float64)], dim=1) for _ in range(2)], dim=1)
    for slope, aligned in ((0.0, True), (0.3, False)):
        encoded = views @ torch.tensor([[1.0, 1.0], [slope, -slope]], dtype=torch.float64)
        assert (alignment_loss(encoded).item() < 1e-12) == aligned


def test_costs_of_the_translator_are_the_elbo(build_method: Any) -> None:
    method = build_method("Translator").double()
    mean, log_std = torch.randn(2, 4, 8, dtype=torch.float64).unbind(0)
    images, decoded = torch.randn(2, 4, 3, 64, 64, dtype=torch.float64).unbind(0)
    costs = method.costs(images, decoded, (mean, log_std))
    normal = torch.distributions.Normal
    scale = method.pixel_log_std.exp()
    expected = -normal(decoded, scale).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(costs[:, 0], expected)
    divergence = torch.distributions.kl_divergence(normal(mean, log_std.exp()), normal(0 * mean, 1 + 0 * mean))
    torch.testing.assert_close(costs[:, 1], divergence.sum(1))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Translator", {"beta": 0.0}),
        ("Translator", {"num_classes": 1}),
        ("CDvG", {"weight": 0.0}),
        ("CDvG", {"supervised": -1.0}),
    ],
)
def test_settings_without_meaning_are_named(name: str, changes: dict, build_method: Any) -> None:
    with pytest.raises(ValueError, match=f"got .*{next(iter(changes.values()))}"):
        build_method(name, **changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_store(tmp_path_factory.mktemp("cdvg") / "a.h5", objects=24, views=3, size=16)


ENCODER = {"name": "resnet18", "width": 4, "stem": "small"}
TRANSLATOR = {"encoder": ENCODER, "num_classes": 4, "image_size": 16, "code_dim": 4, "decoder_width": 2}


def train(store: Path, out: Path, method: str, steps: int = 2, **arguments: Any) -> Path:
    config = resolve_config(
        {
            "method": {"class_path": method, "init_args": {"encoder": ENCODER, **arguments}},
            "data": {"store": str(store), "batch_size": 4},
            "trainer": {"max_steps": steps, "log_every": 1, "loggers": ["csv"], "threads": 1, "precision": "32"},
        }
    )
    return pretrain(config, out)


@pytest.fixture(scope="module")
def translator(store: Path) -> Path:
    return train(
        store, store.parent / "translator", "Translator", **{k: v for k, v in TRANSLATOR.items() if k != "encoder"}
    )


def test_weights_of_the_translator_come_from_its_run_and_stay(store: Path, translator: Path, tmp_path: Path) -> None:
    arguments = {"projector": [8, 4], "translator": TRANSLATOR, "translator_run": str(translator)}
    halves = train(store, tmp_path / "halves", "CDvG", **arguments)
    train(store, tmp_path / "halves", "CDvG", steps=4, **arguments)
    whole = train(store, tmp_path / "whole", "CDvG", steps=4, **arguments)
    (first, _), (second, _), (given, _) = map(load_method, (halves, whole, translator))
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert all(torch.equal(value, first.translator.state_dict()[name]) for name, value in given.state_dict().items())
    assert (whole / "frozen.json").is_file()


def test_a_translator_that_does_not_fit_is_named(store: Path, translator: Path, tmp_path: Path) -> None:
    wrong: list[tuple[dict, str]] = [
        ({"translator_run": None}, r"--method\.translator_run RUN"),
        ({"translator": {**TRANSLATOR, "code_dim": 6}}, "weights do not fit Translator"),
        ({"encoder": {**ENCODER, "pixel_mean": [0.1, 0.2, 0.3]}}, r"encoder\.pixel_mean"),
    ]
    for changes, message in wrong:
        arguments = {"projector": [8, 4], "translator": TRANSLATOR, "translator_run": str(translator), **changes}
        with pytest.raises((WeightsError, ValueError, RuntimeError), match=message):
            train(store, tmp_path / "run", "CDvG", **arguments)
        assert not (tmp_path / "run").exists()
    other = train(store, tmp_path / "simclr", "SimCLR", projector=[8, 4])
    with pytest.raises(WeightsError, match="run of Translator, it is one of SimCLR"):
        train(store, tmp_path / "run", "CDvG", translator=TRANSLATOR, translator_run=str(other))


def test_rates_of_a_translator(store: Path, translator: Path, tmp_path: Path) -> None:
    judge = train(store, tmp_path / "erm", "Supervised", num_classes=4, hidden=8, rotation=0.0)
    options = EvaluateConfig(
        protocols=["translation"], translation=TranslationConfig(str(judge), str(judge), images=40)
    )
    found = evaluate(translator, options)
    assert 0 <= found["translation/label_kept/all"] <= 1 and 0 <= found["translation/bias_moved/all"] <= 1
    assert found["translation/label_kept/told_before"] > 0
    for options, message in (
        (EvaluateConfig(protocols=["translation"]), "--translation.reference RUN"),
        (
            EvaluateConfig(protocols=["translation"], translation=TranslationConfig(str(translator))),
            "a classifier of 4",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(translator, options)
    with pytest.raises(ValueError, match="Supervised does not translate"):
        evaluate(judge, EvaluateConfig(protocols=["translation"], translation=TranslationConfig(str(judge))))
