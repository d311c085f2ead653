"""The pull to the start, and what a checkpoint keeps of it."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument
from polytask.optim.roles import Selector
from polytask.regularization.objective import penalise
from polytask.regularization.objective.start_point import StartPoint


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))


def move(net: nn.Module) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)


@pytest.mark.parametrize("group", ["entry", "row", "column", "layer"])
def test_value_and_step(group):
    net = network()
    start = {key: value.clone() for key, value in net.state_dict().items()}
    bound = penalise(net, [StartPoint(0.5, Selector(group=group))], SGD(net.parameters(), lr=2.0))
    assert bound.values() == {"StartPoint": 0.0}
    move(net)
    assert bound.values()["StartPoint"] == pytest.approx(0.25 * 24)
    bound.prox_()
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, start[key] + (0.5 if "weight" in key else 1.0))
    assert bound.values()["StartPoint"] == pytest.approx(0.25 * 6)


def test_the_step_in_a_metric_is_where_the_slope_is_zero():
    generator = torch.Generator().manual_seed(0)
    start, u, s = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    penalty, step = StartPoint(0.6), s.exp()
    penalty.start([start])

    def slope(w: Tensor) -> float:
        w = w.clone().requires_grad_()
        objective = ((w - u).square() / step).sum() / 2 + penalty.value([w])
        return float(torch.autograd.grad(objective, w)[0].abs().max())

    w = u.clone()
    penalty.prox_([w], [step])
    assert slope(w) < 1e-13
    assert slope((u + 1.2 * step * start) / (1 + 1.2 * step)) > 1e-2
    assert slope(u / (1 + 0.6 * step)) > 1e-2


def test_blocks_that_wait_keep_their_places():
    """The second layer must not be pulled to the first one's start while that is frozen."""
    net = network()
    bound = penalise(net, [StartPoint(1.0)], SGD(net.parameters(), lr=1.0))
    first, second = net[0].weight.clone(), net[2].weight.clone()
    move(net)
    net[0].requires_grad_(False)
    bound.prox_()
    assert torch.equal(net[0].weight, first + 1)
    torch.testing.assert_close(net[2].weight, second + 0.5)
    # Both layers have 12 weights: with the places lost, this would be the result.
    wrong = (second + 1 + first.reshape(second.shape)) / 2
    assert not torch.allclose(net[2].weight, wrong)


def test_a_layer_that_adam_never_stepped_waits():
    net = network()
    optimizer = Adam(net.parameters(), lr=0.1)
    bound = penalise(net, [StartPoint(100.0)], optimizer)
    first, second = net[0].weight.clone(), net[2].weight.clone()
    move(net)
    net[2](torch.ones(2, 4)).sum().backward()
    optimizer.step()
    bound.prox_()
    assert torch.equal(net[0].weight, first + 1)
    assert (net[2].weight - second).abs().max() < 0.3


def test_a_resume_keeps_the_start():
    net = network()
    optimizer = SGD(net.parameters(), lr=1.0)
    saved = penalise(net, [StartPoint(1.0)], optimizer).state_dict()
    saved = {name: {key: w.clone() for key, w in state.items()} for name, state in saved.items()}
    move(net)
    later = penalise(net, [StartPoint(1.0)], optimizer)
    assert later.values()["StartPoint"] == 0
    later.load_state_dict(saved)
    assert later.values()["StartPoint"] == pytest.approx(12)
    with pytest.raises(InvalidArgument, match="shapes"):
        later.load_state_dict({"StartPoint": {"0": torch.zeros(1)}})


def test_a_start_may_be_given():
    net = network()
    optimizer = SGD(net.parameters(), lr=1.0)
    zeros = [torch.zeros(4, 3), torch.zeros(3, 4)]
    before = net[0].weight.clone()
    bound = penalise(net, [StartPoint(1.0, origin=zeros)], optimizer)
    zeros[0].fill_(9.0)
    bound.prox_()
    torch.testing.assert_close(net[0].weight, before / 2)
    with pytest.raises(InvalidArgument, match="one tensor per selected parameter"):
        penalise(net, [StartPoint(1.0, origin=zeros[:1])], optimizer)
    with pytest.raises(InvalidArgument, match="group"):
        StartPoint(1.0, Selector(group="column"), zeros)


def test_the_start_follows_the_model_and_is_no_view_of_it():
    net = network()
    bound = penalise(net, [StartPoint(1.0)], SGD(net.parameters(), lr=1.0))
    net.double()
    move(net)
    assert bound.values()["StartPoint"] == pytest.approx(12)


def test_words_and_arguments():
    assert "0.25" in StartPoint(0.25).describe()
    with pytest.raises(InvalidArgument, match="strength"):
        StartPoint(-1.0)
