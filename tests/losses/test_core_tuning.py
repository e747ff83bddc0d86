"""Core-tuning's mixtures and focal contrast against closed forms and the definition written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot

from equissl.losses import draw_shares, focal_supcon, hard_mixtures, hardest_pairs, similarity, supcon


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 2, 1])


def targets_of(labels: Tensor, classes: int = 3) -> Tensor:
    return one_hot(labels, classes).double()


@pytest.mark.parametrize("blocked", [False, True])
def test_hardest_pairs_are_the_definition(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 100 if blocked else 2**26)
    features = random(8, 4)
    found = hardest_pairs(features, LABELS)
    for i in range(8):
        cosines = {j: float(cosine_similarity(features[i], features[j], dim=0)) for j in range(8) if j != i}
        positives = [j for j in cosines if LABELS[j] == LABELS[i]]
        negatives = [j for j in cosines if LABELS[j] != LABELS[i]]
        assert found[i].tolist() == [min(positives, key=cosines.__getitem__), max(negatives, key=cosines.__getitem__)]


def test_a_similar_row_of_the_class_is_no_positive_because_others_are_masked_to_zero() -> None:
    """The release's argmin of similarity times mask names row 2 here, whose masked similarity is 0."""
    features = torch.tensor([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]])
    assert hardest_pairs(features, torch.tensor([0, 0, 1]))[:2].tolist() == [[1, 2], [0, 2]]


def test_rows_without_a_partner_are_their_own() -> None:
    features = random(3, 4)
    assert hardest_pairs(features, torch.tensor([0, 0, 1]))[2, 0] == 2
    assert hardest_pairs(features, torch.zeros(3, dtype=torch.long))[:, 1].tolist() == [0, 1, 2]


def test_mixtures_are_the_definition() -> None:
    features, targets = random(8, 4), targets_of(LABELS)
    mixed, soft = hard_mixtures(features, targets, LABELS, generator=seeded(3))
    torch.testing.assert_close(mixed[:8], features)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(24).double())
    pairs = hardest_pairs(features, LABELS)
    for i in range(8):
        positive, negative = pairs[i]
        share = soft[16 + i, LABELS[positive]]  # of the hardest positive
        torch.testing.assert_close(mixed[16 + i], share * features[positive] + (1 - share) * features[negative])
        # the semi-hard negative lies between the row and some other, at least four fifths of the way
        ways = [(mixed[8 + i] - features[i]) @ (x - features[i]) / (x - features[i]).square().sum() for x in features]
        fits = [
            j for j, way in enumerate(ways)
            if j != i and torch.allclose(mixed[8 + i], features[i] + way * (features[j] - features[i]))
        ]  # fmt: skip
        if fits:
            assert 0.8 - 1e-6 <= ways[fits[0]] <= 1 + 1e-6
            torch.testing.assert_close(soft[8 + i], targets[i] + ways[fits[0]] * (targets[fits[0]] - targets[i]))
        else:
            torch.testing.assert_close(mixed[8 + i], features[i])  # it drew itself


def test_features_themselves_get_no_gradient() -> None:
    features = random(8, 4).requires_grad_()
    mixed, _ = hard_mixtures(features, targets_of(LABELS), LABELS, generator=seeded())
    assert torch.autograd.grad(mixed[:8].sum() + 0 * mixed.sum(), features, retain_graph=True)[0].abs().max() == 0
    assert torch.autograd.grad(mixed[8:].square().sum(), features)[0].abs().min(dim=1).values.max() > 0


def test_same_draws_same_mixtures() -> None:
    def mixed(seed: int) -> Tensor:
        return hard_mixtures(random(8, 4), targets_of(LABELS), LABELS, generator=seeded(seed))[0]

    assert torch.equal(mixed(1), mixed(1)) and not torch.equal(mixed(1), mixed(2))


@pytest.mark.parametrize("concentration", [0.2, 1.0, 8.0])
def test_shares_have_the_moments_of_beta(concentration: float) -> None:
    shares = draw_shares((20_000,), concentration, seeded()).double()
    assert shares.min() >= 0 and shares.max() <= 1
    variance = 1 / (4 * (2 * concentration + 1))
    assert shares.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(variance / 20_000))
    assert shares.var().item() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_orthonormal_pairs(temperature: float) -> None:
    """Two equal rows of each of B classes: p = 1 / (1 + 2 (B - 1) exp(-1 / temperature))."""
    classes = 5
    z = torch.eye(classes, dtype=torch.float64).repeat(2, 1)
    p = 1 / (1 + 2 * (classes - 1) * math.exp(-1 / temperature))
    targets = targets_of(torch.arange(classes).repeat(2), classes)
    expected = -(1 - p) * math.log(p)
    assert focal_supcon(z, targets, temperature).item() == pytest.approx(expected, rel=1e-9)
    columns = focal_supcon(z, targets, temperature, average="columns").item()
    assert columns == pytest.approx(expected / (2 * classes), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_never_above_supcon(seed: int) -> None:
    z = random(8, 1, 4, seed=seed)
    focal, plain = focal_supcon(z[:, 0], targets_of(LABELS), 0.3), supcon(z, LABELS, 0.3)
    assert focal < plain
    # at a high temperature every positive has p = 1 / (N - 1)
    flat = focal_supcon(z[:, 0], targets_of(LABELS), 1e6) / supcon(z, LABELS, 1e6)
    assert flat.item() == pytest.approx(1 - 1 / 7, rel=1e-5)


def test_focal_contrast_is_the_definition() -> None:
    z, targets = random(9, 4), torch.cat([targets_of(LABELS), torch.tensor([[0.5, 0.5, 0.0]]).double()])
    unit = torch.nn.functional.normalize(z, dim=1)
    losses = []
    for i in range(8):  # the ninth has a label vector of its own: a key, and no anchor
        p = {j: float(torch.exp(unit[i] @ unit[j] / 0.2)) for j in range(9) if j != i}
        shares = [p[j] / sum(p.values()) for j in range(8) if j != i and LABELS[j] == LABELS[i]]
        losses.append(sum(-(1 - share) * math.log(share) for share in shares) / len(shares))
    assert focal_supcon(z, targets, 0.2).item() == pytest.approx(sum(losses) / 8, rel=1e-9)


def test_no_positives_cost_nothing() -> None:
    z = random(3, 4).requires_grad_()
    loss = focal_supcon(z, torch.eye(3).double())
    loss.backward()
    assert loss == 0 and z.grad is not None and z.grad.abs().max() == 0


def test_gradient() -> None:
    targets = targets_of(LABELS)
    assert torch.autograd.gradcheck(lambda z: focal_supcon(z, targets, 0.5), random(8, 6).requires_grad_())
    assert torch.autograd.gradcheck(
        lambda x: hard_mixtures(x, targets, LABELS, generator=seeded())[0][8:], random(8, 6).requires_grad_()
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hardest_pairs(random(4, 2), LABELS), r"features \(N, D\) and labels \(N,\), got \(4, 2\) and \(8,\)"),
        (lambda: focal_supcon(random(4, 2), targets_of(LABELS)), r"got \(4, 2\) and \(8, 3\)"),
        (lambda: focal_supcon(random(1, 2), torch.ones(1, 1)), "at least 2 rows, got 1"),
        (lambda: focal_supcon(random(8, 2), targets_of(LABELS), average="all"), "'positives' or 'columns', got 'all'"),
        (lambda: draw_shares((2,), 0.0), "concentration above 0, got 0.0"),
        (lambda: hard_mixtures(random(8, 2), targets_of(LABELS), LABELS, least=1.5), r"in \[0, 1\], got 1.5"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
