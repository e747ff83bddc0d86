"""SupReMix against loops over anchors, SupCon, and the geometry of its mixed labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.geometry import euler_to_rotmat, geodesic_angle, random_rotmat, rotmat_to_unitquat, unitquat_to_rotmat
from equissl.losses import similarity
from equissl.losses.label_mixtures import Mixing, Mixtures, mix_negatives, mix_positives
from equissl.losses.label_spaces import ANGLES, ROTATIONS, SCALARS, LabelSpace, slerp
from equissl.losses.sup_re_mix import sup_re_mix, sup_re_mix_anchors
from equissl.losses.supcon import supcon

NONE = Mixing(negatives=0, positives=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def by_loops(
    z: Tensor,
    distance: Tensor,
    negatives: Mixtures | None,
    positives: Mixtures | None,
    tau: float,
    magnify: str,
    tolerance: float = 0.0,
) -> float:
    """Anchor by anchor, key by key, with plain exponentials."""
    rows, losses = normalize(z.flatten(0, 1), dim=1), []

    def weight(d: float) -> float:
        return {"l1": 1 + d, "l2": 1 + d * d, "none": 1}[magnify]

    def mixture(drawn: Mixtures, i: int, m: int) -> Tensor:
        j, k = drawn.parts[i, m].tolist()
        return drawn.share[i, m] * rows[j] + (1 - drawn.share[i, m]) * rows[k]

    for i, row in enumerate(rows):
        scores, total = [], 0.0
        for a, other in enumerate(rows):
            if a == i:
                continue
            score = (row @ other).item() / tau
            if distance[i, a] <= tolerance:
                scores.append(score)
                total += math.exp(score)
            else:
                total += weight(distance[i, a].item()) * math.exp(score)
        for drawn, is_positive in ((negatives, False), (positives, True)):
            for m in range(0 if drawn is None else drawn.share.shape[1]):
                if drawn.valid[i, m]:
                    score = (row @ mixture(drawn, i, m)).item() / tau
                    total += math.exp(score) * (1 if is_positive else weight(drawn.distance[i, m].item()))
                    scores += [score] if is_positive else []
        losses.append(sum(math.log(total) - score for score in scores) / max(1, len(scores)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("views", [1, 2, 3])
def test_without_mixtures_and_weights_it_is_supcon(views: int) -> None:
    z, labels = random(6, views, 5), torch.tensor([30, 25, 30, 40, 25, 30])
    value = sup_re_mix(z, labels[:, None].expand(6, views), mixing=NONE, magnify="none")
    assert value.item() == pytest.approx(supcon(z, labels).item(), rel=1e-12)


@pytest.mark.parametrize("magnify", ["l1", "l2", "none"])
@pytest.mark.parametrize("window", [math.inf, 12.0])
def test_numbers_match_the_loops(magnify: str, window: float) -> None:
    z = random(5, 2, 4)
    labels = torch.tensor([30.0, 25, 40, 25, 33])[:, None].repeat(1, 2)
    mixing = Mixing(negatives=3, positives=4, window=window)
    flat = labels.double().flatten()[:, None]
    source = seeded(1)
    drawn = mix_negatives(flat, SCALARS, mixing, 0.0, source), mix_positives(flat, SCALARS, mixing, 0.0, source)
    expected = by_loops(z, (flat - flat.T).abs(), *drawn, 0.3, magnify)
    value = sup_re_mix(z, labels, SCALARS, 0.3, mixing, magnify=magnify, generator=seeded(1))
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_rotations_and_hues_match_the_loops() -> None:
    z, mixing = random(6, 3, 4), Mixing(negatives=3, positives=4, window=1.5, candidates=100)
    turns = euler_to_rotmat(0.5 * random(6, 3, 3, seed=2))
    hues = 3 * random(6, 3, 2, seed=3)
    flat_turns, flat_hues = turns.flatten(0, 1), hues.flatten(0, 1)
    arcs = (flat_hues[:, None] - flat_hues).remainder(2 * math.pi)
    cases = (
        (turns, ROTATIONS, rotmat_to_unitquat(flat_turns), geodesic_angle(flat_turns[:, None], flat_turns)),
        (hues, ANGLES, flat_hues, torch.minimum(arcs, 2 * math.pi - arcs).norm(dim=2)),
    )
    for labels, space, places, distance in cases:
        source = seeded(1)
        drawn = mix_negatives(places, space, mixing, 0.2, source), mix_positives(places, space, mixing, 0.2, source)
        assert drawn[1].valid.any()
        expected = by_loops(z, distance, *drawn, 0.3, "l1", 0.2)
        value = sup_re_mix(z, labels, space, 0.3, mixing, 0.2, generator=seeded(1))
        assert value.item() == pytest.approx(expected, rel=1e-9)


def test_mixed_positive_of_the_paper() -> None:
    """25 < 30 < 40: two thirds of 25 and one third of 40 make 30."""
    labels = torch.tensor([[30.0], [25], [40]], dtype=torch.float64)
    for space in (SCALARS, ANGLES):  # drawn from all that fit, and by candidates
        scaled = labels if space is SCALARS else labels / 40
        drawn = mix_positives(scaled, space, Mixing(positives=5), 0.0, seeded())
        assert drawn.valid[0].any() and not drawn.valid[1:].any()
        parts, share = drawn.parts[0][drawn.valid[0]], drawn.share[0][drawn.valid[0]]
        torch.testing.assert_close(share, torch.where(parts[:, 0] == 1, 2 / 3, 1 / 3).double())
        mixed = share * scaled[parts[:, 0], 0] + (1 - share) * scaled[parts[:, 1], 0]
        torch.testing.assert_close(mixed, scaled[0].expand_as(mixed))


def test_numbers_by_candidates_find_the_same_kind_of_pairs() -> None:
    labels = torch.tensor([30.0, 25, 40, 25, 33, 30, 28]).double()[:, None]
    copy = LabelSpace(SCALARS.coordinates, SCALARS.distance, SCALARS.between)  # not recognised as numbers
    drawn = mix_positives(labels, copy, Mixing(positives=50, window=8.0, candidates=200), 0.0, seeded())
    first, second = (labels[drawn.parts[..., p], 0] for p in (0, 1))
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    between = (low < labels) & (labels < high) & (labels - low <= 8) & (high - labels <= 8)
    assert (between | ~drawn.valid).all() and drawn.valid.any(dim=1).tolist() == [
        True,
        False,
        False,
        False,
        True,
        True,
        True,
    ]
    mixed = drawn.share * first + (1 - drawn.share) * second
    torch.testing.assert_close(mixed[drawn.valid], labels.expand_as(mixed)[drawn.valid])


def test_hard_negatives_lie_between_the_anchor_and_another_label() -> None:
    labels = torch.tensor([30.0, 25, 40, 25]).double()[:, None]
    drawn = mix_negatives(labels, SCALARS, Mixing(negatives=400), 0.0, seeded())
    own, partner = drawn.parts.unbind(-1)
    assert torch.equal(own, torch.arange(4)[:, None].expand(4, 400)) and not (own == partner).any()
    assert torch.equal(drawn.valid, labels[own, 0] != labels[partner, 0])
    mixed = drawn.share * labels[own, 0] + (1 - drawn.share) * labels[partner, 0]
    torch.testing.assert_close(drawn.distance, (mixed - labels).abs())
    counts = torch.stack([(partner[i] == k).sum() for i in range(4) for k in range(4) if k != i])
    assert counts.min() > 100 and counts.max() < 170


@pytest.mark.parametrize("alpha", [(2, 8), (8, 2), (5, 5)])
def test_shares_follow_the_beta_distribution(alpha: tuple[int, int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    labels = torch.arange(20).double()[:, None]
    shares = mix_negatives(labels, SCALARS, Mixing(negatives=200, alpha=alpha), 0.0, seeded()).share
    assert stats.kstest(shares.flatten().numpy(), stats.beta(*alpha).cdf).pvalue > 0.01


def test_slerp_matches_scipy() -> None:
    transform = pytest.importorskip("scipy.spatial.transform")
    a, b = (rotmat_to_unitquat(random_rotmat(20, seeded(s), torch.float64)) for s in (0, 1))
    for fraction in (0.0, 0.3, 1.0):
        ours = unitquat_to_rotmat(slerp(a, b, torch.full((20,), fraction, dtype=torch.float64)))
        for i in range(20):
            ends = transform.Rotation.from_quat(torch.stack((a[i], b[i])).numpy())
            expected = transform.Slerp([0, 1], ends)(fraction).as_matrix()
            torch.testing.assert_close(ours[i], torch.from_numpy(expected), rtol=1e-9, atol=1e-9)
    near = normalize(a + 1e-7 * b, dim=1)
    assert torch.isfinite(slerp(a, near, torch.tensor(0.5).double())).all()
    torch.testing.assert_close(slerp(a, a, torch.tensor(0.5).double()), a)


def test_mixed_positives_of_rotations_are_geodesics_through_the_anchor() -> None:
    turns = euler_to_rotmat(0.6 * random(40, 3))
    places = ROTATIONS.coordinates(turns)
    drawn = mix_positives(places, ROTATIONS, Mixing(positives=6, window=1.0, candidates=600), 0.15, seeded())
    assert drawn.valid.any(dim=1).float().mean() > 0.5
    for i, m in drawn.valid.nonzero().tolist():
        j, k = drawn.parts[i, m].tolist()
        step = turns[j].T @ turns[k]
        angle = geodesic_angle(turns[j], turns[k])
        axis = torch.stack((step[2, 1] - step[1, 2], step[0, 2] - step[2, 0], step[1, 0] - step[0, 1]))
        vector = normalize(axis, dim=0) * angle * (1 - drawn.share[i, m])
        cross = torch.zeros(3, 3).double()
        cross[2, 1], cross[0, 2], cross[1, 0] = vector
        passing = turns[j] @ torch.linalg.matrix_exp(cross - cross.T)
        off = geodesic_angle(passing, turns[i])
        assert off.item() == pytest.approx(drawn.distance[i, m].item(), abs=1e-6) and off <= 0.15 + 1e-6
        for part in (j, k):
            assert 0.15 < geodesic_angle(turns[i], turns[part]) <= 1.0


def test_turns_about_one_axis_mix_exactly_and_spread_poses_hardly() -> None:
    angles = torch.linspace(-1.2, 1.2, 15, dtype=torch.float64)
    flat = euler_to_rotmat(torch.stack((0 * angles, 0 * angles, angles), dim=1))
    places = ROTATIONS.coordinates(flat)
    drawn = mix_positives(places, ROTATIONS, Mixing(positives=4, candidates=100), 1e-9, seeded())
    assert drawn.valid.any(dim=1).tolist() == [False] + [True] * 13 + [False]
    spread = ROTATIONS.coordinates(random_rotmat(15, seeded(), torch.float64))
    assert not mix_positives(spread, ROTATIONS, Mixing(positives=4, candidates=100), 1e-9, seeded()).valid.any()


def test_equal_labels_have_no_negatives_and_no_mixtures() -> None:
    z, labels = random(4, 2, 5), torch.full((4, 2), 7.0)
    value, positives = sup_re_mix_anchors(z, labels, generator=seeded())
    assert positives.tolist() == [7] * 8
    assert value.mean().item() == pytest.approx(supcon(z, torch.zeros(4)).item(), rel=1e-12)


def test_weights_add_their_logarithm_to_a_logit() -> None:
    """One negative at distance 3 counts as four."""
    z = torch.eye(3).double()[:, None][[0, 0, 1]]
    labels = torch.tensor([1.0, 1, 4])[:, None]
    values = {m: sup_re_mix(z, labels, temperature=1.0, mixing=NONE, magnify=m).item() for m in ("none", "l1", "l2")}
    for magnify, weight in (("none", 1), ("l1", 4), ("l2", 10)):  # the third row has no positive: it costs 0
        assert values[magnify] == pytest.approx(2 / 3 * math.log1p(weight / math.e))


def test_rows_without_positives_cost_nothing() -> None:
    z = random(4, 1, 5).requires_grad_()
    value, positives = sup_re_mix_anchors(z, torch.arange(4)[:, None], mixing=NONE)
    assert value.tolist() == [0] * 4 and positives.tolist() == [0] * 4
    assert torch.autograd.grad(value.sum(), z)[0].abs().max() == 0


def test_gradients() -> None:
    z, labels = random(4, 3, 6), torch.tensor([30.0, 25, 40, 33])[:, None].repeat(1, 3)
    for normalized in (False, True):
        mixing = Mixing(2, 2, detach=False, normalize=normalized)
        assert torch.autograd.gradcheck(
            lambda z, m=mixing: sup_re_mix(z, labels, temperature=0.4, mixing=m, generator=seeded()), z.requires_grad_()
        )
    # Detached mixtures are constants to the anchor: the gradient of the loss in which they are frozen.
    flat, mixing, source = labels.double().flatten()[:, None], Mixing(3, 0), seeded()
    drawn = mix_negatives(flat, SCALARS, mixing, 0.0, source)
    unit = normalize(z, dim=2).flatten(0, 1)
    share = drawn.share[..., None]
    frozen = (share * unit[drawn.parts[..., 0]] + (1 - share) * unit[drawn.parts[..., 1]]).detach()
    apart = (flat - flat.T).abs()
    away = ~torch.eye(12, dtype=torch.bool)
    extra = (frozen @ unit[:, :, None]).squeeze(2) / 0.4 + drawn.distance.log1p()
    extra = extra.masked_fill(~drawn.valid, -math.inf)
    logits = unit @ unit.T / 0.4
    same = (apart == 0) & away
    denominator = torch.cat(((logits + apart.log1p()).masked_fill(~away, -math.inf), extra), dim=1).logsumexp(1)
    expected = (denominator - (logits * same).sum(1) / same.sum(1)).mean()
    value = sup_re_mix(z, labels, temperature=0.4, mixing=mixing, generator=seeded())
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], torch.autograd.grad(expected, z)[0])


def test_symmetries() -> None:
    z, labels = random(6, 3, 5), random(6, 3, seed=1).mul(2).round()
    turn = torch.linalg.qr(random(5, 5)).Q
    value = sup_re_mix(z, labels, mixing=NONE).item()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert sup_re_mix(z[order], labels[order], mixing=NONE).item() == pytest.approx(value, rel=1e-12)
    assert sup_re_mix(z[:, [2, 0, 1]], labels[:, [2, 0, 1]], mixing=NONE).item() == pytest.approx(value, rel=1e-12)
    mixed = sup_re_mix(z, labels, generator=seeded()).item()
    moved = sup_re_mix(z @ turn * random(6, 3, 1).exp(), labels + 5, generator=seeded()).item()
    assert moved == pytest.approx(mixed, rel=1e-12) and mixed != pytest.approx(value, rel=1e-3)
    assert sup_re_mix(z, labels, generator=seeded(1)).item() != pytest.approx(mixed, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "collapsed", "orthonormal"])
def test_half_precision(dtype: torch.dtype, kind: str) -> None:
    z = {
        "random": random(12, 3, 16),
        "collapsed": torch.full((12, 3, 16), 0.7),
        "orthonormal": torch.eye(12)[:, None].repeat(1, 3, 1),
    }[kind].to(dtype)
    exact, labels = z.double(), (torch.arange(12) // 2)[:, None].repeat(1, 3)
    z.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = sup_re_mix(z, labels, generator=seeded())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(sup_re_mix(exact, labels, generator=seeded()).item(), rel=1e-2)
    value.backward()
    assert z.grad is not None and z.grad.dtype == dtype and z.grad.isfinite().all()


@pytest.mark.parametrize("space", [SCALARS, ROTATIONS], ids=["scalars", "rotations"])
def test_blocks_change_nothing(space: LabelSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    z = random(5, 2, 6).requires_grad_()
    labels = random(5, 2, seed=1).round() if space is SCALARS else euler_to_rotmat(0.4 * random(5, 2, 3))

    def loss(z: Tensor) -> Tensor:
        return sup_re_mix(z, labels, space, tolerance=0.3, generator=seeded())

    expected = loss(z)
    gradient = torch.autograd.grad(expected, z)[0]
    assert gradient.abs().max() > 0
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 250)  # three anchors at a time
    value = loss(z)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("mixing", [NONE, Mixing()], ids=["rows", "mixtures"])
def test_compilation_changes_nothing(mixing: Mixing) -> None:
    torch.compiler.reset()
    z, labels = random(5, 2, 6).requires_grad_(), random(5, 2, seed=1).round()

    def loss(z: Tensor) -> Tensor:
        torch.manual_seed(0)  # a generator would break the graph
        return sup_re_mix(z, labels, mixing=mixing)

    expected, value = loss(z), torch.compile(loss, backend="aot_eager")(z)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(v, z)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("mixing", [NONE, Mixing()], ids=["rows", "mixtures"])
def test_zero_and_broken_vectors(bad: float, mixing: Mixing) -> None:
    z, labels = random(4, 2, 5), torch.arange(4)[:, None].repeat(1, 2)
    z[1] = 0
    z.requires_grad_()
    value = sup_re_mix(z, labels, mixing=mixing, generator=seeded())
    gradient = torch.autograd.grad(value, z)[0]
    assert value.isfinite() and gradient.isfinite().all() and gradient[1].abs().max() == 0
    broken = random(4, 2, 5)
    broken[2, 1, 3] = bad
    assert sup_re_mix(broken, labels, mixing=mixing).isnan()
    assert sup_re_mix(broken, torch.arange(8).view(4, 2), mixing=NONE).isnan()  # no anchor has a positive


def test_errors() -> None:
    z, labels = random(4, 2, 5), torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"labels \(4, 2, ...\), got \(4,\)"):
        sup_re_mix(z, labels[:, 0])
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        sup_re_mix(z[:1], labels[:1])
    with pytest.raises(ValueError, match=r"shape \(B, V, D\), got \(4, 5\)"):
        sup_re_mix(z[:, 0], labels)
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        sup_re_mix(z, labels, temperature=0)
    with pytest.raises(ValueError, match=r"tolerance >= 0 .* got -1 and 'l1'"):
        sup_re_mix(z, labels, tolerance=-1)
    with pytest.raises(ValueError, match=r"got 0\.0 and 'l3'"):
        sup_re_mix(z, labels, magnify="l3")
    with pytest.raises(ValueError, match=r"two positive whole numbers, got \(0.5, 1\)"):
        Mixing(alpha=(0.5, 1))
    with pytest.raises(ValueError, match=r"0 or more mixtures.* got -1 and 8"):
        Mixing(negatives=-1)
