"""A schedule of the weight decay."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Rprop

from polytask.optim import (
    Kind,
    ParameterInfo,
    Role,
    apply_decay,
    apply_rate,
    describe_groups,
    undecayed,
)


def weights(count: int = 2) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)) for _ in range(count)]


def optimizer_of(parameters) -> AdamW:
    groups = [
        {"params": [parameters[0]], "weight_decay": 0.4},
        {"params": [parameters[1]], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=0.1)


def decays(optimizer) -> list[float]:
    return [group["weight_decay"] for group in optimizer.param_groups]


def test_factors_refer_to_the_initial_decay():
    """Not to the decay of now: 0.5 twice is 0.5, not 0.25."""
    optimizer = optimizer_of(weights())
    for factor, wanted in ((0.5, 0.2), (0.5, 0.2), (0.0, 0.0), (1.0, 0.4), (2.0, 0.8)):
        apply_decay(optimizer, factor)
        assert decays(optimizer) == [pytest.approx(wanted, abs=1e-15), 0.0]


def test_rate_and_decay_do_not_touch_each_other():
    optimizer = optimizer_of(weights())
    apply_decay(optimizer, 0.5)
    apply_rate(optimizer, 0.1)
    assert decays(optimizer)[0] == 0.2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_the_optimizer_uses_it():
    """AdamW without a gradient signal shrinks by 1 − rate · decay · factor."""
    (weight,) = weights(1)
    optimizer = AdamW([weight], lr=0.1, weight_decay=0.4)
    apply_decay(optimizer, 0.25)
    weight.grad = torch.zeros(2)
    optimizer.step()
    assert weight.tolist() == pytest.approx([1 - 0.1 * 0.4 * 0.25] * 2)


def test_the_initial_decay_goes_through_a_checkpoint():
    optimizer = optimizer_of(weights())
    apply_decay(optimizer, 0.0)
    later = optimizer_of(weights())
    later.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert decays(later) == [0.0, 0.0]
    apply_decay(later, 0.5)
    assert decays(later) == [0.2, 0.0]


def test_optimizers_without_decay_stay_as_they_are():
    optimizer = Rprop(weights(1))
    before = dict(optimizer.param_groups[0])
    apply_decay(optimizer, 0.5)
    assert optimizer.param_groups[0] == before


def test_reports_show_the_decay_as_it_was_given():
    """A schedule that ends at 0 does not turn decayed weights into excluded ones."""
    parameters = weights()
    infos = [
        ParameterInfo(name, parameter, Role.HEAD, Kind.WEIGHT, frozenset({"a"}))
        for name, parameter in zip(("w", "v"), parameters, strict=True)
    ]
    optimizer = optimizer_of(parameters)
    before = describe_groups(optimizer, infos)
    apply_decay(optimizer, 0.0)
    assert decays(optimizer) == [0.0, 0.0]
    assert describe_groups(optimizer, infos) == before
    assert undecayed(optimizer, infos) == ("v",)


def test_coupled_decay_too():
    optimizer = SGD(weights(1), lr=0.1, weight_decay=0.5)
    apply_decay(optimizer, 0.1)
    assert decays(optimizer) == [0.05]
