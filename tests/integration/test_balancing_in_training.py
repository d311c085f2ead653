"""Loss balancers inside the trainer's step and behind the engine."""

import copy

import numpy as np
import pytest
import torch

from polytask import Binary, MultiTaskBackward, MultiTaskModel, Regression, Trainer
from polytask.aggregation import IMTL
from polytask.backbones import MLP
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
from polytask.data import Batch, ResidentBatches
from polytask.optim import Kind, OptimizerSpec, ParameterInfo, Role
from polytask.tasks import group_tasks
from polytask.training import RandomScope
from polytask.training.step import Step

METHODS = {
    "dwa": DWA,
    "famo": FAMO,
    "geometric-mean": GeometricMean,
    "imtl-l": IMTLL,
    "performance": PerformanceWeights,
    "plain-smooth-tchebycheff": PlainSmoothTchebycheff,
    "random": RandomWeights,
    "smooth-tchebycheff": lambda k: SmoothTchebycheff(k, warmup_epochs=1),
    "uncertainty": lambda k: UncertaintyWeights(["regression", "classification"][:k]),
    "uw-so": UWSO,
}


@pytest.fixture
def tasks_and_batches():
    draws = np.random.default_rng(0)
    x = draws.normal(size=(64, 3))
    y, z = x @ (1.0, -2.0, 0.5), (x[:, 0] > 0).astype(float)
    y[draws.random(64) < 0.2] = np.nan
    z[draws.random(64) < 0.6] = np.nan
    tasks = [Regression("y").fit(y), Binary("z").fit(z)]
    encoded = {task.name: task.encode(v) for task, v in zip(tasks, (y, z), strict=True)}
    table = Batch(
        torch.from_numpy(x).float(),
        {name: target[:, None] for name, (target, _) in encoded.items()},
        {name: mask[:, None] for name, (_, mask) in encoded.items()},
        None,
        torch.arange(64),
    )
    return tasks, ResidentBatches(table, batch_size=8, shuffle=False)


def model_for(tasks):
    with RandomScope(0):
        return MultiTaskModel.hard(MLP(3, width=8, depth=1, dropout=0.0), tasks)


@pytest.mark.parametrize("name", METHODS)
def test_a_skipped_update_leaves_no_trace_in_the_balancer(name, tasks_and_batches):
    """Losses are finite, the gradient is not: the balancer cannot know, the step puts it back."""
    tasks, batches = tasks_and_batches
    model, balance = model_for(tasks), METHODS[name](2)
    spec = OptimizerSpec("sgd", learning_rate=0.01, weight_decay=0.0, momentum=0.0)
    learned = [
        ParameterInfo(name, value, Role.BALANCE, Kind.SCALAR, frozenset({"y", "z"}))
        for name, value in balance.named_parameters()
    ]
    optimizer = spec.build([*model.roles(), *learned])
    step = Step(model, group_tasks(tasks), balance, optimizer, clip_norm=0.0)
    windows = list(batches.windows(1))
    assert step.update(windows[0])
    before = copy.deepcopy(balance.state_dict())
    hook = model.backbone.layers[0].weight.register_hook(lambda slope: slope * torch.inf)
    assert not step.update(windows[1])
    after = balance.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(torch.nan_to_num(value), torch.nan_to_num(after[key])), key
    hook.remove()
    assert step.update(windows[1])


@pytest.mark.parametrize("name", METHODS)
def test_a_run_with_the_trainer(name, tasks_and_batches):
    tasks, batches = tasks_and_batches
    balance = METHODS[name](2)
    trainer = Trainer(model_for(tasks), tasks, balance=balance, epochs=3)
    start = [parameter.detach().clone() for parameter in balance.parameters()]
    trainer.fit(batches, batches, balancing=batches if balance.held_out else None)
    for parameter, value in zip(balance.parameters(), start, strict=True):
        assert not torch.equal(parameter.detach(), value), "the optimizer does not hold it"
        groups = trainer.optimizer.param_groups
        (group,) = [g for g in groups if any(p is parameter for p in g["params"])]
        assert group["weight_decay"] == 0.0
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not held & {id(buffer) for buffer in balance.buffers()}


@pytest.mark.parametrize("name", METHODS)
def test_the_engine_and_a_loop_by_hand_agree(name):
    """Heads get the weights, too: the gradient is that of the objective, also without labels."""
    engine, by_hand = METHODS[name](2), METHODS[name](2)
    step = MultiTaskBackward(engine)
    trunk, *heads = (torch.linspace(0.2 * k, 1.0, 3).double().requires_grad_() for k in range(3))
    leaves = [trunk, *heads, *engine.parameters()]
    for number in range(3):
        present = torch.tensor([True, number != 1])
        losses = [(trunk @ head - 0.1 * number).square() + 0.1 for head in heads]
        slopes = torch.autograd.grad(
            by_hand(torch.stack(losses), present),
            [trunk, *heads, *by_hand.parameters()],
            retain_graph=True,
        )
        for leaf in leaves:
            leaf.grad = None
        report = step({"a": losses[0], "b": losses[1] if present[1] else None})
        assert report.weights[1] != 0.0 or not present[1]
        for leaf, slope in zip(leaves, slopes, strict=True):
            found = torch.zeros_like(slope) if leaf.grad is None else leaf.grad
            torch.testing.assert_close(found, slope, rtol=1e-9, atol=1e-12)
        for one in (engine, by_hand):
            one.observe(torch.tensor([0.5, 0.7], dtype=torch.float64), present)


def test_imtl_behind_the_engine():
    """Its scales move with the losses; heads get weight 1."""
    trunk, *heads = (torch.linspace(0.2 * k, 1.0, 3).double().requires_grad_() for k in range(3))
    method = IMTL(learning_rate=0.2)
    step = MultiTaskBackward(method)
    for number in range(3):
        losses = [(trunk @ head).square() * size for head, size in zip(heads, (1, 9), strict=True)]
        slopes = [torch.autograd.grad(loss, trunk, retain_graph=True)[0] for loss in losses]
        ends = [torch.autograd.grad(losses[k], heads[k], retain_graph=True)[0] for k in range(2)]
        for leaf in (trunk, *heads):
            leaf.grad = None
        report = step(losses)
        torch.testing.assert_close(trunk.grad, report.weights @ torch.stack(slopes))
        for head, end in zip(heads, ends, strict=True):
            torch.testing.assert_close(head.grad, end)
        if number == 0:
            norms = torch.stack([slope.norm() for slope in slopes])
            torch.testing.assert_close(report.weights, norms.flip(0) / norms.sum())
    assert method.log_scales[1] < -0.1  # that loss is above 1
