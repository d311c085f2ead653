"""The worst point of one task."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from polytask.errors import InvalidArgument
from polytask.regularization.update import TaskSAM


def test_only_what_the_task_reaches_is_moved_by_one_length():
    trunk, own, other = (torch.ones(2, requires_grad=True) for _ in range(3))
    frozen = torch.ones(2)
    names = {"trunk": trunk, "own": own, "other": other, "frozen": frozen}
    loss = 3.0 * trunk[0] + 4.0 * own[1] + frozen.sum()
    worst = TaskSAM(0.5).worst(names, loss)
    assert set(worst) == {"trunk", "own"}
    assert worst["trunk"].tolist() == pytest.approx([1.3, 1.0])
    assert worst["own"].tolist() == pytest.approx([1.0, 1.4])
    assert trunk.tolist() == [1.0, 1.0]
    assert trunk.grad is None


def test_the_gradient_at_the_worst_point_arrives_at_the_weights_of_now():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double(), torch.randn(5, 3)
    x = x.double()
    sam, parameters = TaskSAM(0.2), dict(net.named_parameters())
    worst = sam.worst(parameters, net(x).square().mean())
    functional_call(net, worst, (x,)).square().mean().backward()
    moved = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    moved.load_state_dict({name: value.detach() for name, value in worst.items()})
    moved(x).square().mean().backward()
    for here, there in zip(net.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(here.grad, there.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("factor", [0.0, 1e-42])
def test_a_gradient_of_nothing_moves_nothing(factor):
    w = torch.tensor([1.0], requires_grad=True)
    assert TaskSAM().worst({"w": w}, (factor * w).sum())["w"].tolist() == [1.0]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_does_not_stay_hidden(value):
    w = torch.tensor([1.0, 1.0], requires_grad=True)
    worst = TaskSAM().worst({"w": w}, (w * torch.tensor([value, 1.0])).sum())["w"]
    assert not torch.isfinite(worst).all()


def test_a_loss_without_a_graph_moves_nothing():
    w = torch.tensor([1.0], requires_grad=True)
    assert TaskSAM().worst({"w": w}, torch.tensor(2.0)) == {}


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan")])
def test_the_radius_is_positive(rho):
    with pytest.raises(InvalidArgument, match="`rho` must be positive"):
        TaskSAM(rho)


def test_description():
    assert "own worst point within the radius 0.05" in TaskSAM().describe()
