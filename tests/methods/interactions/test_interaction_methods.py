"""SASRec and MCLRec: the tests of every method, the stages in turn, and the way through the program."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from equissl import cli
from equissl.datasets.interactions.config import InteractionsData
from equissl.datasets.interactions.generated import InteractionSpec, write_interactions
from equissl.datasets.interactions.history import read_histories
from equissl.datasets.interactions.sequences import InteractionBatch, InteractionSequences
from equissl.encoders.sequence import SequenceEncoder, SequenceEncoderConfig
from equissl.evaluation import evaluate
from equissl.evaluation.interactions.evaluate import InteractionOptions, split_scores
from equissl.losses import next_item_loss, nt_xent, similarity_gap
from equissl.methods import METHODS, MCLRec, SASRec
from equissl.reporting import format_table, write_report
from equissl.runs import ConfigError, MethodConfig, OptimConfig, PretrainConfig, TrainerConfig, load_method
from equissl.runs.checkpoint import read_checkpoint
from equissl.training import pretrain
from equissl.training.loop import Loop
from equissl.training.observers import Observer
from equissl.training.strategies import Single
from equissl.util.runfolder import LAST
from equissl.weights import load_exported

SIZES = {"num_items": 20, "length": 8, "dim": 16, "layers": 2, "heads": 2, "hidden": 16, "dropout": 0.0}
FULL = {"hidden": [8], "contrast": 0.3, "learned": 0.5}
CASES: dict[str, dict[str, Any]] = {
    "SASRec": {},
    "MCLRec": FULL,
    "MCLRec joint": {**FULL, "updates": "joint", "gap_by_row": False},
    "MCLRec cosine": {**FULL, "updates": "three", "cosine": True},
}
every_variant = pytest.mark.parametrize("variant", CASES)


def tiny(variant: str, seed: int = 0, **changes: Any) -> SASRec:
    torch.manual_seed(seed)
    method = METHODS[variant.split()[0]](SequenceEncoderConfig(**SIZES), **{**CASES[variant], **changes})
    with torch.no_grad():  # the small values that weights start from would hide what a gradient is made of
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return method


def make_batch(users: int = 6, seed: int = 0) -> InteractionBatch:
    """Sequences of 2 to 8 items."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, 21, (users, 9), generator=generator)
    views = torch.randint(1, 22, (users, 2, 8), generator=generator)
    for user in range(users):
        items[user, 3 + user :] = 0
        views[user, 0, 2 + user % 5 :] = 0
    targets = items[:, 1:].clone()
    inputs = torch.where(targets > 0, items[:, :-1], 0)
    return InteractionBatch(inputs, targets, views, torch.arange(users))


def share(batch: InteractionBatch, rank: int, world: int) -> InteractionBatch:
    return batch._map(lambda tensor: tensor.chunk(world)[rank])


def test_no_method_on_interactions_is_left_out() -> None:
    ours = {name for name, method in METHODS.items() if method.kind == "interactions"}
    assert ours == {variant.split()[0] for variant in CASES}


@every_variant
def test_forward_backward_save_load(variant: str) -> None:
    method, batch = tiny(variant), make_batch()
    out = method.step(batch)
    assert out.loss.shape == () and torch.isfinite(out.loss)
    assert all(not term.requires_grad and torch.isfinite(term) for term in out.terms.values())
    assert out.features.shape == (6, 1, 16) and not out.features.requires_grad
    out.loss.backward()
    for key, parameter in method.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, f"{key} does not learn"
    method.eval()
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other = tiny(variant, seed=1).eval()
    expected = method.features(batch.items)["all"]
    assert expected.shape == (6, 16) and not torch.equal(other.features(batch.items)["all"], expected)
    other.load_state_dict(torch.load(file), strict=True)
    assert torch.equal(other.features(batch.items)["all"], expected)


@every_variant
def test_bfloat16_autocast_gives_a_float32_loss_near_the_exact_one(variant: str) -> None:
    method, batch = tiny(variant), make_batch()
    for phase in method.phases:
        step = getattr(method, phase.step)
        exact = step(batch).loss
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = step(batch)
        assert out.loss.dtype == torch.float32 == out.features.dtype
        assert all(term.dtype == torch.float32 for term in out.terms.values())
        assert out.loss.item() == pytest.approx(exact.item(), rel=0.1)


def worker(rank: int, world: int) -> dict[str, Any]:
    """Loss and gradients of every phase of every variant on this process' share, and alone on the whole batch."""
    import torch.distributed as dist

    found: dict[str, Any] = {}
    for variant in CASES:
        method, batch = tiny(variant).double(), make_batch(6)
        for phase in method.phases:
            out = getattr(method, phase.step)(share(batch, rank, world))
            method.zero_grad()
            out.loss.backward()
            for key, parameter in method.named_parameters():
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(gradient)
                found[f"{variant} {phase.step} {key}"] = gradient / world
            found[f"{variant} {phase.step} loss"] = out.loss.detach()
    return found


@pytest.mark.slow  # starts two processes
def test_two_processes_equal_one_on_the_joined_batch(two_processes: Any) -> None:
    results = two_processes(__file__)
    for variant in CASES:
        method = tiny(variant).double()
        for phase in method.phases:
            out = getattr(method, phase.step)(make_batch(6))
            method.zero_grad()
            out.loss.backward()
            for found in results:
                torch.testing.assert_close(found[f"{variant} {phase.step} loss"], out.loss.detach(), rtol=1e-10, atol=0)
                for key, parameter in method.named_parameters():
                    expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    torch.testing.assert_close(found[f"{variant} {phase.step} {key}"], expected, rtol=1e-8, atol=1e-10)


def test_the_encoder_does_not_see_later_items_nor_the_filling() -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(SequenceEncoderConfig(**SIZES)).double()
    items = torch.tensor([[3, 7, 1, 5, 0, 0]])
    states = encoder(items)
    torch.testing.assert_close(encoder(items[:, :4]), states[:, :4])
    torch.testing.assert_close(encoder.last(items), states[:, 3])
    changed = items.clone()
    changed[0, 2] = 9
    difference = (encoder(changed) - states).abs().amax(2)[0]
    assert difference[:2].max() == 0 and difference[2:4].min() > 1e-6
    with pytest.raises(ValueError, match=r"L in 1\.\.8, got \(1, 9\)"):
        encoder(torch.ones(1, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match="heads that divide dim 16, got 3"):
        SequenceEncoderConfig(**{**SIZES, "heads": 3})


def test_the_loss_is_that_of_the_paper_s_formula() -> None:
    method, batch = tiny("MCLRec", temperature=0.7).double(), make_batch()
    h1, h2 = (method.encoder.last(view) for view in batch.views.unbind(1))
    z1, z2 = (augmenter(h) for augmenter, h in zip(method.learned_views.augmenters, (h1, h2), strict=True))
    torch.testing.assert_close(z1.norm(dim=1), torch.ones(6, dtype=torch.float64))
    states = torch.cat([method.encoder(batch.items)[row, : 2 + row] for row in range(6)])
    targets = torch.cat([batch.targets[row, : 2 + row] for row in range(6)]) - 1
    task = next_item_loss(states, method.encoder.items.weight[1:21], targets).mean()
    pairs = ((z1, z2), (h1, z2), (h2, z1))
    contrast = sum(nt_xent(torch.stack(pair, 1), 1.0, normalise=False) for pair in pairs)
    gap = sum(similarity_gap(*pair) for pair in pairs)
    random_views = nt_xent(torch.stack([h1, h2], 1), 0.7, normalise=False)
    torch.testing.assert_close(method.step(batch).loss, task + 0.3 * random_views + 0.5 * (contrast + 0.1 * gap))
    torch.testing.assert_close(method.augment(batch).loss, contrast + 0.1 * gap)


def test_without_contrast_the_encoder_s_gradient_is_that_of_sasrec() -> None:
    plain, method, batch = tiny("SASRec").double(), tiny("MCLRec", contrast=0.0, learned=0.0).double(), make_batch()
    method.encoder.load_state_dict(plain.encoder.state_dict())
    for learner in (plain, method):
        learner.step(batch).loss.backward()
    pairs = zip(plain.encoder.parameters(), method.encoder.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)


class Between(Observer):
    """Keeps a copy of all weights at the end of each batch."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def after_batch(self, loop: Loop, batch: Any) -> None:
        self.states.append({key: value.clone() for key, value in loop.method.state_dict().items()})


def run_loop(method: SASRec, steps: int = 1) -> dict[str, torch.Tensor]:
    between = Between()
    optim = OptimConfig(lr=0.01, weight_decay=0.0)
    Loop(method, optim, Single(torch.device("cpu"), TrainerConfig()), steps, observers=[between]).fit(
        make_batch(seed=seed) for seed in range(steps)
    )
    return between.states[-1]


def test_one_update_of_everything_is_the_ablation() -> None:
    method = tiny("MCLRec joint")
    before = {key: value.clone() for key, value in method.state_dict().items()}
    after = run_loop(method)
    assert all(not torch.equal(before[key], after[key]) for key in before if "catalogue" not in key)
    assert [len(tiny(variant).phases) for variant in CASES] == [1, 2, 1, 3]


@pytest.mark.parametrize("variant", ["MCLRec", "MCLRec cosine"])
def test_stages_move_their_own_parameters_to_the_bit(variant: str) -> None:
    method = tiny(variant)
    method.phases = method.phases[:2]
    after = run_loop(method)
    one, two = tiny(variant), tiny(variant)
    adam = torch.optim.Adam(one.encoder.parameters(), lr=0.01, fused=True)
    one.step(make_batch()).loss.backward()
    adam.step()
    assert all(
        torch.equal(a, b) for a, b in zip(one.learned_views.parameters(), two.learned_views.parameters(), strict=True)
    )
    encoder = {key: value.clone() for key, value in one.encoder.state_dict().items()}
    adam = torch.optim.Adam(one.learned_views.parameters(), lr=0.01, fused=True)
    one.zero_grad()
    one.augment(make_batch()).loss.backward()
    adam.step()
    assert all(torch.equal(encoder[key], value) for key, value in one.encoder.state_dict().items())
    assert all(torch.equal(after[key], value) for key, value in one.state_dict().items())  # two optimisers by hand


def test_unknown_updates() -> None:
    with pytest.raises(ValueError, match=r"updates in \['two', 'three', 'joint'\], got 'four'"):
        tiny("MCLRec", updates="four")


def test_scores_of_one_who_knows_and_of_the_baselines(tmp_path: Path) -> None:
    """Every user goes round one circle: what followed the last item is always right."""
    spec = InteractionSpec(users=60, num_items=10, genres=1, tastes=1, follow=1.0, noise=0.0)
    histories = read_histories(write_interactions(tmp_path / "a.csv", spec).path)
    circle = {int(a): int(b) for a, b in zip(histories.flat[:-1], histories.flat[1:], strict=True)}
    circle |= {int(h[i]): int(h[i + 1]) for u in range(60) for h in [histories.of(u)] for i in range(len(h) - 1)}

    class Knowing(SASRec):
        def features(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            ends = inputs[torch.arange(len(inputs)), (inputs > 0).sum(1) - 1].tolist()
            return {"all": torch.nn.functional.one_hot(torch.tensor([circle[e] - 1 for e in ends]), 10).float()}

        def item_scores(self, states: torch.Tensor) -> torch.Tensor:
            return states

    method = Knowing(SequenceEncoderConfig(**{**SIZES, "num_items": 10}))
    scores = split_scores(method, histories, "test", InteractionOptions(top=1, batch_size=7))
    assert scores["test/hr"] == scores["test/ndcg"] == scores["last_item/test/hr"] == 1
    assert scores["popularity/test/hr"] < 0.5
    # a user who has gone all the way round has had the item: it stays a candidate, alone
    seen = split_scores(method, histories, "val", InteractionOptions(top=1, exclude_seen=True))
    assert seen["val/hr"] == 1 and seen["popularity/val/hr"] > scores["popularity/test/hr"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    spec = InteractionSpec(users=40, num_items=20, genres=4, shortest=8, longest=12)
    return write_interactions(tmp_path / "generated.csv", spec).path


def config(store: Path, method: str, steps: int, **init_args: Any) -> PretrainConfig:
    return PretrainConfig(
        MethodConfig(method, {"encoder": {**SIZES, "dropout": 0.3}, **init_args}),
        InteractionsData(store=str(store), batch_size=8),
        trainer=TrainerConfig(
            max_steps=steps, precision="32", accelerator="cpu", log_every=2, checkpoint_every=3, loggers=["csv"]
        ),
    )


class Killed(Exception):
    pass


class KillAt(Observer):
    def before_batch(self, loop: Loop, batch: Any) -> None:
        if loop.step == 5:
            raise Killed


@pytest.mark.parametrize(("method", "init_args"), [("SASRec", {}), ("MCLRec", FULL), ("MCLRec", {"updates": "three"})])
def test_pretrain_resume_evaluate_report_and_export(
    store: Path, tmp_path: Path, method: str, init_args: dict[str, Any]
) -> None:
    run, twin = tmp_path / "run", tmp_path / "twin"
    with pytest.raises(Killed):
        pretrain(config(store, method, 8, **init_args), run, [KillAt()])
    pretrain(config(store, method, 8, **init_args), run)  # continues after step 3, within the second epoch
    pretrain(config(store, method, 8, **init_args), twin)
    states = [read_checkpoint(r / LAST)["state_dict"] for r in (run, twin)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert "sequences_seen" in (run / "metrics.csv").read_text()
    results = evaluate(run)
    assert json.loads((run / "results.json").read_text())["kind"] == "interactions"
    assert 0 < results["test/hr"] < 1 and results["items"] == 20
    table = format_table([results])
    assert "HR@10 %" in table and "what followed the last item" in table and results["label"] in table
    assert "among all 20 items" in write_report([run], tmp_path / "page.html").read_text()
    assert cli.main(["export", str(run), f"--out={tmp_path / 'out'}"]) == 0
    items = torch.tensor([[3, 5, 1]])
    exported, trained = load_exported(tmp_path / "out"), load_method(run)[0]
    assert torch.equal(exported.features(items)["all"], trained.features(items)["all"])
    assert int(exported.encoder.catalogue) == read_histories(store).catalogue


def test_other_items_are_refused(store: Path, tmp_path: Path) -> None:
    wrong = config(store, "SASRec", 1, encoder={**SIZES, "num_items": 30})
    with pytest.raises(ConfigError, match=r"num_items 20$"):
        pretrain(wrong, tmp_path / "run")
    run = pretrain(config(store, "SASRec", 1), tmp_path / "run")
    other = tmp_path / "other.csv"
    other.write_text(store.read_text().replace("i000003", "j"))
    with pytest.raises(ValueError, match="of which some have other names"):
        evaluate(run, store=other)


def test_a_method_that_asks_for_no_views_gets_none(store: Path) -> None:
    histories = read_histories(store)
    assert InteractionSequences(histories, views=SASRec.random_views)[0, 0].views.shape[:2] == (1, 0)
    assert InteractionSequences(histories, views=MCLRec.random_views)[0, 0].views.shape[:2] == (1, 2)


def test_sasrec_learns_what_the_last_item_does_not_tell(tmp_path: Path) -> None:
    """Two circles in turn: the best recommender needs the last item of each, and is right with its first two."""
    spec = InteractionSpec(users=1000, num_items=8, genres=2, follow=1.0, noise=0.0, shortest=10, longest=12)
    store = write_interactions(tmp_path / "a.csv", spec).path
    sizes = {**SIZES, "num_items": 8, "length": 12}
    settings = replace(config(store, "SASRec", 300, encoder=sizes), optim=OptimConfig(lr=0.01))
    settings.data.batch_size = 32
    results = evaluate(pretrain(settings, tmp_path / "run"), InteractionOptions(top=2))
    assert results["test/hr"] > 0.8 > 0.7 > results["last_item/test/hr"], results
