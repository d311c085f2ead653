"""Reference values of the methods that weigh losses, and wrong variants that must not pass.

The values for the losses (1, 4, 9) come from an independent NumPy replica in float64, to six
decimals; updates are compared with formulas and optimizers written out here.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from polytask.aggregation import IMTL
from polytask.balancing import (
    DWA,
    FAMO,
    IMTLL,
    UWSO,
    GeometricMean,
    PerformanceWeights,
    PlainSmoothTchebycheff,
    RandomWeights,
    SmoothTchebycheff,
    UncertaintyWeights,
)

L = (1.0, 4.0, 9.0)
SIX = 1e-6  # the values are printed to six decimals; weights are below 10


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def at(balancer, losses=L):
    leaf = vector(*losses).requires_grad_()
    objective = balancer(leaf)
    objective.backward()
    return objective.item(), leaf.grad.numpy()


def stch_at(nadir, mu=1.0):
    balancer = SmoothTchebycheff(len(nadir), mu=mu, warmup_epochs=1)
    balancer(vector(*nadir))
    balancer.end_epoch()
    return balancer


def imtl_l_at_the_minimum():
    balancer = IMTLL(3).double()
    with torch.no_grad():
        balancer.log_scales.copy_(-vector(*L).log())
    return balancer


VALUES = [
    ("GLS", lambda: GeometricMean(3), 3.301927, (1.100642, 0.275161, 0.122294)),
    ("STCH", lambda: PlainSmoothTchebycheff(3), 3.229809, (0.018406, 0.050032, 0.264895)),
    ("STCH, multi-task", lambda: stch_at((2, 4, 6)), None, (0.5, 0.25, 1 / 6)),
    ("FAMO", lambda: FAMO(3), 2.632789, (0.734694, 0.183673, 0.081633)),
    ("UW", lambda: UncertaintyWeights(["regression"] * 3), 7.0, (0.5, 0.5, 0.5)),
    ("IMTL-L, s = 0", lambda: IMTLL(3), 14.0, (1.0, 1.0, 1.0)),
    ("IMTL-L, minimum", imtl_l_at_the_minimum, 6.583519, (1.0, 1 / 4, 1 / 9)),
]


@pytest.mark.parametrize(("make", "value", "weights"), [row[1:] for row in VALUES],
                         ids=[row[0] for row in VALUES])  # fmt: skip
def test_losses_one_four_nine(make, value, weights):
    objective, found = at(make())
    np.testing.assert_allclose(found, weights, atol=SIX)
    if value is not None:
        assert objective == pytest.approx(value, abs=SIX)


# ── uncertainty weighting, IMTL-L ───────────────────────────────────────────────────────────


def test_uncertainty_has_two_forms():
    balancer = UncertaintyWeights(["regression", "classification"])
    objective, weights = at(balancer, (2.0, 3.0))
    assert objective == 4.0
    assert weights.tolist() == [0.5, 1.0]
    one_form_for_all = UncertaintyWeights(["regression"] * 2)
    assert at(one_form_for_all, (2.0, 3.0))[1].tolist() != [0.5, 1.0]


def learned(balancer, losses, steps=3000):
    optimizer = torch.optim.SGD(balancer.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        balancer(vector(*losses)).backward()
        optimizer.step()
    (parameter,) = balancer.parameters()
    return parameter.detach().numpy()


def test_log_variances_reach_their_minimum_also_below_zero():
    losses = (0.02, 0.02, 5.0)
    balancer = UncertaintyWeights(["regression", "classification", "regression"]).double()
    found = learned(balancer, losses)
    np.testing.assert_allclose(found, np.log([0.02, 0.04, 5.0]), atol=SIX)
    assert found[0] < 0.0  # a log-variance clamped at zero would never weigh a small loss up
    np.testing.assert_allclose(at(balancer, losses)[1], 0.5 / np.array(losses), atol=1e-4)


def test_imtl_l_is_twice_uncertainty_weighting_with_the_sign_turned():
    one, two = IMTLL(3).double(), UncertaintyWeights(["regression"] * 3).double()
    with torch.no_grad():
        one.log_scales.copy_(vector(0.3, -0.2, 1.0))
        two.log_variances.copy_(-one.log_scales)
    (first, weights), (second, halves) = at(one), at(two)
    assert first == pytest.approx(2 * second, rel=1e-14)
    np.testing.assert_allclose(weights, 2 * halves, rtol=1e-14)
    slope = one.log_scales.grad.numpy()
    np.testing.assert_allclose(slope, np.exp([0.3, -0.2, 1.0]) * L - 1.0, rtol=1e-14)
    np.testing.assert_allclose(learned(IMTLL(2).double(), (0.5, 4.0)), np.log([2, 0.25]), atol=SIX)


def test_uw_so_is_the_softmax_of_inverse_losses():
    inverse = 1.0 / np.array(L)
    for temperature in (0.1, 1.0, 20.0):
        expected = np.exp(inverse / temperature) / np.exp(inverse / temperature).sum()
        objective, weights = at(UWSO(3, temperature))
        np.testing.assert_allclose(weights, expected, rtol=1e-12)
        assert objective == pytest.approx(float(expected @ np.array(L)), rel=1e-12)
    # Without the stop of the gradient the weights would also descend.
    leaf = vector(*L).requires_grad_()
    torch.dot((1.0 / leaf).softmax(0), leaf).backward()
    assert not np.allclose(leaf.grad.numpy(), at(UWSO(3))[1], atol=0.01)


# ── geometric mean ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_forty_losses_in_single_precision(size):
    losses = torch.full((40,), size, requires_grad=True)
    objective = GeometricMean(40)(losses)
    objective.backward()
    assert objective.item() == pytest.approx(size, rel=1e-5)
    assert losses.grad.tolist() == pytest.approx([1 / 40] * 40, rel=1e-5)
    assert not 0.0 < losses.detach().prod().item() < math.inf  # the product itself is lost


def test_without_the_root_or_with_the_order_turned_it_is_not_the_geometric_mean():
    weights = at(GeometricMean(3))[1]
    product = 1.0 * 4 * 9
    no_root = product / np.array(L)
    turned = np.array(L) / (3 * product)
    assert not np.allclose(weights / weights.sum(), turned / turned.sum(), atol=0.1)
    assert not np.allclose(weights, no_root, rtol=0.5)
    np.testing.assert_allclose(weights / weights.sum(), no_root / no_root.sum(), rtol=1e-12)


# ── dynamic weight average ──────────────────────────────────────────────────────────────────


def dwa_after(*epochs, temperature=2.0):
    """Weights after epochs, each a list of losses of its updates."""
    balancer = DWA(len(epochs[0][0]), temperature)
    found = []
    for updates in epochs:
        found.append(at(balancer, (1.0,) * balancer.num_tasks)[1])
        balancer.sums.zero_()
        balancer.updates.zero_()
        for losses in updates:
            balancer(vector(*losses))
        balancer.end_epoch()
    found.append(at(balancer, (1.0,) * balancer.num_tasks)[1])
    return found


def test_dwa_ratios_of_epoch_means():
    first, second, third = dwa_after([(3, 12), (5, 8)], [(1, 8), (3, 10)])
    assert first.tolist() == second.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(third, (0.900332, 1.099668), atol=SIX)  # ratios 0.5 and 0.9


def test_dwa_with_the_wrong_ratio_is_seen():
    expected = (0.900332, 1.099668)
    upside_down = 2 * vector(2.0, 1 / 0.9).div(2).softmax(0).numpy()
    last_updates = 2 * vector(3 / 5, 10 / 8).div(2).softmax(0).numpy()
    no_temperature = 2 * vector(0.5, 0.9).softmax(0).numpy()
    for wrong in (upside_down, last_updates, no_temperature, np.array(expected) / 2):
        assert not np.allclose(wrong, expected, atol=0.01)


def test_dwa_forgets_the_epoch_before_the_last_two():
    *_, last = dwa_after([(900, 1)], [(4, 10)], [(2, 9)])
    np.testing.assert_allclose(last, (0.900332, 1.099668), atol=SIX)


# ── random weights ──────────────────────────────────────────────────────────────────────────


def test_random_weights_are_softmaxes_of_normal_numbers():
    balancer = RandomWeights(3, seed=4)
    drawn = np.array([at(balancer)[1] for _ in range(4000)])
    # log-ratios of softmaxes of N(0, I) are N(0, 2); standard errors are below 0.05
    ratios = np.log(drawn[:, 0] / drawn[:, 1])
    assert abs(ratios.mean()) < 0.1
    assert ratios.var() == pytest.approx(2.0, abs=0.2)
    np.testing.assert_allclose(drawn.mean(0), 1 / 3, atol=0.02)
    uniform = np.random.default_rng(0).random((4000, 3))
    normalised = np.log(uniform[:, 0] / uniform[:, 1])  # another distribution is seen
    assert normalised.var() != pytest.approx(2.0, abs=0.0001)
    assert drawn.max() > 0.9  # weights drawn from [0, 1) and normalised hardly get there


# ── FAMO ────────────────────────────────────────────────────────────────────────────────────


def famo_replica(steps, decay=1e-3, jacobian=True, decoupled=False):
    """Weights before each of the steps; the logits are moved by torch's own optimizer."""
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([logits], lr=0.025, weight_decay=decay)
    found = []
    for before, after in steps:
        one, two = (np.array(losses) + 1e-8 for losses in (before, after))
        share = torch.softmax(logits.detach(), 0).numpy()
        found.append(share / one / (share / one).sum())
        delta = np.log(one) - np.log(two)
        slope = share * (delta - share @ delta) if jacobian else delta
        logits.grad = torch.from_numpy(slope)
        optimizer.step()
    return np.array(found), logits.detach().numpy()


def famo_steps(number=60):
    """Losses before and after updates; they fall at different rates, some rise now and then."""
    draws = np.random.default_rng(3)
    losses = np.array(L)
    for _ in range(number):
        after = losses * np.exp(draws.normal((-0.05, -0.01, -0.002), 0.03))
        yield losses, after
        losses = after * np.exp(draws.normal(0.0, 0.1, 3))


def test_famo_first_slope():
    delta = np.log(np.array(L)) - np.log([0.9, 3.8, 9.0])
    np.testing.assert_allclose(delta, (0.105361, 0.051293, 0.0), atol=SIX)
    balancer = FAMO(3, weight_decay=0.0)
    at(balancer)
    balancer.observe(vector(0.9, 3.8, 9.0))
    np.testing.assert_allclose(balancer.moments[0] / 0.1, (0.017714, -0.000308, -0.017406),
                               atol=SIX)  # fmt: skip


@pytest.mark.parametrize("decay", [0.0, 1e-3, 1e-2])
def test_famo_run(decay):
    steps = list(famo_steps())
    expected, logits = famo_replica(steps, decay)
    balancer = FAMO(3, weight_decay=decay)
    for (before, after), weights in zip(steps, expected, strict=True):
        np.testing.assert_allclose(at(balancer, before)[1], weights, rtol=1e-9)
        balancer.observe(vector(*after))
    np.testing.assert_allclose(balancer.logits, logits, rtol=1e-9)
    assert np.ptp(logits) > 0.5  # far from where it started


def test_famo_variants_are_seen():
    steps = list(famo_steps())
    right, _ = famo_replica(steps, 1e-2)
    shifted = [(one, two) for (one, _), (two, _) in itertools.pairwise(steps)]
    for wrong in (
        famo_replica(steps, 1e-2, jacobian=False)[0],
        famo_replica(steps, 1e-2, decoupled=True)[0],
        famo_replica(steps, 0.0)[0],
        famo_replica([(two, one) for one, two in steps], 1e-2)[0],
        famo_replica([*shifted, steps[-1]], 1e-2)[0],  # losses of the next batch
    ):
        assert not np.allclose(wrong[-1], right[-1], atol=1e-3, rtol=1e-3)


# ── smooth Tchebycheff ──────────────────────────────────────────────────────────────────────


def test_the_nadir_is_the_mean_of_the_last_warm_up_epoch():
    balancer = SmoothTchebycheff(3, warmup_epochs=2)
    for losses in ((70, 80, 90), (1, 6, 2), (3, 2, 10)):
        objective, weights = at(balancer, losses)
        np.testing.assert_allclose(weights, 1.0 / np.array(losses), rtol=1e-12)
        assert objective == pytest.approx(float(np.log(losses).sum()), rel=1e-12)
        if losses[0] in (70, 3):
            balancer.end_epoch()
    objective, weights = at(balancer)  # nadir (2, 4, 6)
    np.testing.assert_allclose(weights, (0.5, 0.25, 1 / 6), atol=SIX)
    assert objective == pytest.approx(3 * math.log(0.5 + 1 + 1.5), rel=1e-12)


def test_the_smoothing_of_tchebycheff():
    for mu in (0.01, 0.5, 1.0):
        heights = np.log(np.array(L) / (2, 4, 6)) / mu
        softmax = np.exp(heights - heights.max()) / np.exp(heights - heights.max()).sum()
        weights = at(stch_at((2, 4, 6), mu))[1]
        np.testing.assert_allclose(weights, 3 * softmax / np.array(L), rtol=1e-9, atol=1e-15)
    without_tasks = at(stch_at((2, 4, 6)))[1] / 3
    assert not np.allclose(without_tasks, (0.5, 0.25, 1 / 6), atol=0.05)


def test_plain_tchebycheff_with_a_preference_and_an_ideal_point():
    balancer = PlainSmoothTchebycheff(3, mu=0.5, preference=(6, 3, 1), ideal=(0.5, 1.0, -1.0))
    wish = np.array((0.6, 0.3, 0.1))
    heights = wish * (np.array(L) - (0.5, 1.0, -1.0)) / 0.5
    objective, weights = at(balancer)
    assert objective == pytest.approx(0.5 * float(np.log(np.exp(heights).sum())), rel=1e-12)
    expected = wish * np.exp(heights) / np.exp(heights).sum()
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


# ── performance ─────────────────────────────────────────────────────────────────────────────


def test_performance_weights_are_powers_of_what_is_left():
    balancer = PerformanceWeights(3, alpha=0.5)
    assert at(balancer)[1].tolist() == pytest.approx([1 / 3] * 3)
    balancer.measured(vector(2.0, 10.0, 1.0))
    assert at(balancer)[1].tolist() == pytest.approx([1 / 3] * 3)
    balancer.measured(vector(1.0, 9.0, 0.04))
    left = np.sqrt([0.5, 0.9, 0.04])
    np.testing.assert_allclose(at(balancer)[1], left / left.sum(), rtol=1e-12)
    balancer.measured(vector(4.0, 9.0, 1e-9))  # worse than at the start; nearly solved
    left = np.sqrt([1.0, 0.9, 0.01])
    np.testing.assert_allclose(at(balancer)[1], left / left.sum(), rtol=1e-12)


def test_performance_average_and_negative_power():
    balancer = PerformanceWeights(2, alpha=-1.0, momentum=0.5)
    for losses in ((1.0, 1.0), (0.5, 1.0), (0.25, 1.0)):
        balancer.measured(vector(*losses))
    left = np.array([0.5 * (0.5 * 1.0 + 0.5 * 0.5) + 0.5 * 0.25, 1.0])
    np.testing.assert_allclose(at(balancer, (1, 1))[1], (1 / left) / (1 / left).sum(), rtol=1e-12)


# ── IMTL ────────────────────────────────────────────────────────────────────────────────────


def imtl_replica(jacobians, losses, rate):
    """The paper's formula with differences of gradients, s by torch's own optimizer."""
    s = torch.zeros(len(losses[0]), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([s], lr=rate)
    found = []
    for rows, values in zip(jacobians, losses, strict=True):
        scales = np.exp(s.detach().numpy())
        scaled = scales[:, None] * rows
        units = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
        gaps, turns = scaled[0] - scaled[1:], units[0] - units[1:]
        rest = scaled[0] @ turns.T @ np.linalg.inv(gaps @ turns.T)
        found.append(np.array([1 - rest.sum(), *rest]) * scales)
        optimizer.zero_grad()
        (s.exp() * torch.from_numpy(values) - s).sum().backward()
        optimizer.step()
    return found, s.detach().numpy()


def test_imtl_run():
    draws = np.random.default_rng(5)
    jacobians = [draws.normal(size=(3, 6)) * (1, 10, 0.1, 1, 1, 1) for _ in range(40)]
    losses = [np.array(L) * np.exp(draws.normal(0, 0.1, 3)) for _ in range(40)]
    expected, s = imtl_replica(jacobians, losses, 0.05)
    method = IMTL(learning_rate=0.05)
    for rows, values, weights in zip(jacobians, losses, expected, strict=True):
        found = method(torch.from_numpy(rows @ rows.T), torch.from_numpy(values)).numpy()
        # inverses of 2x2 systems of moderate condition, through another formula
        np.testing.assert_allclose(found, weights, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(method.log_scales, s, rtol=1e-9)
    assert np.abs(s).max() > 0.5


def test_imtl_scales_change_the_length_and_not_the_line():
    rows = torch.tensor([[1.0, 0, 2, -1], [-2, 1, 0, 1], [3, -1, -3, 0]], dtype=torch.float64)
    method = IMTL(0.3)
    updates = [method(rows @ rows.T, vector(*L)) @ rows for _ in range(5)]
    first, last = updates[0], updates[-1]
    cosine = torch.dot(first, last) / first.norm() / last.norm()
    assert cosine.item() == pytest.approx(1.0, abs=1e-12)
    assert last.norm() < 0.7 * first.norm()  # losses above 1 are scaled down
