"""The laws of loss balancing."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polytask.balancing import GUARANTEES, LinearBalancer, LossBalancer

from .episodes import drive, losses_at, weights_and_objective
from .measures import assert_close, global_generators, same_state

Make = Callable[[int], LossBalancer]

_SIZES = (1, 2, 3, 6)
_RUN = range(7)
_SPREAD = (1e-15, 1e-7, 1.0, 1e7, 1e15)


class BalancerLaws:
    """What every `LossBalancer` obeys, with what it promises.

    Subclass it in a test module and return from the fixture ``make`` a function that turns a number
    of tasks into a fresh balancer, with no preference between tasks and a fixed seed. Promises
    listed in ``guarantees`` are tested, the others are skipped. Losses are float64 unless a law
    says otherwise; a balancer is driven through epochs as a trainer does, and hears all that it
    asks for.

    Example:
        >>> import pytest
        >>> from polytask.balancing import GeometricMean
        >>> class TestGeometricMean(BalancerLaws):
        ...     @pytest.fixture
        ...     def make(self):
        ...         return GeometricMean
    """

    def test_facts_are_declared(self, make: Make) -> None:
        """The facts that documents and trainers rely on have known values."""
        for tasks in _SIZES:
            balancer = make(tasks)
            assert balancer.num_tasks == tasks
            assert balancer.guarantees <= set(GUARANTEES), "an unknown promise"
            assert balancer.scale in {"sum", "mean", "logarithm"}
            costs = ("one-backward", "one-backward-and-forward")
            assert balancer.cost == costs[balancer.observes], "observing costs a forward pass"

    def test_shape_and_dtype(self, make: Make) -> None:
        """A finite scalar in the dtype of the losses, which are left as they are."""
        for tasks in _SIZES:
            for dtype in (torch.float32, torch.float64):
                losses = losses_at(0, tasks).to(dtype).requires_grad_()
                kept = losses.detach().clone()
                objective = make(tasks)(losses, counts=torch.ones(tasks, dtype=dtype))
                assert objective.shape == ()
                assert objective.dtype == dtype
                assert torch.isfinite(objective)
                assert torch.equal(losses.detach(), kept), "the input was changed"
                assert all(not buffer.requires_grad for buffer in make(tasks).buffers())

    def test_weights_are_the_slopes(self, make: Make) -> None:
        """Through the losses, parameters get Σ w_k ∇L_k, with the weights that are reported."""
        for tasks in _SIZES:
            balancer = make(tasks)
            drive(balancer, _RUN)
            point = torch.linspace(0.5, 1.5, 4, dtype=torch.float64, requires_grad=True)
            rows = torch.sin(torch.arange(4.0 * tasks, dtype=torch.float64)).reshape(tasks, 4)
            losses = (rows @ point).square() + 0.5
            weights, _ = weights_and_objective(copy.deepcopy(balancer), losses.detach())
            if isinstance(balancer, LinearBalancer):
                present = torch.ones(tasks, dtype=torch.bool)
                counts = torch.full((tasks,), 8.0, dtype=torch.float64)
                reported = balancer.weights(present, counts, torch.float64)
                assert_close(reported, weights, 1.0, "the reported weights are others", 1e-12)
            counts = torch.full((tasks,), 8.0, dtype=torch.float64)
            (slope,) = torch.autograd.grad(balancer(losses, counts=counts), point)
            expected = 2.0 * (weights * (rows @ point).detach()) @ rows
            assert_close(slope, expected, float(expected.abs().max()), "not Σ w_k ∇L_k", 1e-12)

    def test_one_task(self, make: Make) -> None:
        """Alone, a task is followed."""
        for weights in drive(make(1), _RUN):
            assert float(weights) > 0.0

    def test_permutation(self, make: Make) -> None:
        """The order in which tasks are listed does not matter."""
        for tasks in _SIZES:
            here, there = make(tasks), make(tasks)
            if here.draws:
                pytest.skip("draws in the order of the tasks")
            order = torch.randperm(tasks, generator=torch.Generator().manual_seed(tasks))
            pairs = zip(drive(here, _RUN), drive(there, _RUN, who=order), strict=True)
            for one, two in pairs:
                assert_close(one[order], two, float(one.abs().max()), "order mattered")

    def test_non_negative_weights(self, make: Make) -> None:
        """Every weight is at least zero."""
        _promised(make, "non-negative-weights")
        for weights in _all_weights(make):
            assert (weights >= 0.0).all()

    def test_weights_sum_to_one(self, make: Make) -> None:
        """The weights of the present tasks sum to one."""
        _promised(make, "weights-sum-to-one")
        for weights in _all_weights(make):
            assert float(weights.sum()) == pytest.approx(1.0, abs=1e-9)

    def test_weights_sum_to_tasks(self, make: Make) -> None:
        """The weights of the present tasks sum to their number."""
        _promised(make, "weights-sum-to-tasks")
        for weights in _all_weights(make):
            assert float(weights.sum()) == pytest.approx(len(weights), rel=1e-9)
        present = torch.tensor([True, True, False, True])
        for weights in drive(make(4), _RUN, present=present):
            assert float(weights.sum()) == pytest.approx(3.0, rel=1e-9)

    def test_linear_under_scaling(self, make: Make) -> None:
        """The weights do not notice the units of the losses."""
        _promised(make, "linear-under-scaling")
        for plain, scaled, _ in _in_other_units(make):
            assert_close(plain, scaled, float(plain.abs().max()), "units mattered")

    def test_scale_invariant(self, make: Make) -> None:
        """The products w_k L_k do not notice the units of the losses."""
        _promised(make, "scale-invariant")
        for plain, scaled, factors in _in_other_units(make):
            assert_close(plain, factors * scaled, float(plain.abs().max()), "units mattered")

    def test_line_invariant(self, make: Make) -> None:
        """The ratios of the products w_k L_k do not notice the units of the losses."""
        _promised(make, "line-invariant")
        for plain, scaled, factors in _in_other_units(make):
            pulls = factors * scaled
            assert_close(plain / plain.sum(), pulls / pulls.sum(), 1.0, "units mattered")

    def test_homogeneous(self, make: Make) -> None:
        """The ratios of the weights do not notice a common factor of all losses."""
        _promised(make, "homogeneous")
        for tasks in _SIZES:
            for factor in _SPREAD:
                pairs = zip(
                    drive(make(tasks), _RUN), drive(make(tasks), _RUN, factors=factor), strict=True
                )
                for one, two in pairs:
                    assert_close(one / one.sum(), two / two.sum(), 1.0, f"another at {factor}")

    def test_size_of_the_losses(self, make: Make) -> None:
        """Losses of any size, in both precisions, are survived, and so is their return."""
        for dtype in (torch.float32, torch.float64):
            for tasks in _SIZES:
                unequal = torch.logspace(-15, 15, tasks, dtype=torch.float64)
                for factors in (*_SPREAD, unequal, unequal.flip(0)):
                    balancer = make(tasks)
                    found = drive(balancer, _RUN, factors=factors, dtype=dtype)
                    found += drive(balancer, range(7, 12), dtype=dtype)
                    assert all(torch.isfinite(weights).all() for weights in found), factors

    def test_zero_losses(self, make: Make) -> None:
        """A solved task neither makes anything NaN nor takes the weight of all others."""
        balancer = make(3)
        losses = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
        for kind in (losses, torch.zeros_like(losses)):
            for _ in range(2):
                balancer.measured(kind)
                weights, objective = weights_and_objective(balancer, kind)
                assert torch.isfinite(weights).all()
                assert torch.isfinite(objective)
                if kind is losses:
                    assert (weights[[0, 2]] > 0.0).all(), "a solved task stopped the others"
                balancer.observe(kind)
                balancer.end_epoch()
        assert all(torch.isfinite(w).all() for w in drive(balancer, range(6))), "poisoned"

    def test_non_finite_losses(self, make: Make) -> None:
        """NaN or infinity in gives non-finite out, and enters no state by any door."""
        for bad in (torch.nan, torch.inf):
            balancer = make(3)
            drive(balancer, range(5))
            before = copy.deepcopy(balancer.state_dict())
            losses = losses_at(5, 3)
            losses[1] = bad
            _, objective = weights_and_objective(balancer, losses)
            assert not torch.isfinite(objective), "the failure was hidden"
            balancer.observe(losses_at(6, 3))
            if not balancer.draws:
                assert same_state(before, balancer.state_dict()), "the state moved"
            deaf, hears = copy.deepcopy(balancer), balancer
            for one in (deaf, hears):
                weights_and_objective(one, losses_at(5, 3))
            hears.observe(losses)
            hears.measured(losses)
            assert all(torch.isfinite(w).all() for w in drive(hears, range(6, 10))), "poisoned"

    def test_observing(self, make: Make) -> None:
        """`observe` moves the state if that is announced, once per update, and else nothing."""
        balancer = make(3)
        drive(balancer, range(3))
        weights_and_objective(balancer, losses_at(3, 3))
        later = losses_at(3, 3) * torch.tensor([0.5, 0.9, 1.1], dtype=torch.float64)
        states = [copy.deepcopy(balancer.state_dict())]
        for _ in range(2):
            balancer.observe(later)
            states.append(copy.deepcopy(balancer.state_dict()))
        assert same_state(states[0], states[1]) != balancer.observes, "not as announced"
        assert same_state(states[1], states[2]), "one update was heard twice"

    def test_measuring(self, make: Make) -> None:
        """`measured` moves the state if that is announced, and else nothing."""
        balancer = make(3)
        before = copy.deepcopy(balancer.state_dict())
        balancer.measured(losses_at(0, 3))
        balancer.measured(losses_at(9, 3))
        assert same_state(before, balancer.state_dict()) != balancer.held_out, "not as announced"

    def test_absent_tasks(self, make: Make) -> None:
        """A task without labels is as if it did not exist, whatever stands in its place."""
        present = torch.tensor([True, False, True, True])
        here, there = make(4), make(3)
        with_it = drive(here, range(6), present=present)
        without = drive(there, range(6), who=torch.arange(4)[present])
        for weights, expected in zip(with_it, without, strict=True):
            assert weights[1] == 0.0, "an absent task got a weight"
            if not here.draws:
                assert_close(weights[present], expected, float(expected.max()), "it mattered")
        losses = torch.where(present, losses_at(6, 4), torch.nan)
        _, objective = weights_and_objective(here, losses, present)
        assert torch.isfinite(objective), "an absent task made the objective NaN"
        assert all(torch.isfinite(w).all() for w in drive(here, range(6, 10))), "its return"

    def test_absence_moves_nothing(self, make: Make) -> None:
        """What is remembered about a task, and its learned scalars, rest while it is absent."""
        balancer = make(7)
        drive(balancer, range(4))
        before = copy.deepcopy(balancer.state_dict())
        present = torch.arange(7) != 5
        losses = torch.where(present, losses_at(4, 7), torch.nan)
        balancer.zero_grad(set_to_none=True)
        balancer.measured(losses, present)
        weights_and_objective(balancer, losses, present)
        balancer.observe(0.9 * losses, present)
        balancer.end_epoch()
        for parameter in balancer.parameters():
            assert parameter.grad is None or parameter.grad[..., 5].eq(0.0).all()
        after = balancer.state_dict()
        mine = {name for name, value in before.items() if value.shape[-1:] == (7,)}
        one = {name: before[name][..., 5] for name in mine}
        two = {name: after[name][..., 5] for name in mine}
        assert same_state(one, two), "the state of an absent task moved"

    def test_nobody_present(self, make: Make) -> None:
        """Without labels the objective is zero, and no state moves."""
        balancer = make(3)
        drive(balancer, range(5))
        before = copy.deepcopy(balancer.state_dict())
        nobody = torch.zeros(3, dtype=torch.bool)
        losses = torch.full((3,), torch.nan, dtype=torch.float64)
        balancer.zero_grad(set_to_none=True)
        weights, objective = weights_and_objective(balancer, losses, nobody)
        balancer.observe(losses, nobody)
        assert objective == 0.0
        assert not weights.any()
        assert all(p.grad is None or not p.grad.any() for p in balancer.parameters())
        if not balancer.draws:
            assert same_state(before, balancer.state_dict())

    def test_state_round_trip(self, make: Make) -> None:
        """Saved at any moment and loaded strictly into a fresh instance, it goes on bit by bit."""
        for steps in (0, 1, 3, 6):
            here, there = make(4), make(4)
            drive(here, range(steps))
            there.load_state_dict(copy.deepcopy(here.state_dict()), strict=True)
            rest = range(steps, steps + 5)
            pairs = zip(drive(here, rest), drive(there, rest), strict=True)
            assert all(torch.equal(one, two) for one, two in pairs), f"differs after {steps}"
            assert same_state(here.state_dict(), there.state_dict())

    def test_an_update_can_be_undone(self, make: Make) -> None:
        """Copies of the buffers, put back, undo what an update did: nothing else moves."""
        balancer = make(4)
        drive(balancer, range(4))
        parameters = copy.deepcopy(list(balancer.parameters()))
        saved = [buffer.clone() for buffer in balancer.buffers()]
        before = copy.deepcopy(balancer.state_dict())
        first = drive(balancer, range(4, 8))
        for buffer, value in zip(balancer.buffers(), saved, strict=True):
            buffer.copy_(value)
        with torch.no_grad():
            for parameter, value in zip(balancer.parameters(), parameters, strict=True):
                parameter.copy_(value)
        assert same_state(before, balancer.state_dict())
        assert all(map(torch.equal, first, drive(balancer, range(4, 8)))), "something was left"

    def test_reset(self, make: Make) -> None:
        """After `reset` the first run repeats."""
        balancer = make(4)
        runs = []
        for _ in range(2):
            runs.append(drive(balancer, _RUN))
            balancer.reset()
        assert all(map(torch.equal, *runs))

    def test_randomness_is_owned(self, make: Make) -> None:
        """Global generators are neither read nor moved."""
        outputs = []
        for seed in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                before = global_generators()
                outputs.append(drive(make(5), _RUN))
                after = global_generators()
                moved = [name for name, state in after.items() if state != before[name]]
                assert not moved, f"moved the global generator of {moved}"
        assert all(map(torch.equal, *outputs)), "torch's generator was read"

    def test_nothing_is_read_back(self, make: Make) -> None:
        """An update asks the device for no number: on the meta device it would raise."""
        balancer = make(3).to("meta")
        losses = torch.zeros(3, device="meta", requires_grad=True)
        present = torch.ones(3, dtype=torch.bool, device="meta")
        try:
            balancer(losses, present, torch.ones(3, device="meta")).backward()
            balancer.observe(losses.detach(), present)
        except (RuntimeError, NotImplementedError) as error:
            raise AssertionError(f"a number was read back: {error}") from error
        assert losses.grad is not None


def _all_weights(make: Make) -> list[Tensor]:
    runs = [drive(make(tasks), _RUN) for tasks in _SIZES]
    unequal = torch.logspace(-3, 3, 4, dtype=torch.float64)
    runs.append(drive(make(4), _RUN, factors=unequal))
    return [weights for run in runs for weights in run]


def _in_other_units(make: Make) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Weights of an update, those with the losses in other units, and the units."""
    found = []
    for tasks in _SIZES:
        factors = torch.logspace(-4, 3, tasks, dtype=torch.float64).flip(0)
        pairs = zip(
            drive(make(tasks), _RUN), drive(make(tasks), _RUN, factors=factors), strict=True
        )
        found += [(one, two, factors) for one, two in pairs]
    return found


def _promised(make: Make, guarantee: str) -> None:
    if guarantee not in make(2).guarantees:
        pytest.skip(f"does not promise to be {guarantee}")
