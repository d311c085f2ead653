"""Equal, fixed, scheduled and pooled weights: rules, state, sentences."""

import pytest
import torch

from polytask.balancing import EqualWeights, FixedWeights, PooledLoss, ScheduledWeights
from polytask.errors import InvalidArgument
from polytask.optim import constant, linear, piecewise


def weights_of(balancer, losses, present=None, counts=None):
    losses = torch.tensor(losses, requires_grad=True)
    present = None if present is None else torch.tensor(present)
    counts = None if counts is None else torch.tensor(counts)
    objective = balancer(losses, present, counts)
    (gradient,) = torch.autograd.grad(objective, losses)
    return objective.item(), gradient.tolist()


def test_one_task_weighs_one():
    for balancer in (EqualWeights(1), FixedWeights([0.3]), ScheduledWeights([constant(7.0)])):
        assert weights_of(balancer, [2.5]) == (2.5, [1.0])
    assert weights_of(PooledLoss(1), [2.5], counts=[17.0]) == (2.5, [1.0])


def test_an_absent_tasks_share_goes_to_the_others_in_proportion():
    value, weights = weights_of(
        FixedWeights([1.0, 3.0, 4.0]), [1.0, 2.0, float("nan")], [True, True, False]
    )
    assert weights == [0.25, 0.75, 0.0]
    assert value == pytest.approx(1.75)


def test_nothing_present_is_zero_and_differentiable():
    for balancer in (EqualWeights(2), FixedWeights([1, 2]), ScheduledWeights([constant()] * 2)):
        assert weights_of(balancer, [float("nan")] * 2, [False] * 2) == (0.0, [0.0, 0.0])
    assert weights_of(PooledLoss(2), [float("nan")] * 2, [False] * 2, [0.0, 0.0]) == (
        0.0,
        [0.0] * 2,
    )


def test_only_tasks_of_weight_zero_present_is_zero_not_nan():
    assert weights_of(FixedWeights([0.0, 1.0]), [3.0, 5.0], [True, False]) == (0.0, [0.0, 0.0])
    assert weights_of(FixedWeights([0.0, 1.0]), [3.0, 5.0]) == (5.0, [0.0, 1.0])


def test_a_sum_or_a_mean_over_all_tasks_would_be_seen():
    """Mutations: Σ w L, and dividing by K although a task is absent."""
    _, weights = weights_of(EqualWeights(4), [1.0] * 4, [True, True, True, False])
    assert sum(weights) == pytest.approx(1.0)
    assert weights[0] == pytest.approx(1 / 3)
    assert weights[0] != pytest.approx(1 / 4)
    assert weights[0] != 1.0


def test_masking_by_multiplication_would_be_nan():
    """The mutation: 0 · NaN."""
    losses = torch.tensor([1.0, float("nan")], requires_grad=True)
    present = torch.tensor([True, False])
    assert torch.isnan((losses * present).sum())
    assert EqualWeights(2)(losses, present).item() == 1.0


def test_pooled_is_the_mean_over_labels():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(50, 3, generator=generator) < torch.tensor([0.9, 0.5, 0.1])
    cells = torch.rand(50, 3, generator=generator)
    counts = mask.sum(0).float()
    losses = torch.where(mask, cells, 0.0).sum(0) / counts
    assert PooledLoss(3)(losses, counts=counts).item() == pytest.approx(cells[mask].mean().item())
    assert EqualWeights(3)(losses).item() != pytest.approx(cells[mask].mean().item(), abs=1e-4)


def test_pooled_without_counts_says_what_to_do():
    with pytest.raises(InvalidArgument, match="`counts` must be given"):
        PooledLoss(2)(torch.ones(2))


def test_schedules_step_and_ramp():
    balancer = ScheduledWeights([piecewise([(0, 1.0), (10, 3.0)]), linear([(0, 1.0), (20, 0.0)])])
    shares = {}
    for epoch in (0.0, 9.5, 10.0, 20.0):
        balancer.progress(fraction=epoch / 40, epoch=epoch)
        _, shares[epoch] = weights_of(balancer, [1.0, 1.0])
    assert shares[0.0] == [0.5, 0.5]
    assert shares[9.5] == pytest.approx([1 / 1.525, 0.525 / 1.525])
    assert shares[10.0] == pytest.approx([3 / 3.5, 0.5 / 3.5])
    assert shares[20.0] == [1.0, 0.0]


def test_a_scheduled_state_moves_into_a_fresh_object():
    schedules = [piecewise([(0, 1.0), (5, 9.0)]), constant()]
    first, second = ScheduledWeights(schedules), ScheduledWeights(schedules)
    first.progress(fraction=0.5, epoch=6.0)
    second.load_state_dict(first.state_dict(), strict=True)
    assert weights_of(second, [1.0, 1.0])[1] == pytest.approx([0.9, 0.1])
    # Going on from an earlier epoch must overwrite what was loaded, although it is what the
    # fresh object had written last.
    second.progress(fraction=0.0, epoch=0.0)
    assert weights_of(second, [1.0, 1.0])[1] == [0.5, 0.5]


def test_a_negative_schedule_is_refused_with_its_epoch():
    balancer = ScheduledWeights([lambda epoch: 1.0 - epoch])
    with pytest.raises(InvalidArgument, match="epoch 3"):
        balancer.progress(fraction=0.1, epoch=3.0)


@pytest.mark.parametrize(
    ("weights", "rule"),
    [
        ([], "one weight per task"),
        ([1.0, -0.1], "at least 0"),
        ([1.0, float("nan")], "at least 0"),
        ([1.0, float("inf")], "finite"),
        ([0.0, 0.0], "one above 0"),
    ],
)
def test_bad_weights_are_refused(weights, rule):
    with pytest.raises(InvalidArgument, match=rule):
        FixedWeights(weights)


@pytest.mark.parametrize("make", [EqualWeights, PooledLoss])
def test_no_task_is_refused(make):
    with pytest.raises(InvalidArgument, match="num_tasks"):
        make(0)
    with pytest.raises(InvalidArgument, match="schedules"):
        ScheduledWeights([])


def test_the_state_of_another_number_of_tasks_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        FixedWeights([1, 2]).load_state_dict(FixedWeights([1, 2, 3]).state_dict())


def test_all_four_are_linear_in_the_losses():
    """So micro-batches of an accumulation window add up to the objective of the window."""
    parts = torch.tensor([[1.0, 2.0, 5.0], [4.0, 0.5, 1.0]])
    counts = torch.tensor([3.0, 2.0, 7.0])
    for balancer in (
        EqualWeights(3),
        FixedWeights([1, 2, 3]),
        ScheduledWeights([constant(2.0), constant(), constant()]),
        PooledLoss(3),
    ):
        assert balancer.linear
        whole = balancer(parts.sum(0), counts=counts)
        pieces = sum(balancer(part, counts=counts) for part in parts)
        assert torch.allclose(whole, pieces)


@pytest.mark.parametrize(
    "balancer",
    [
        EqualWeights(3),
        FixedWeights([1, 2, 3]),
        ScheduledWeights([constant(2.0), constant(), constant()]),
        PooledLoss(3),
    ],
    ids=lambda balancer: type(balancer).__name__,
)
def test_the_objective_never_reads_a_value_back(balancer):
    """Meta tensors have no values: `.item()` or a branch on one would raise."""
    losses = torch.zeros(3, device="meta", requires_grad=True)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)meta"):
        losses.sum().item()
    present = torch.ones(3, dtype=torch.bool, device="meta")
    counts = torch.ones(3, device="meta")
    balancer.to("meta")(losses, present, counts).backward()
    assert losses.grad.device.type == "meta"
