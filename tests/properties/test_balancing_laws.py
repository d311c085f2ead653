"""Laws of the fixed weightings on inputs nobody chose."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from polytask.balancing import EqualWeights, FixedWeights, PooledLoss, ScheduledWeights
from polytask.optim import constant

sizes = st.integers(1, 9)
numbers = st.floats(-1e6, 1e6)
positives = st.floats(1e-10, 1e10)


def make(kind, weights):
    k = len(weights)
    if kind is FixedWeights:
        return FixedWeights(weights)
    if kind is ScheduledWeights:
        return ScheduledWeights([constant(weight) for weight in weights])
    return kind(k)


@st.composite
def raw(draw):
    k = draw(sizes)
    weights = draw(st.lists(st.one_of(st.just(0.0), positives), min_size=k, max_size=k))
    if not any(weights):
        weights[draw(st.integers(0, k - 1))] = 1.0
    kind = draw(st.sampled_from([EqualWeights, FixedWeights, ScheduledWeights, PooledLoss]))
    losses = draw(st.lists(numbers, min_size=k, max_size=k))
    present = draw(st.lists(st.booleans(), min_size=k, max_size=k))
    counts = draw(st.lists(positives, min_size=k, max_size=k))
    return kind, weights, losses, present, counts


def built(situation):
    kind, weights, losses, present, counts = situation
    mask = torch.tensor(present)
    labels = torch.where(mask, torch.tensor(counts, dtype=torch.float64), 0.0)
    return make(kind, weights), torch.tensor(losses, dtype=torch.float64), mask, labels


def weights_and_objective(balancer, losses, present, counts):
    losses = losses.clone().requires_grad_()
    objective = balancer(losses, present, counts)
    (weights,) = torch.autograd.grad(objective, losses)
    return weights, objective.detach()


@given(raw())
def test_weights_are_a_distribution_over_present_tasks(situation):
    balancer, losses, present, counts = built(situation)
    weights, objective = weights_and_objective(balancer, losses, present, counts)
    assert (weights >= 0).all()
    assert (weights[~present] == 0).all()
    total = weights.sum().item()
    assert total == 0 or abs(total - 1) < 1e-12
    scale = losses.abs().max().item() + 1
    assert abs(((weights * losses).sum() - objective).item()) <= 1e-12 * scale


@given(raw())
def test_absent_losses_never_matter(situation):
    balancer, losses, present, counts = built(situation)
    expected = weights_and_objective(balancer, losses, present, counts)
    broken = torch.where(present, losses, float("nan"))
    found = weights_and_objective(balancer, broken, present, counts)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@given(raw())
def test_a_deleted_task_equals_an_absent_one(situation):
    balancer, losses, present, counts = built(situation)
    if not isinstance(balancer, FixedWeights) or not present.any():
        return
    kept = balancer.values[present].tolist()
    weights, objective = weights_and_objective(balancer, losses, present, counts)
    if not any(kept):
        assert objective == 0
        return
    smaller = FixedWeights(kept)
    there = torch.ones(len(kept), dtype=torch.bool)
    expected, value = weights_and_objective(smaller, losses[present], there, counts[present])
    assert torch.allclose(weights[present], expected, rtol=1e-12, atol=0)
    assert torch.allclose(objective, value, rtol=1e-9, atol=1e-9)


@given(raw())
def test_the_state_is_complete(situation):
    balancer, losses, present, counts = built(situation)
    fresh = make(type(balancer), [1.0] * balancer.num_tasks)
    fresh.load_state_dict(balancer.state_dict(), strict=True)
    expected = weights_and_objective(balancer, losses, present, counts)
    found = weights_and_objective(fresh, losses, present, counts)
    assert torch.equal(found[0], expected[0])
