"""What each loss balancer does beyond the common laws."""

import pytest
import torch

from polytask import balancing
from polytask.balancing import (
    DWA,
    FAMO,
    IMTLL,
    UWSO,
    GeometricMean,
    LinearBalancer,
    LossBalancer,
    PerformanceWeights,
    PlainSmoothTchebycheff,
    RandomWeights,
    SmoothTchebycheff,
    UncertaintyWeights,
)
from polytask.errors import InvalidArgument, UnknownName

ALL = [
    method
    for method in (getattr(balancing, name) for name in balancing.__all__)
    if isinstance(method, type) and method not in (LossBalancer, LinearBalancer)
]
BY_NUMBER = [DWA, FAMO, IMTLL, UWSO, GeometricMean, PerformanceWeights, PlainSmoothTchebycheff,
             RandomWeights, SmoothTchebycheff]  # fmt: skip


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def weights_of(balancer, losses, present=None):
    leaf = vector(*losses).requires_grad_()
    balancer(leaf, None if present is None else torch.tensor(present)).backward()
    return leaf.grad


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.__name__)
def test_every_method_is_documented(method):
    text = method.__doc__
    assert "Example:" in text
    assert "Shapes:" in text
    if method.paper:
        assert "Reference:" in text
        assert "Scale:" in text
        assert method.paper.split("https")[1] in text


@pytest.mark.parametrize(
    "make", [lambda i: IMTLL(2, i), lambda i: UncertaintyWeights(2 * ["regression"], i)]
)
def test_learned_scalars_may_start_at_a_whole_number(make):
    assert [p.tolist() for p in make(-1).parameters()] == [[-1.0, -1.0]]


@pytest.mark.parametrize("method", BY_NUMBER, ids=lambda method: method.__name__)
def test_no_task_is_refused(method):
    with pytest.raises(InvalidArgument, match="`num_tasks` must be at least 1"):
        method(0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: UncertaintyWeights([]), "`forms`"),
        (lambda: UncertaintyWeights(["regression"], initial=float("nan")), "`initial`"),
        (lambda: IMTLL(2, initial=float("inf")), "`initial`"),
        (lambda: UWSO(2, temperature=0.0), "`temperature`"),
        (lambda: DWA(2, temperature=-1.0), "`temperature`"),
        (lambda: FAMO(2, learning_rate=0.0), "`learning_rate`"),
        (lambda: FAMO(2, weight_decay=-0.1), "`weight_decay`"),
        (lambda: FAMO(2, epsilon=0.0), "`epsilon`"),
        (lambda: FAMO(2, lower_bounds=[0.0]), "`lower_bounds` must hold 2 finite numbers"),
        (lambda: SmoothTchebycheff(2, mu=0.0), "`mu`"),
        (lambda: SmoothTchebycheff(2, warmup_epochs=0), "`warmup_epochs`"),
        (lambda: PlainSmoothTchebycheff(2, preference=[1.0, 0.0]), "`preference`"),
        (lambda: PlainSmoothTchebycheff(2, ideal=[1.0]), "`ideal`"),
        (lambda: PerformanceWeights(2, alpha=float("nan")), "`alpha`"),
        (lambda: PerformanceWeights(2, momentum=1.0), "`momentum`"),
        (lambda: PerformanceWeights(2, floor=0.0), "`floor`"),
    ],
)
def test_bad_arguments_are_refused(make, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        make()


def test_an_unknown_form_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'classification'"):
        UncertaintyWeights(["regression", "clasification"])


@pytest.mark.parametrize("make", [GeometricMean, UWSO, SmoothTchebycheff,
                                  lambda k: SmoothTchebycheff(k, warmup_epochs=1)])  # fmt: skip
def test_a_negative_loss_fails_where_it_has_no_logarithm(make):
    """Finite weights there would silently climb that loss, or leave it out."""
    balancer = make(3)
    for _ in range(2):
        weights = weights_of(balancer, (1.0, -0.5, 2.0))
        assert weights.isnan().any()
        balancer(vector(1.0, 1.0, 1.0))
        balancer.end_epoch()


@pytest.mark.parametrize("make", [GeometricMean, UWSO, SmoothTchebycheff])
def test_a_solved_task_is_left_out(make):
    with_it, without = make(3), make(2)
    weights = weights_of(with_it, (1.0, 0.0, 2.0))
    assert weights[1] == 0.0
    assert torch.allclose(weights[[0, 2]], weights_of(without, (1.0, 2.0)), rtol=1e-14)


def test_famo_below_the_bound_counts_as_epsilon_and_is_still_trained():
    balancer = FAMO(2, epsilon=1e-3)
    assert torch.equal(weights_of(balancer, (-5.0, 1.0)), weights_of(balancer, (0.0, 1.0)))
    assert weights_of(balancer, (-5.0, 1.0))[0] > 0.9
    balancer.observe(vector(-6.0, 0.9))
    assert torch.isfinite(balancer.logits).all()


def test_famo_does_not_compare_two_batches():
    balancer = FAMO(2)
    balancer(vector(1.0, 2.0))
    balancer(vector(1.0, torch.nan))  # an update that was skipped, in a loop that does not restore
    balancer.observe(vector(0.5, 2.0))
    assert not balancer.logits.any()
    balancer(vector(1.0, 2.0))
    balancer.observe(vector(0.5, 2.0), torch.tensor([True, False]))
    assert not balancer.logits.any()  # one task alone has nothing to share
    balancer(vector(1.0, 2.0))
    balancer.observe(vector(0.5, 2.0))
    assert balancer.logits[0] < 0.0 < balancer.logits[1]


def test_famo_evens_out_relative_improvement():
    """Two quadratics, one ten thousand times the other in size: both fall at the same rate."""
    size = vector(1.0, 1e4)
    point = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    fame, equal = FAMO(2), torch.full((2,), 0.5, dtype=torch.float64)
    falls = {}
    for name in ("famo", "equal"):
        with torch.no_grad():
            point.copy_(vector(1.0, 1.0))
        for _ in range(300):
            losses = size * point.square() + 1e-3 * size
            objective = fame(losses) if name == "famo" else torch.dot(equal, losses)
            (slope,) = torch.autograd.grad(objective, point)
            with torch.no_grad():
                point.sub_(1e-2 * slope / slope.norm())
                if name == "famo":
                    fame.observe(size * point.square() + 1e-3 * size)
        falls[name] = point.detach().square().clamp_min(1e-2)
    assert torch.allclose(falls["famo"], vector(0.01, 0.01))
    assert falls["equal"][0] > 0.5  # the large loss took everything


def test_dwa_counts_the_epochs_of_a_task_that_has_labels():
    balancer = DWA(2)
    epochs = [((4.0, 10.0), [True, True]), ((2.0, 0.0), [True, False]), ((2.0, 9.0), [True, True])]
    for losses, present in epochs:
        balancer(vector(*losses), torch.tensor(present))
        balancer.end_epoch()
    # task 0: 2 / 2; task 1: 9 / 10, its two epochs
    expected = 2 * torch.softmax(vector(1.0, 0.9) / 2, 0)
    assert torch.allclose(weights_of(balancer, (1.0, 1.0)), expected)


def test_dwa_micro_batches_give_the_ratios_of_whole_ones():
    whole, parts = DWA(2), DWA(2)
    assert DWA.linear
    for losses in ((4.0, 10.0), (2.0, 9.0)):
        whole(vector(*losses))
        for share in (0.25, 0.75):
            parts(share * vector(*losses))
        whole.end_epoch()
        parts.end_epoch()
    one, two = weights_of(whole, (1.0, 1.0)), weights_of(parts, (1.0, 1.0))
    assert torch.allclose(one, two, rtol=1e-14)


def test_random_weights_do_not_depend_on_who_was_absent_before():
    one, two, other = RandomWeights(3), RandomWeights(3), RandomWeights(3, seed=1)
    weights_of(one, (1.0, 1.0, 1.0))
    weights_of(two, (1.0, 1.0, 1.0), [True, False, True])
    weights_of(other, (1.0, 1.0, 1.0))
    first, second = weights_of(one, (1.0, 1.0, 1.0)), weights_of(two, (1.0, 1.0, 1.0))
    assert torch.equal(first, second)
    assert not torch.equal(first, weights_of(other, (1.0, 1.0, 1.0)))


def test_a_task_that_comes_late_gets_its_nadir_late():
    balancer = SmoothTchebycheff(2, mu=0.5, warmup_epochs=1)
    balancer(vector(2.0, torch.nan), torch.tensor([True, False]))
    balancer.end_epoch()
    assert balancer.nadir[1].isnan()
    late = weights_of(balancer, (1.0, 7.0))  # as if it stood at its nadir
    assert torch.allclose(late * vector(1.0, 7.0), 2 * torch.softmax(vector(-2.0, 0.0).mul(
        torch.tensor(2.0).log()), 0))  # fmt: skip
    balancer.end_epoch()
    assert balancer.nadir.tolist() == [2.0, 7.0]
    weights_of(balancer, (1.0, 70.0))
    balancer.end_epoch()
    assert balancer.nadir.tolist() == [2.0, 7.0]


def test_smaller_mu_follows_the_worst():
    shares = []
    for mu in (1.0, 0.1, 0.01):
        balancer = SmoothTchebycheff(2, mu=mu, warmup_epochs=1)
        balancer(vector(1.0, 1.0))
        balancer.end_epoch()
        shares.append(float(weights_of(balancer, (0.5, 0.9))[1]) * 0.9 / 2)
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.999


def test_performance_ignores_what_it_cannot_use():
    balancer = PerformanceWeights(3, alpha=1.0)
    balancer.measured(vector(1.0, 2.0, torch.nan))
    balancer.measured(vector(0.5, torch.inf, -1.0))
    assert torch.allclose(weights_of(balancer, (1, 1, 1)), vector(0.5, 1.0, 0.75) / 2.25)
    balancer.measured(vector(0.1, 0.1, 0.1), torch.tensor([False, True, False]))
    assert torch.allclose(weights_of(balancer, (1, 1, 1)), vector(0.5, 0.05, 0.275) / 0.825)


def test_learned_scalars_of_an_absent_task_get_no_gradient():
    for balancer in (UncertaintyWeights(["regression"] * 2), IMTLL(2)):
        balancer(vector(3.0, torch.nan), torch.tensor([True, False])).backward()
        (parameter,) = balancer.parameters()
        assert parameter.grad[0] != 0.0
        assert parameter.grad[1] == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", BY_NUMBER, ids=lambda method: method.__name__)
def test_an_update_never_waits_for_the_device(method):
    balancer = method(3).cuda()
    losses = torch.ones(3, device="cuda", requires_grad=True)
    present = torch.ones(3, dtype=torch.bool, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        balancer(losses, present).backward()
        balancer.observe(losses.detach(), present)
    finally:
        torch.cuda.set_sync_debug_mode("default")
