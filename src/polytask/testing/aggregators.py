"""The laws of gradient aggregation."""

import copy

import pytest
import torch

from polytask.aggregation import GUARANTEES, Aggregator, GramianAggregator
from polytask.errors import PolytaskError

from .measures import (
    assert_close,
    global_generators,
    output_of,
    rounding_scale,
    same_state,
    sine,
    update_of,
    weights_of,
)
from .problems import SIZES, degenerate_jacobians, losses_for, ordinary, random_jacobian, scalings


class AggregatorLaws:
    """What every `GramianAggregator` and `GradientAggregator` obeys, with what it promises.

    Subclass it in a test module and return a fresh instance from the fixture ``aggregator``, with
    no preference between tasks and a fixed seed. Promises listed in ``guarantees`` are tested,
    the others are skipped. All inputs are float64.

    Example:
        >>> import pytest
        >>> from polytask.aggregation import MGDA
        >>> class TestMGDA(AggregatorLaws):
        ...     @pytest.fixture
        ...     def aggregator(self):
        ...         return MGDA()
    """

    def test_facts_are_declared(self, aggregator: Aggregator) -> None:
        """The facts that documents and engines rely on have known values."""
        assert aggregator.guarantees <= set(GUARANTEES), "an unknown promise"
        assert aggregator.scale in {"sum", "mean", "fixed-norm"}
        assert aggregator.cost in {"one-backward", "task-gradients", "task-gradients-kept"}

    def test_shape_and_dtype(self, aggregator: Aggregator) -> None:
        """One finite weight per task, or one number per parameter, in the input's dtype."""
        for tasks in SIZES:
            for dtype in (torch.float32, torch.float64):
                method = copy.deepcopy(aggregator)
                jacobian = random_jacobian(tasks, tasks).to(dtype)
                kept = jacobian.clone()
                output = output_of(method, jacobian)
                size = tasks if isinstance(method, GramianAggregator) else jacobian.shape[1]
                assert output.shape == (size,)
                assert output.dtype == dtype
                assert torch.isfinite(output).all()
                assert torch.equal(jacobian, kept), "the input was changed"
                assert not output.requires_grad
                assert isinstance(method.flags, frozenset)

    def test_one_task(self, aggregator: Aggregator) -> None:
        """Alone, a task is followed: the update is a positive multiple of its gradient."""
        jacobian = random_jacobian(1, 1, 6)
        direction = update_of(copy.deepcopy(aggregator), jacobian)
        along = float(direction @ jacobian[0])
        assert along > 0.0
        length = float(torch.linalg.vector_norm(direction) * torch.linalg.vector_norm(jacobian[0]))
        assert along == pytest.approx(length, rel=1e-9)

    def test_permutation(self, aggregator: Aggregator) -> None:
        """The order in which tasks are listed does not matter."""
        for tasks in (2,) if aggregator.draws else SIZES:
            here, there = copy.deepcopy(aggregator), copy.deepcopy(aggregator)
            order = torch.randperm(tasks, generator=torch.Generator().manual_seed(tasks))
            for step in range(3):
                jacobian = random_jacobian(10 * tasks + step, tasks)
                losses = losses_for(jacobian, step)
                straight = update_of(here, jacobian, losses)
                shuffled = update_of(there, jacobian[order], losses[order])
                assert_close(
                    straight, shuffled, rounding_scale(jacobian, straight), "order mattered"
                )

    def test_non_conflicting(self, aggregator: Aggregator) -> None:
        """No slope is negative, measured against ‖g_k‖ Σ_j |w_j|‖g_j‖."""
        _promised(aggregator, "non-conflicting")
        for name, jacobian in ordinary():
            method = copy.deepcopy(aggregator)
            for step in range(2):
                weights = output_of(method, jacobian, losses_for(jacobian, step))
                norms = torch.linalg.vector_norm(jacobian, dim=1)
                slopes = jacobian @ (weights @ jacobian)
                natural = norms * (weights.abs() @ norms)
                assert (slopes >= -1e-10 * natural).all(), f"conflict on {name}"

    def test_non_negative_weights(self, aggregator: Aggregator) -> None:
        """Every weight is at least zero."""
        _promised(aggregator, "non-negative-weights")
        for name, jacobian in ordinary():
            weights = weights_of(copy.deepcopy(aggregator), jacobian)
            assert (weights >= 0.0).all(), f"negative weight on {name}"

    def test_weights_sum_to_one(self, aggregator: Aggregator) -> None:
        """The weights of the present tasks sum to one."""
        _promised(aggregator, "weights-sum-to-one")
        for name, jacobian in ordinary():
            total = float(weights_of(copy.deepcopy(aggregator), jacobian).sum())
            assert total == pytest.approx(1.0, abs=1e-9), f"sum {total} on {name}"

    def test_linear_under_scaling(self, aggregator: Aggregator) -> None:
        """The update at the mean of two vectors of scales is the mean of the updates, and doubles
        with them: an update that ignores scales would be lawful otherwise.
        """
        _promised(aggregator, "linear-under-scaling")
        for jacobian, one, two in scalings():
            ends = [update_of(copy.deepcopy(aggregator), c * jacobian) for c in (one, two)]
            middle = update_of(copy.deepcopy(aggregator), 0.5 * (one + two) * jacobian)
            natural = rounding_scale((one + two) * jacobian, middle)
            assert_close(middle, 0.5 * (ends[0] + ends[1]), natural, "not linear")
            double = update_of(copy.deepcopy(aggregator), 2.0 * one * jacobian)
            assert_close(double, 2.0 * ends[0], natural, "not proportional")

    def test_scale_invariant(self, aggregator: Aggregator) -> None:
        """The update does not notice the sizes of the gradients."""
        _promised(aggregator, "scale-invariant")
        for jacobian, scales, _ in scalings():
            one = update_of(copy.deepcopy(aggregator), jacobian)
            two = update_of(copy.deepcopy(aggregator), scales * jacobian)
            assert_close(one, two, float(one.abs().max()), "sizes mattered", 1e-7)

    def test_line_invariant(self, aggregator: Aggregator) -> None:
        """The line of the update does not notice the sizes of the gradients."""
        _promised(aggregator, "line-invariant")
        for jacobian, scales, _ in scalings():
            one = update_of(copy.deepcopy(aggregator), jacobian)
            two = update_of(copy.deepcopy(aggregator), scales * jacobian)
            assert sine(one, two) < 1e-6, "sizes mattered"

    def test_size_of_all_gradients(self, aggregator: Aggregator) -> None:
        """Gradients of any common size are survived; their line is kept if that is promised."""
        homogeneous = "homogeneous" in aggregator.guarantees
        for tasks in SIZES:
            jacobian = random_jacobian(tasks, tasks)
            reference = update_of(copy.deepcopy(aggregator), jacobian)
            for scale in (1e-15, 1e-9, 1e-4, 1e4, 1e9, 1e15):
                direction = update_of(copy.deepcopy(aggregator), scale * jacobian)
                assert torch.isfinite(direction).all(), f"not finite at scale {scale}"
                if homogeneous:
                    assert sine(reference, direction) < 1e-7, f"another method at {scale}"

    def test_degenerate_gradients(self, aggregator: Aggregator) -> None:
        """Dependent, opposite and zero gradients give finite updates and leave a finite state."""
        for name, jacobian in degenerate_jacobians().items():
            method = copy.deepcopy(aggregator)
            for step in range(2):
                direction = update_of(method, jacobian, losses_for(jacobian, step))
                assert torch.isfinite(direction).all(), name
            after = update_of(method, torch.roll(random_jacobian(8, *jacobian.shape), 1, 0))
            assert torch.isfinite(after).all(), f"{name} poisoned the state"
            if not jacobian.any():
                assert not direction.any(), "an update from zero gradients"

    def test_zero_gradient_does_not_stop_the_others(self, aggregator: Aggregator) -> None:
        """With one zero gradient the others still move."""
        jacobian = random_jacobian(3, 3)
        jacobian[1] = 0.0
        direction = update_of(copy.deepcopy(aggregator), jacobian)
        assert float(direction.abs().max()) > 1e-6 * float(jacobian.abs().max())

    def test_non_finite_gradients(self, aggregator: Aggregator) -> None:
        """NaN or infinity in gives non-finite out, and the state does not move."""
        for bad in (torch.nan, torch.inf):
            method = copy.deepcopy(aggregator)
            jacobian = random_jacobian(4, 3)
            update_of(method, jacobian)
            before = copy.deepcopy(method.state_dict())
            poisoned = jacobian.clone()
            poisoned[1, 2] = bad
            assert not torch.isfinite(output_of(method, poisoned)).all()
            assert same_state(before, method.state_dict()), "the state moved"

    def test_absent_tasks(self, aggregator: Aggregator) -> None:
        """A task without labels is as if it did not exist, whatever stands in its row."""
        here, there = copy.deepcopy(aggregator), copy.deepcopy(aggregator)
        present = torch.tensor([True, False, True, True])
        for step in range(3):
            jacobian = random_jacobian(20 + step, 4)
            losses = losses_for(jacobian, step)
            without = update_of(there, jacobian[present], losses[present])
            jacobian[1], losses[1] = torch.nan, torch.nan
            direction = update_of(here, jacobian, losses, present)
            natural = rounding_scale(jacobian[present], without)
            assert_close(direction, without, natural, "the absent task mattered")
            if isinstance(here, GramianAggregator):
                assert output_of(copy.deepcopy(here), jacobian, losses, present)[1] == 0.0
        assert torch.isfinite(update_of(here, random_jacobian(30, 4))).all(), "its return"

    def test_nobody_present(self, aggregator: Aggregator) -> None:
        """Without labels nothing moves, neither parameters nor state."""
        method = copy.deepcopy(aggregator)
        jacobian = random_jacobian(7, 3)
        update_of(method, jacobian)
        before = copy.deepcopy(method.state_dict())
        another = random_jacobian(8, 3)
        direction = update_of(method, another, None, torch.zeros(3, dtype=torch.bool))
        assert not direction.any()
        assert same_state(before, method.state_dict())

    def test_ready_weights(self, aggregator: Aggregator) -> None:
        """Weights that need no gradients are those that `forward` would have given."""
        if not isinstance(aggregator, GramianAggregator):
            pytest.skip("has no weights without gradients")
        method = copy.deepcopy(aggregator)
        for step in range(6):
            jacobian = random_jacobian(step, 4)
            present = torch.tensor([True, True, step != 2, True])
            twin = copy.deepcopy(method)
            ready = method.ready_weights(present)
            asked = output_of(twin, jacobian, losses_for(jacobian, step), present)
            if ready is None:
                assert method.needs != "none", "promised to need no gradients"
                output_of(method, jacobian, losses_for(jacobian, step), present)
            else:
                assert torch.equal(ready.to(asked), asked), f"step {step} differs"
            assert same_state(method.state_dict(), twin.state_dict()), "another state"

    def test_state_round_trip(self, aggregator: Aggregator) -> None:
        """Saved at any moment and loaded strictly into a fresh instance, it goes on bit by bit."""
        for steps in (0, 1, 3):
            here, there = copy.deepcopy(aggregator), copy.deepcopy(aggregator)
            for step in range(steps):
                update_of(here, random_jacobian(step, 4))
            there.load_state_dict(copy.deepcopy(here.state_dict()), strict=True)
            for step in range(steps, steps + 4):
                jacobian = random_jacobian(step, 4, 6)
                losses = losses_for(jacobian, step)
                mine, other = update_of(here, jacobian, losses), update_of(there, jacobian, losses)
                assert torch.equal(mine, other), f"step {step} after {steps} differs"

    def test_reset(self, aggregator: Aggregator) -> None:
        """After `reset` the first run repeats."""
        method = copy.deepcopy(aggregator)
        runs = []
        for _ in range(2):
            runs.append([update_of(method, random_jacobian(step, 4)) for step in range(3)])
            method.reset()
        assert all(map(torch.equal, *runs))

    def test_randomness_is_owned(self, aggregator: Aggregator) -> None:
        """Global generators are neither read nor moved."""
        outputs = []
        for seed in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                before = global_generators()
                method = copy.deepcopy(aggregator)
                outputs.append([update_of(method, random_jacobian(step, 5)) for step in range(3)])
                moved = [
                    name for name, state in global_generators().items() if state != before[name]
                ]
                assert not moved, f"moved the global generator of {moved}"
        assert all(map(torch.equal, *outputs)), "torch's generator was read"

    def test_missing_losses_are_refused(self, aggregator: Aggregator) -> None:
        """A method that needs losses says so."""
        if not aggregator.needs_losses:
            pytest.skip("needs no losses")
        jacobian = random_jacobian(1, 3)
        given = jacobian @ jacobian.T if isinstance(aggregator, GramianAggregator) else jacobian
        with pytest.raises(PolytaskError, match="losses"):
            copy.deepcopy(aggregator)(given)


def _promised(aggregator: Aggregator, guarantee: str) -> None:
    if guarantee not in aggregator.guarantees:
        pytest.skip(f"does not promise to be {guarantee}")
