"""What both averages have in common, and where each begins."""

import pytest
import torch
from torch import nn

from polytask._files.state import flatten_state, unflatten_state
from polytask.errors import InvalidArgument
from polytask.regularization.weights import EMA, SWA, WeightAverage

AVERAGES = {"ema": lambda: EMA(0.9), "swa": lambda: SWA(0.0)}


@pytest.fixture(params=AVERAGES)
def average(request) -> WeightAverage:
    return AVERAGES[request.param]()


def model(value: float = 0.0) -> nn.Linear:
    made = nn.Linear(2, 2)
    fill(made, value)
    return made


def fill(net: nn.Module, value: float) -> None:
    with torch.no_grad():
        for place, parameter in enumerate(net.parameters()):
            parameter.fill_(value + 10 * place)


def fed(average: WeightAverage, *values: float) -> nn.Linear:
    net = model()
    average.start(net)
    for update, value in enumerate(values, 1):
        fill(net, value)
        average.update(net, update, update / max(4, len(values)))
    return net


def inside(average: WeightAverage, net: nn.Module) -> list[float]:
    with average.swapped(net):
        return [float(p.detach().flatten()[0]) for p in net.parameters()]


def test_nothing_is_active_before_the_first_update(average):
    net = fed(average)
    assert not average.active
    fill(net, 5.0)
    assert inside(average, net) == [5.0, 15.0]  # not what the weights were at the start
    average.update(net, 1, 0.25)
    assert average.active


def test_the_first_update_copies(average):
    net = fed(average, 3.0)
    fill(net, 8.0)
    assert inside(average, net) == [3.0, 13.0]


def test_the_average_is_not_the_model(average):
    net = fed(average, 3.0, 3.0)
    fill(net, 100.0)
    assert inside(average, net) == pytest.approx([3.0, 13.0])
    assert [float(p.detach().flatten()[0]) for p in net.parameters()] == [100.0, 110.0]


def test_own_weights_come_back_after_an_error(average):
    net = fed(average, 1.0, 2.0)
    before = [p.detach().clone() for p in net.parameters()]
    identity = [id(p) for p in net.parameters()]
    with pytest.raises(ZeroDivisionError), average.swapped(net):
        1 / float(torch.equal(net.weight, before[0]))  # 0 only if the average is inside
    assert all(torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True))
    assert [id(p) for p in net.parameters()] == identity  # an optimizer holds these


def test_what_happens_inside_does_not_change_the_average(average):
    net = fed(average, 1.0, 2.0)
    wanted = inside(average, net)
    with average.swapped(net):
        fill(net, 50.0)
    assert inside(average, net) == wanted


def test_state_goes_through_tensors_and_json(average):
    net = fed(average, 1.0, 4.0)
    stored = unflatten_state(*flatten_state(average.state_dict()))
    stored = {**stored, "average": {k: v.clone() for k, v in stored["average"].items()}}
    later = type(average)()
    later.start(net)
    later.load_state_dict(stored)
    assert later.active
    fill(net, 9.0)
    assert inside(later, net) == inside(average, net)


@pytest.mark.parametrize("make", AVERAGES.values(), ids=AVERAGES)
def test_a_resumed_run_goes_on_as_the_whole_one(make):
    values = [1.0, 5.0, -2.0, 7.0, 3.0]
    whole, first, second = make(), make(), make()
    net = fed(whole, *values)
    fed(first, *values[:2])
    later = model()
    second.start(later)
    second.load_state_dict(first.state_dict())
    for update, value in enumerate(values[2:], 3):
        fill(later, value)
        second.update(later, update, update / 5)
    assert inside(second, later) == inside(whole, net)


def test_the_state_of_a_run_without_updates_is_inactive(average):
    fed(average)
    later = type(average)()
    later.start(model())
    later.load_state_dict(average.state_dict())
    assert not later.active


def test_a_new_start_forgets(average):
    fed(average, 1.0)
    average.start(model())
    assert not average.active


def test_the_state_of_another_model_is_refused(average):
    fed(average, 1.0)
    other = type(average)()
    other.start(nn.Linear(2, 2, bias=False))
    with pytest.raises(InvalidArgument, match="`state` must hold"):
        other.load_state_dict(average.state_dict())
    shorter = average.state_dict()
    shorter["average"]["bias"] = torch.zeros(1)
    other.start(model())
    with pytest.raises(InvalidArgument, match=r"`state of 'bias'` must have the shape \(2,\)"):
        other.load_state_dict(shorter)


def test_start_comes_first(average):
    with pytest.raises(InvalidArgument, match="start"):
        average.update(model(), 1, 1.0)
    with pytest.raises(InvalidArgument, match="start"):
        average.state_dict()


def test_another_model_of_the_same_shape_is_read_and_filled(average):
    fed(average, 1.0)
    other = model(5.0)
    average.update(other, 2, 0.5)
    found = inside(average, other)
    assert 1.0 < found[0] < 5.0
    assert float(other.weight.detach()[0, 0]) == 5.0


def test_frozen_parameters_keep_their_bits(average):
    net = fed(average, 0.1)
    net.weight.requires_grad_(False)
    before = net.weight.detach().clone()
    for update in range(2, 9):
        average.update(net, update, update / 10)
    with average.swapped(net):
        assert torch.equal(net.weight, before)
        assert not net.weight.requires_grad


def test_ema_halves():
    average = EMA(0.5, warmup=False)
    assert inside(average, fed(average, 1.0, 2.0, 4.0)) == [2.75, 12.75]


def test_swa_waits_for_the_last_part():
    """Updates at fractions ¼, ½, ¾, 1: those after ½ count, that at ½ does not."""
    average = SWA(0.5)
    net = fed(average, 1.0, 2.0)
    assert not average.active
    fill(net, 4.0)
    average.update(net, 3, 0.75)
    fill(net, 8.0)
    average.update(net, 4, 1.0)
    assert inside(average, net) == [6.0, 16.0]


def test_only_swa_asks_for_new_running_statistics():
    """An EMA follows its weights closely; the statistics of the last updates fit it."""
    assert SWA.needs_batch_norm_update
    assert not EMA.needs_batch_norm_update


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_options_out_of_range(value):
    with pytest.raises(InvalidArgument, match="`decay` must be at least 0"):
        EMA(value)
    with pytest.raises(InvalidArgument, match="`start` must be at least 0"):
        SWA(value)


def test_descriptions():
    assert EMA(0.99).describe() == "decay 0.99: about the last 100 updates, fewer at the start"
    assert EMA(0.99, warmup=False).describe().endswith("100 updates")
    assert SWA().describe() == "mean over the updates after 75% of the run"
