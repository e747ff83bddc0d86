"""MoCo, MoCHi and InterCLR as objectives: values, when state moves, and that a checkpoint goes on where it was."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses.inter_clr import inter_clr as inter_clr_loss
from equissl.losses.moco import moco as moco_loss
from equissl.objectives.base import Embedded, Objective
from equissl.objectives.inter_clr import InterCLR
from equissl.objectives.mochi import MoCHi
from equissl.objectives.moco import MoCo
from equissl.objectives.teacher_views import cross_view_pairs

SAMPLES, BATCH, VIEWS, DIM = 48, 8, 2, 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(seed: int, views: int = VIEWS, dtype: torch.dtype = torch.float32) -> Embedded:
    z, teacher = torch.randn(2, BATCH, views, DIM, generator=seeded(seed)).to(dtype)
    samples = torch.randperm(SAMPLES, generator=seeded(seed + 100))[:BATCH]
    return Embedded(z.requires_grad_(), teacher, samples=samples)


def inter(**options: object) -> InterCLR:
    return InterCLR(DIM, SAMPLES, 3, queue=20, min_members=4, negatives=6, pool_size=12, **options)


MAKERS: dict[str, Callable[[], Objective]] = {
    "moco": lambda: MoCo(DIM, queue=20),
    "mochi": lambda: MoCHi(DIM, queue=20, hardest=6, mixed=5, query_mixed=3),
    "inter_clr": inter,
}
every = pytest.mark.parametrize("name", MAKERS)


def make(name: str, seed: int = 0) -> Objective:
    torch.manual_seed(seed)
    return MAKERS[name]()


def train(objective: Objective, steps: int, start: int = 0) -> list[float]:
    return [objective(batch(step))[0].item() for step in range(start, start + steps)]


def state(objective: Objective) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in objective.state_dict().items()}


def test_queries_meet_the_teachers_other_views() -> None:
    given = batch(0, views=3)
    queries, keys = cross_view_pairs(given, "test")
    rows = list(zip(queries.view(BATCH, 6, DIM)[2], keys.view(BATCH, 6, DIM)[2], strict=True))
    expected = [(given.z[2, v], given.teacher[2, w]) for v in range(3) for w in range(3) if v != w]
    for got, wanted in zip(rows, expected, strict=True):
        assert torch.equal(got[0], wanted[0]) and torch.equal(got[1], wanted[1])
    crops = Embedded(given.z, given.teacher[:, :2])
    queries, keys = cross_view_pairs(crops, "test")  # the third is a small crop: a query only
    assert queries.shape == keys.shape == (BATCH * 4, DIM)
    assert not (keys[:, None] == given.teacher[:, 2]).all(dim=-1).any()


@pytest.mark.parametrize("views", [2, 3])
def test_moco_is_the_mean_over_ordered_pairs_against_the_queue_of_before(views: int) -> None:
    objective, given = make("moco"), batch(0, views)
    queue = objective.queue()
    pairs = [(v, w) for v in range(views) for w in range(views) if v != w]
    expected = torch.stack([moco_loss(given.z[:, v], given.teacher[:, w], queue) for v, w in pairs]).mean()
    loss, terms = objective(given)
    torch.testing.assert_close(loss, expected)
    assert terms["moco"] == loss and not terms["moco"].requires_grad
    loss.backward()
    assert given.z.grad.abs().min() > 0


def test_all_views_of_the_teacher_enter_the_queue_as_unit_vectors() -> None:
    objective, given = make("moco"), batch(0)
    objective(given)
    rows = normalize(given.teacher.flatten(0, 1), dim=1)
    torch.testing.assert_close(objective.queue()[:16], rows)
    again = batch(0)
    # Now the queue holds the keys themselves, so each costs at least as much as choosing between two equal ones.
    assert objective(again)[0] > torch.log(torch.tensor(2.0))


@every
def test_state_moves_only_while_training(name: str) -> None:
    objective = make(name)
    train(objective, 10)
    before = state(objective)
    objective.eval()
    first, second = train(objective, 1), train(objective, 1)
    changed = {key for key, value in state(objective).items() if not torch.equal(value, before[key])}
    assert changed <= {"draws"}
    if name == "moco":
        assert first == second
    objective.train()
    train(objective, 1)
    after = state(objective)
    moving = [key for key in after if key.endswith(("queue.rows", "queue.written", "bank.features", "bank.visits"))]
    assert moving and not any(torch.equal(after[key], before[key]) for key in moving)


@every
def test_the_loss_is_of_the_state_before_the_batch(name: str) -> None:
    objective, twin = make(name), make(name)
    train(objective, 10), train(twin, 10)
    twin.eval()
    assert objective(batch(50))[0].item() == twin(batch(50))[0].item()


@every
def test_runs_are_repeatable_and_leave_the_global_generator_alone(name: str) -> None:
    runs = []
    for seed in (1, 2):
        objective = make(name)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        runs.append((train(objective, 15), state(objective)))
        assert torch.equal(torch.get_rng_state(), before)
    assert runs[0][0] == runs[1][0]
    for key, value in runs[0][1].items():
        assert torch.equal(value, runs[1][1][key]), key


@every
@pytest.mark.parametrize("stop", [3, 12])
def test_a_checkpoint_goes_on_as_if_never_stopped(name: str, stop: int) -> None:
    whole, first, second = make(name), make(name), make(name, seed=9)
    expected = train(whole, 18)
    train(first, stop)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert train(second, 18 - stop, stop) == expected[stop:]
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@every
def test_only_the_online_embeddings_get_a_gradient(name: str) -> None:
    objective = make(name)
    train(objective, 10)
    given = batch(60)
    given.teacher.requires_grad_()
    objective(given)[0].backward()  # after the state has moved
    assert given.z.grad.isfinite().all() and given.z.grad.abs().max() > 0
    assert given.teacher.grad is None
    assert not any(value.requires_grad for value in objective.state_dict().values())


@every
def test_order_of_the_batch(name: str) -> None:
    """Draws go to places in the batch, so only MoCo's value is the same whatever the order."""
    objective = make(name).eval()
    given, order = batch(0), torch.randperm(BATCH, generator=seeded(1))
    moved = Embedded(given.z[order], given.teacher[order], samples=given.samples[order])
    value, permuted = objective(given)[0].item(), objective(moved)[0].item()
    assert permuted == pytest.approx(value, rel=1e-6) or name == "mochi"
    flipped = Embedded(given.z.flip(1), given.teacher.flip(1), samples=given.samples)
    assert objective(flipped)[0].item() == pytest.approx(value, rel=1e-6) or name == "mochi"


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    objective, exact = make(name), make(name)
    for step in range(10):
        given = batch(step, dtype=dtype)
        with torch.autocast("cpu", dtype=dtype):
            loss, _ = objective(given)
        wide = Embedded(given.z.detach().double(), given.teacher.double(), samples=given.samples)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact(wide)[0].item(), rel=1e-2)
        loss.backward()
        assert given.z.grad.dtype == dtype and given.z.grad.isfinite().all()


@every
def test_broken_embeddings_show_in_the_loss_and_not_in_the_state(name: str) -> None:
    objective = make(name)
    train(objective, 10)
    bad = batch(70)
    broken = Embedded((bad.z * float("nan")), bad.teacher * float("inf"), samples=bad.samples)
    assert objective(broken)[0].isnan()
    for key, value in objective.state_dict().items():
        assert not value.is_floating_point() or value.isfinite().all(), key
    assert torch.tensor(train(objective, 3, 80)).isfinite().all()


def test_mochi_is_moco_during_warm_up_and_above_it_afterwards() -> None:
    torch.manual_seed(0)
    mixed = MoCHi(DIM, queue=20, hardest=6, mixed=5, query_mixed=3, warmup=3)
    plain = make("moco")
    mixed.load_state_dict({**plain.state_dict(), "batches": mixed.batches})
    first, second = train(plain, 6), train(mixed, 6)
    assert first[:3] == second[:3] and all(a < b for a, b in zip(first[3:], second[3:], strict=True))
    mixed.eval()
    train(mixed, 1)
    assert mixed.batches == 6


def test_inter_clr_is_moco_until_there_are_clusters_and_joins_two_terms_then() -> None:
    torch.manual_seed(0)
    objective, plain = inter(), make("moco")
    objective.intra.load_state_dict(plain.state_dict())
    for step in range(12):
        clustered = objective.bank.clustered
        loss, terms = objective(batch(step))
        intra = plain(batch(step))[0].item()
        assert terms["intra"].item() == intra
        assert loss.item() == pytest.approx(0.75 * intra + 0.25 * terms["inter"].item(), rel=1e-6)
        assert (terms["inter"] > 0) == clustered == (step >= SAMPLES // BATCH)


def test_inter_term_by_hand() -> None:
    """All other members as negatives and two members to a cluster: nothing is left to chance."""
    objective = InterCLR(DIM, 4, 2, weight=1.0, queue=4, min_members=2, negatives=2, pool="hard", pool_size=2)
    axes = torch.eye(DIM)[[0, 1, 0, 1]]
    objective.bank.initialise(axes + 0.1 * torch.randn(4, DIM, generator=seeded()))
    features = objective.bank.features
    given = Embedded(batch(0).z[:2], batch(0).teacher[:2], samples=torch.tensor([3, 0]))
    mates, others = features[[1, 1, 2, 2]], torch.tensor([[0, 2], [0, 2], [1, 3], [1, 3]])
    expected = inter_clr_loss(given.z.flatten(0, 1), mates, features, others)
    torch.testing.assert_close(objective.eval()(given)[0], expected)


def test_inter_term_leaves_out_samples_that_the_bank_has_not_met() -> None:
    objective = inter(weight=1.0)
    train(objective, 8)
    objective.bank.labels[0] = -1
    met = objective.bank.labels >= 0
    samples = torch.tensor([0, *met.nonzero()[:7, 0].tolist()])
    given = batch(0)
    objective.eval()(Embedded(given.z, given.teacher, samples=samples))[0].backward()
    assert given.z.grad[0].abs().max() == 0 and given.z.grad[1:].abs().amin() > 0
    alone = objective(Embedded(given.z, given.teacher, samples=torch.zeros(BATCH, dtype=torch.long)))
    assert alone[0] == 0 and alone[1]["inter"] == 0


def test_the_bank_holds_the_mean_direction_of_the_teachers_views() -> None:
    objective, given = inter(), batch(0)
    objective(given)
    expected = normalize(normalize(given.teacher, dim=2).mean(1), dim=1)
    torch.testing.assert_close(objective.bank.features[given.samples], expected)


def test_defaults_follow_the_papers() -> None:
    assert MoCo(DIM).queue().shape == (65536, DIM) and MoCo(DIM).momentum == (0.999, 0.999)
    large = InterCLR(2, 1281167, queue=8)
    assert large.count == 16399 and large.pool_size == 128117 and len(large.bank.centroids) == 10009


@every
def test_errors(name: str) -> None:
    objective, given = make(name), batch(0)
    with pytest.raises(ValueError, match="needs the embeddings of a momentum teacher, got teacher None"):
        objective(Embedded(given.z, samples=given.samples))
    with pytest.raises(ValueError, match=r"W, D\) with 1 <= W <= V, got \(8, 2, 5\) and \(7, 2, 5\)"):
        objective(Embedded(given.z, given.teacher[:7], samples=given.samples))
    with pytest.raises(ValueError, match=r"at least 2 views, got 1 \(shape \(8, 1, 5\)\)"):
        objective(Embedded(given.z[:, :1], given.teacher[:, :1], samples=given.samples))
    assert not any(int(value) for key, value in objective.state_dict().items() if key.endswith("written"))


def test_option_errors() -> None:
    with pytest.raises(ValueError, match="hardest 1024, queue 512"):
        MoCHi(DIM, queue=512)
    with pytest.raises(ValueError, match="positions \\(8,\\) of the samples in the dataset, got None"):
        inter()(Embedded(batch(0).z, batch(0).teacher))
    with pytest.raises(ValueError, match="negatives <= pool_size <= 48 samples, got 12 and 5"):
        InterCLR(DIM, SAMPLES, 2, negatives=12, pool_size=0.1)
    with pytest.raises(ValueError, match="inter-image term in \\[0, 1\\], got 2"):
        inter(weight=2)
    with pytest.raises(ValueError, match="that 30 samples can fill, got 2 clusters of 20"):
        InterCLR(DIM, 30)
    with pytest.raises(ValueError, match="below the bank's 48 samples, got 0 to 60"):
        inter()(Embedded(batch(0).z, batch(0).teacher, samples=torch.tensor([0, 1, 2, 3, 4, 5, 6, 60])))
