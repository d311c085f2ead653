"""Slow and fast weights: when they meet, what is kept, what survives."""

import pytest
import torch
from torch import nn

from polytask._files.state import flatten_state, unflatten_state
from polytask.errors import InvalidArgument
from polytask.regularization.update import Lookahead


def model(value: float = 0.0) -> nn.Linear:
    made = nn.Linear(1, 1)
    for parameter in made.parameters():
        parameter.data.fill_(value)
    return made


def walked(lookahead: Lookahead, net: nn.Module, updates) -> list[float]:
    """An optimizer that adds 1; the weight after every update."""
    seen = []
    for update in updates:
        for parameter in net.parameters():
            parameter.data.add_(1.0)
        lookahead.update(net, update)
        seen.append(net.weight.item())
    return seen


def test_three_steps_forward_one_step_back():
    lookahead, net = Lookahead(3, share=0.25), model()
    lookahead.start(net)
    assert walked(lookahead, net, range(1, 8)) == [1, 2, 0.75, 1.75, 2.75, 1.5, 2.5]
    assert net.bias.item() == 2.5
    with lookahead.swapped(net):
        assert (net.weight.item(), net.bias.item()) == (1.5, 1.5)
    assert net.weight.item() == 2.5


def test_before_the_first_step_back_the_weights_of_the_model_are_meant():
    lookahead, net = Lookahead(3), model(4.0)
    lookahead.start(net)
    walked(lookahead, net, [1, 2])
    assert not lookahead.active
    with lookahead.swapped(net):
        assert net.weight.item() == 6.0
    walked(lookahead, net, [3])
    assert lookahead.active


def test_the_whole_share_is_the_optimizer_alone():
    lookahead, net = Lookahead(2, share=1.0), model()
    lookahead.start(net)
    assert walked(lookahead, net, range(1, 6)) == [1, 2, 3, 4, 5]


def test_state_survives_a_file():
    whole, net = Lookahead(3), model()
    whole.start(net)
    expected = walked(whole, net, range(1, 10))
    first, net = Lookahead(3), model()
    first.start(net)
    walked(first, net, range(1, 5))
    state = unflatten_state(*flatten_state(first.state_dict()))
    second, other = Lookahead(3), model(9.0)
    second.start(other)
    second.load_state_dict(state)
    other.load_state_dict(net.state_dict())
    assert second.active
    assert walked(second, other, range(5, 10)) == expected[4:]


def test_a_run_begins_anew():
    lookahead, net = Lookahead(1), model()
    lookahead.start(net)
    walked(lookahead, net, [1])
    lookahead.start(model(5.0))
    assert not lookahead.active


def test_nothing_works_before_start():
    with pytest.raises(InvalidArgument, match=r"`start\(model\)` must be called"):
        Lookahead(1).update(model(), 1)


@pytest.mark.parametrize(
    ("every", "share", "words"),
    [
        (0, 0.5, "`every` must"),
        (2.5, 0.5, "`every` must"),
        (5, 0.0, "`share` must"),
        (5, 1.5, "`share` must"),
    ],
)
def test_arguments(every, share, words):
    with pytest.raises(InvalidArgument, match=words):
        Lookahead(every, share)


def test_description():
    assert Lookahead().describe() == "every 5 updates back to 0.5 of the way they made"


def test_a_zero_of_the_fast_weights_is_none_of_the_slow_ones():
    """Why penalties that promise zeros are refused beside it."""
    lookahead, net = Lookahead(1), model(1.0)
    lookahead.start(net)
    for update in range(1, 20):
        net.weight.data.zero_()
        lookahead.update(net, update)
    assert net.weight.item() == 0.5**19
    assert not torch.equal(net.weight, torch.zeros(1, 1))
