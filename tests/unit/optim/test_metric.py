"""proximal_steps: the metric in which a consistent proximal operator works."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument, Unsupported
from polytask.optim import OptimizerSpec, proximal_steps
from polytask.optim.roles import Kind, ParameterInfo, Role

RATE = 0.05


def lasso_problem():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(60, 12, generator=generator, dtype=torch.float64)
    truth = torch.zeros(12, dtype=torch.float64)
    truth[:4] = torch.tensor([2.0, -1.5, 1.0, 0.5])
    y = x @ truth + 0.3 * torch.randn(60, generator=generator, dtype=torch.float64)
    return x, y


def lasso_by_coordinates(x, y, strength):
    """argmin ‖y − Xw‖² / 2n + λ‖w‖₁ by coordinate descent."""
    rows, features = x.shape
    w = torch.zeros(features, dtype=torch.float64)
    for _ in range(300):
        for j in range(features):
            rest = y - x @ w + x[:, j] * w[j]
            rho = x[:, j] @ rest / rows
            w[j] = rho.sign() * (rho.abs() - strength).clamp(min=0) / (x[:, j] @ x[:, j] / rows)
    return w


def train(make, step_of, strength=0.1, updates=3000):
    x, y = lasso_problem()
    weight = nn.Parameter(torch.zeros(12, dtype=torch.float64))
    optimizer = make([weight])
    for _ in range(updates):
        optimizer.zero_grad()
        (0.5 * ((x @ weight - y) ** 2).mean()).backward()
        optimizer.step()
        with torch.no_grad():
            threshold = strength * step_of(optimizer, weight)
            weight.copy_(weight.sign() * (weight.abs() - threshold).clamp(min=0))
    return weight.detach()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=RATE),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_fixed_point_is_the_lasso(name):
    x, y = lasso_problem()
    expected = lasso_by_coordinates(x, y, 0.1)
    assert (expected == 0).sum() >= 3
    found = train(OPTIMIZERS[name], proximal_steps)
    assert torch.allclose(found, expected, atol=1e-8)
    assert torch.equal(found == 0, expected == 0)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_the_plain_learning_rate_solves_another_problem(name):
    """The mutation seen everywhere: threshold η λ whatever the optimizer."""
    x, y = lasso_problem()
    expected = lasso_by_coordinates(x, y, 0.1)
    found = train(OPTIMIZERS[name], lambda optimizer, _: optimizer.param_groups[0]["lr"])
    assert (found - expected).abs().max() > 1e-3


def test_adams_metric_is_the_one_of_the_last_step():
    """w moves by exactly s · m̂, with m̂ the bias-corrected first moment."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=RATE, betas=(0.8, 0.95), eps=1e-3)
    for step in range(1, 4):
        weight.grad = weight.detach() * step + 0.1
        before = weight.detach().clone()
        optimizer.step()
        first = optimizer.state[weight]["exp_avg"] / (1 - 0.8**step)
        moved = before - weight.detach()
        assert torch.allclose(moved, proximal_steps(optimizer, weight) * first, rtol=1e-12)


def test_fused_state_is_read_the_same_way():
    weight = nn.Parameter(torch.ones(3))
    row = ParameterInfo("w", weight, Role.HEAD, Kind.WEIGHT, frozenset({"a"}))
    optimizer = OptimizerSpec("adamw", weight_decay=0.0).build([row])
    weight.grad = torch.tensor([1.0, 2.0, 4.0])
    optimizer.step()
    # After one step v̂ = g², so the step size is η / (|g| + ε).
    assert torch.allclose(proximal_steps(optimizer, weight), 1e-3 / (weight.grad + 1e-8))


def test_dampening_without_momentum_does_nothing_as_in_torch():
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=RATE, dampening=0.5)
    assert proximal_steps(optimizer, weight) == RATE


def test_each_group_has_its_own_rate():
    first, second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": [second], "lr": 0.5}], lr=RATE)
    assert proximal_steps(optimizer, first) == RATE
    assert proximal_steps(optimizer, second) == 0.5


@pytest.mark.parametrize("kind", [torch.optim.Adagrad, torch.optim.NAdam, torch.optim.RMSprop])
def test_other_optimizers_are_refused_with_the_list(kind):
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(Unsupported, match=f"SGD, Adam, AdamW.*{kind.__name__}"):
        proximal_steps(kind([weight]), weight)


def test_a_subclass_may_step_otherwise_and_is_refused():
    class Mine(torch.optim.Adam):
        pass

    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(Unsupported, match="Mine"):
        proximal_steps(Mine([weight]), weight)


def test_before_the_first_step_there_is_no_metric():
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(InvalidArgument, match=r"optimizer\.step\(\)"):
        proximal_steps(torch.optim.Adam([weight]), weight)


def test_maximising_and_strangers_are_refused():
    weight, stranger = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(4))
    with pytest.raises(Unsupported, match="maximize"):
        proximal_steps(torch.optim.SGD([weight], lr=RATE, maximize=True), weight)
    with pytest.raises(InvalidArgument, match=r"\(4,\)"):
        proximal_steps(torch.optim.SGD([weight], lr=RATE), stranger)
