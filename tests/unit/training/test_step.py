"""One update against formulas written by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balancing import (
    EqualWeights,
    FixedWeights,
    LossBalancer,
    PooledLoss,
    ScheduledWeights,
)
from polytask.optim import OptimizerSpec, constant
from polytask.training.step import Step

PLAIN = OptimizerSpec("sgd", learning_rate=0.1, weight_decay=0.0, momentum=0.0)


def one_update(problem, model, *, balance=None, clip_norm=0.0, spec=PLAIN, batch_size=32, parts=1):
    """The first update in table order; returns the step."""
    step = Step(
        model, model.groups, balance or EqualWeights(2), spec.build(model.roles()), clip_norm
    )
    batches = problem.batches(batch_size=batch_size, shuffle=False)
    assert step.update(next(iter(batches.windows(parts))))
    return step


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def by_hand(problem, model, *, use_masks=True, use_weights=True):
    """Losses and updated parameters of relu(W x + b) with two linear heads, in numpy."""
    table = problem.table
    x = table.inputs.numpy()
    target = {name: value[:, 0].double().numpy() for name, value in table.targets.items()}
    weight = {name: mask[:, 0].double().numpy() for name, mask in table.masks.items()}
    if not use_masks:
        weight = {name: np.ones(len(x)) for name in weight}
    if use_weights:
        weight = {name: own * table.row_weights.double().numpy() for name, own in weight.items()}
    p = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    w, b = p["backbone.layers.0.weight"], p["backbone.layers.0.bias"]
    heads = [(p[f"heads.stacks.{i}.weight"][0, 0], p[f"heads.stacks.{i}.bias"][0]) for i in (0, 1)]
    h = np.maximum(x @ w.T + b, 0)
    y, z = (h @ head + bias for head, bias in heads)
    chance = 1 / (1 + np.exp(-z))
    losses = [
        (weight["y"] * (y - target["y"]) ** 2).sum() / weight["y"].sum(),
        -(
            weight["z"] * (target["z"] * np.log(chance) + (1 - target["z"]) * np.log(1 - chance))
        ).sum()
        / weight["z"].sum(),
    ]
    gradients = [
        0.5 * weight["y"] * 2 * (y - target["y"]) / weight["y"].sum(),
        0.5 * weight["z"] * (chance - target["z"]) / weight["z"].sum(),
    ]
    back = sum(np.outer(g, head) for g, (head, _) in zip(gradients, heads, strict=True)) * (h > 0)
    new = {
        "backbone.layers.0.weight": w - 0.1 * back.T @ x,
        "backbone.layers.0.bias": b - 0.1 * back.sum(0),
    }
    for i, (g, (head, bias)) in enumerate(zip(gradients, heads, strict=True)):
        new[f"heads.stacks.{i}.weight"] = (head - 0.1 * h.T @ g)[None, None]
        new[f"heads.stacks.{i}.bias"] = (bias - 0.1 * g.sum())[None]
    return losses, new


@pytest.fixture
def exact(make_problem):
    """Masked, row-weighted, float64."""
    return make_problem(weighted=True, double=True)


def test_an_update_equals_the_closed_form(exact):
    model = exact.model(double=True)
    losses, expected = by_hand(exact, model)
    unmasked, unweighted = (
        by_hand(exact, model, use_masks=False)[1],
        by_hand(exact, model, use_weights=False)[1],
    )
    step = one_update(exact, model)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=0, atol=1e-13)
    name = "backbone.layers.0.weight"
    for wrong in (unmasked, unweighted):
        assert np.abs(wrong[name] - expected[name]).max() > 1e-4, "the mutation must differ"
    assert (step.totals[0] / step.totals[1]).tolist() == pytest.approx(losses, rel=1e-6)
    assert step.totals[2].tolist() == [0.5, 0.5]


def test_four_micro_batches_equal_one_batch(exact):
    """Uneven label counts, and a task that is absent from one micro-batch and alone in another."""
    exact.table.masks["y"][8:16] = False
    exact.table.masks["z"][16:23] = False
    counts = exact.table.masks["y"].view(4, 8).sum(1).tolist()
    assert counts[1] == 0
    assert len(set(counts)) > 2
    whole, parts, wrong = (exact.model(double=True) for _ in range(3))
    a = one_update(exact, whole)
    b = one_update(exact, parts, batch_size=8, parts=4)
    torch.testing.assert_close(flat(whole), flat(parts), rtol=0, atol=1e-12)
    torch.testing.assert_close(a.totals, b.totals)

    means_of_means(exact, wrong)
    assert (flat(whole) - flat(wrong)).abs().max() > 1e-4, "means of means must differ"


def means_of_means(problem, model):
    """What loops do that average each micro-batch by itself."""
    optimizer = PLAIN.build(model.roles())
    for index in range(4):
        micro = problem.batches(slice(8 * index, 8 * index + 8))
        step = Step(model, model.groups, EqualWeights(2), PLAIN.build(model.roles()), 0.0)
        step.optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        kept = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        step.update(next(iter(micro.windows(1))))
        for parameter, before in zip(model.parameters(), kept, strict=True):
            parameter.grad = parameter.grad / 4 + (0 if before is None else before)
    optimizer.step()


@pytest.mark.parametrize("kind", ["equal", "fixed", "scheduled", "pooled", "learned"])
def test_an_absent_task_leaves_its_head_alone(make_problem, kind, learned):
    problem = make_problem(double=True)
    problem.table.masks["z"][:] = False
    balance = {
        "equal": EqualWeights(2),
        "fixed": FixedWeights([1.0, 5.0]),
        "scheduled": ScheduledWeights([constant(), constant()]),
        "pooled": PooledLoss(2),
        "learned": learned(2),
    }[kind]
    model = problem.model(double=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step = Step(model, model.groups, balance, torch.optim.SGD([*model.parameters()], lr=0.1), 0.0)
    step.update(next(iter(problem.batches(batch_size=32).windows(1))))
    after = model.state_dict()
    assert torch.equal(before["heads.stacks.1.weight"], after["heads.stacks.1.weight"])
    assert torch.equal(before["heads.stacks.1.bias"], after["heads.stacks.1.bias"])
    assert not torch.equal(before["heads.stacks.0.weight"], after["heads.stacks.0.weight"])
    assert step.totals[2, 1] == 0


@pytest.fixture
def learned():
    class Learned(LossBalancer):
        """Uncertainty weighting, mean-like: ½ Σ (e^(−s) L + s) / K over the present tasks."""

        def __init__(self, num_tasks):
            super().__init__()
            self.num_tasks = num_tasks
            self.log_variances = nn.Parameter(torch.zeros(num_tasks, dtype=torch.float64))

        def objective(self, losses, present, counts):
            terms = torch.exp(-self.log_variances) * losses + self.log_variances
            return 0.5 * (terms * present).sum() / present.sum()

    return Learned


def test_weights_and_learned_parameters_of_any_balancer(exact, learned):
    """One backward through everything gives the same gradients as the update's two stages."""
    from polytask.training.measure import group_losses

    balance, model = learned(2), exact.model(double=True)
    with torch.no_grad():
        balance.log_variances.copy_(torch.tensor([0.3, -0.4]))
    sums, counts = group_losses(model(exact.table.inputs).outputs, exact.table, model.groups)
    losses = sums / counts
    losses.retain_grad()
    balance(losses, counts > 0, counts).backward()
    every = [*model.parameters(), *balance.parameters()]
    expected = [p.grad.clone() for p in every]
    step = Step(model, model.groups, balance, torch.optim.SGD(every, lr=0.0), 0.0)
    step.update(next(iter(exact.batches(batch_size=32, shuffle=False).windows(1))))
    for parameter, gradient in zip(every, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-14)
    assert step.totals[2].tolist() == pytest.approx(losses.grad.tolist(), rel=1e-6)
    assert balance.log_variances.grad.abs().min() > 1e-3


def test_fixed_weights_reach_the_update(exact):
    on, off = exact.model(double=True), exact.model(double=True)
    one_update(exact, on, balance=FixedWeights([1.0, 3.0]))
    one_update(exact, off, balance=FixedWeights([1.0, 0.0]))
    start = exact.model(double=True).state_dict()
    moved = {
        name: (
            on.state_dict()[name] - start[name],
            off.state_dict()[name] - start[name],
        )
        for name in ("heads.stacks.0.bias", "heads.stacks.1.bias")
    }
    assert moved["heads.stacks.1.bias"][1].abs().max() == 0
    torch.testing.assert_close(4 * moved["heads.stacks.0.bias"][0], moved["heads.stacks.0.bias"][1])


def test_global_clip(exact):
    free, clipped = exact.model(double=True), exact.model(double=True)
    start = flat(free)
    one_update(exact, free)
    one_update(exact, clipped, clip_norm=0.01)
    a, b = flat(free) - start, flat(clipped) - start
    assert a.norm() > 0.1 * 0.01
    assert b.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-12)
    torch.testing.assert_close(b / b.norm(), a / a.norm())


def test_a_gradient_below_the_limit_is_not_touched(exact):
    free, clipped = exact.model(double=True), exact.model(double=True)
    one_update(exact, free)
    one_update(exact, clipped, clip_norm=1e6)
    assert torch.equal(flat(free), flat(clipped))


def test_rates_per_role_and_per_task(exact):
    start = flat_by_name(exact.model(double=True))
    moved = {}
    for rates in ({}, {"role:head": 0.0}, {"task:z": 0.25}, {"role:backbone": 0.5, "task:z": 2.0}):
        model = exact.model(double=True)
        spec = OptimizerSpec("sgd", 0.1, 0.0, momentum=0.0, rates=rates)
        one_update(exact, model, spec=spec)
        now = flat_by_name(model)
        moved[tuple(rates)] = {name: now[name] - start[name] for name in now}
    plain = moved[()]
    for name, step in plain.items():
        head, own = name.startswith("heads"), name.startswith("heads.stacks.1")
        torch.testing.assert_close(moved[("role:head",)][name], (0.0 if head else 1.0) * step)
        torch.testing.assert_close(moved[("task:z",)][name], (0.25 if own else 1.0) * step)
        factor = 2.0 if own else 1.0 if head else 0.5
        torch.testing.assert_close(moved[("role:backbone", "task:z")][name], factor * step)


def flat_by_name(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_tasks_of_interleaved_groups_keep_the_users_order(make_problem):
    """Groups (a, c) and (b): numbers per task must come back as a, b, c."""
    from polytask import Binary, MultiTaskModel, Regression
    from polytask.backbones import MLP
    from polytask.data import Batch, ResidentBatches

    values = np.arange(8.0)
    tasks = [
        Regression("a", center=0.0, scale=1.0).fit(values),
        Binary("b").fit(np.array([0, 1] * 4)),
        Regression("c", center=0.0, scale=1.0).fit(values),
    ]
    model = MultiTaskModel.hard(MLP(2, width=4, depth=1, dropout=0.0), tasks)
    assert [g.indices for g in model.groups] == [(0, 2), (1,)]
    mask = torch.ones(8, 2, dtype=torch.bool)
    mask[:5, 1] = False
    table = Batch(
        torch.zeros(8, 2),
        {"a": torch.zeros(8, 2), "b": torch.ones(8, 1)},
        {"a": mask, "b": torch.arange(8)[:, None] < 6},
        None,
        torch.arange(8),
    )
    balance = FixedWeights([1.0, 2.0, 5.0])
    step = Step(model, model.groups, balance, PLAIN.build(model.roles()), 0.0)
    step.update(next(iter(ResidentBatches(table, batch_size=8).windows(1))))
    assert step.totals[1].tolist() == [8.0, 6.0, 3.0]
    assert step.totals[2].tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8])


def test_penalties_are_added_once_and_unweighted(exact):
    """Over four micro-batches the penalty still counts once, whatever the task weights are."""

    class Penalised(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.groups = inner, inner.groups

        def forward(self, inputs):
            output = self.inner(inputs)
            size = 0.5 * self.inner.backbone.layers[0].weight.square().sum()
            return output._replace(shared=output.shared._replace(penalties={"size": size}))

    start = exact.model(double=True).backbone.layers[0].weight.detach().clone()
    moved = []
    for parts in (1, 4):
        plain, penalised = exact.model(double=True), Penalised(exact.model(double=True))
        one_update(exact, plain, batch_size=32 // parts, parts=parts)
        step = Step(
            penalised,
            plain.groups,
            FixedWeights([7.0, 7.0]),
            torch.optim.SGD(penalised.parameters(), lr=0.1),
            0.0,
        )
        batches = exact.batches(batch_size=32 // parts, shuffle=False)
        step.update(next(iter(batches.windows(parts))))
        weight = penalised.inner.backbone.layers[0].weight
        moved.append(weight.detach() - plain.backbone.layers[0].weight.detach())
    for difference in moved:
        torch.testing.assert_close(difference, -0.1 * start, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [lambda: FixedWeights([1.0, 3.0]), lambda: PooledLoss(2)])
def test_known_weights_and_differentiated_weights_agree(exact, make):
    """A weighted mean says its weights; the same mean behind a plain balancer is differentiated."""

    class Plain(LossBalancer):
        num_tasks = 2

        def __init__(self):
            super().__init__()
            self.inner = make()

        def objective(self, losses, present, counts):
            return self.inner(losses, present, counts)

    known, differentiated = exact.model(double=True), exact.model(double=True)
    a = one_update(exact, known, balance=make())
    b = one_update(exact, differentiated, balance=Plain())
    torch.testing.assert_close(flat(known), flat(differentiated), rtol=0, atol=1e-14)
    torch.testing.assert_close(a.totals, b.totals, rtol=1e-6, atol=0)
