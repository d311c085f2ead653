"""The squared derivative of the losses by the inputs."""

import pytest
import torch
from torch import Tensor, nn

from polytask.errors import InvalidArgument
from polytask.regularization.objective.input_gradient import InputGradient

ROWS = 6


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def batch(rows: int = ROWS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(rows, k, generator=generator, dtype=torch.float64) for k in (3, 2))
    return x, y


def objective(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (net(x) - y).square().sum() / len(x)


def row_by_row(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(1/n) Σ ‖∂ℓ_i/∂x_i‖², each row on its own."""
    squares = []
    for row, target in zip(x, y, strict=True):
        point = row.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((net(point) - target).square().sum(), point)
        squares.append(gradient.square().sum())
    return torch.stack(squares).mean()


def value(net: nn.Module, x: Tensor, y: Tensor, count: Tensor | float | None = None) -> Tensor:
    x = x.clone().requires_grad_()
    return InputGradient(0.8).value(objective(net, x, y), [x], len(x) if count is None else count)


def test_half_the_mean_over_rows():
    net, (x, y) = network(), batch()
    expected = 0.4 * row_by_row(net, x, y)
    torch.testing.assert_close(value(net, x, y), expected)
    torch.testing.assert_close(value(net, x, y, torch.tensor(ROWS)), expected)


def test_wrong_factors_are_not():
    """Without n, with n², and un-halved."""
    net, (x, y) = network(), batch()
    expected = 0.4 * row_by_row(net, x, y)
    for count in (1, ROWS**2, 2 * ROWS):
        assert not torch.isclose(value(net, x, y, count), expected, rtol=1e-2)


def test_rows_that_occur_twice_change_nothing():
    net, (x, y) = network(), batch()
    twice = value(net, x.repeat(2, 1), y.repeat(2, 1))
    torch.testing.assert_close(twice, value(net, x, y))


def test_its_gradient_by_the_weights():
    net, (x, y) = network(), batch()
    weight = net[0].weight
    (gradient,) = torch.autograd.grad(value(net, x, y), weight)
    numbers = torch.zeros_like(weight)
    with torch.no_grad():
        for place in range(weight.numel()):
            sides = []
            for step in (1e-5, -1e-5):
                weight.view(-1)[place] += step
                with torch.enable_grad():
                    sides.append(float(0.4 * row_by_row(net, x, y)))
                weight.view(-1)[place] -= step
            numbers.view(-1)[place] = (sides[0] - sides[1]) / 2e-5
    torch.testing.assert_close(gradient, numbers, atol=1e-7, rtol=1e-6)


def test_several_inputs_and_unused_ones():
    net, (x, y) = network(), batch()
    whole = value(net, x, y)
    left, right, unused = (
        part.clone().requires_grad_() for part in (x[:, :1], x[:, 1:], torch.ones(2))
    )
    loss = objective(net, torch.cat([left, right], dim=1), y)
    parts = InputGradient(0.8).value(loss, [left, right, unused], ROWS)
    torch.testing.assert_close(parts, whole)


def test_the_objective_can_still_go_backward():
    net, (x, y) = network(), batch()
    x.requires_grad_()
    loss = objective(net, x, y)
    (loss + InputGradient(0.8).value(loss, [x], ROWS)).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_training_lowers_it():
    x, y = batch(40)
    found = []
    for strength in (0.0, 1.0):
        net = network()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(150):
            inputs = x.clone().requires_grad_()
            loss = objective(net, inputs, y)
            optimizer.zero_grad()
            (loss + InputGradient(strength).value(loss, [inputs], len(x))).backward()
            optimizer.step()
        found.append(float(row_by_row(net, x, y)))
    assert found[1] < found[0] / 3


def test_words_and_arguments():
    net, (x, y) = network(), batch()
    assert "0.8" in InputGradient(0.8).describe()
    with pytest.raises(InvalidArgument, match="strength"):
        InputGradient(-1.0)
    for inputs in ([], [x]):
        with pytest.raises(InvalidArgument, match="requires_grad_"):
            InputGradient(0.8).value(objective(net, x, y), inputs, ROWS)
