"""check_binding: an optimizer made for another model trains nothing, so it is refused."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument
from polytask.optim import check_binding


def test_exact_binding_passes_and_frozen_parameters_may_be_either_way():
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    check_binding(torch.optim.SGD([model.weight], lr=0.1), model)
    check_binding(torch.optim.SGD(model.parameters(), lr=0.1), model)


def test_another_models_optimizer_is_named():
    model, other = nn.Linear(2, 1), nn.Linear(3, 1)
    with pytest.raises(InvalidArgument, match="lacks 'weight', 'bias'"):
        check_binding(torch.optim.SGD(other.parameters(), lr=0.1), model)


def test_without_the_check_training_would_be_silent():
    """The error in the wild: the model never moves and its gradients pile up."""
    torch.manual_seed(0)
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    before, norms = model.weight.detach().clone(), []
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(4, 2)).sum().backward()
        optimizer.step()
        norms.append(model.weight.grad.abs().sum().item())
    assert torch.equal(model.weight, before)
    assert norms[2] == pytest.approx(3 * norms[0])
    with pytest.raises(InvalidArgument):
        check_binding(optimizer, model)


def test_foreign_parameters_are_shown():
    model, other = nn.Linear(2, 1), nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1)
    with pytest.raises(InvalidArgument, match=r"does not have: 'shape \(1, 3\)'"):
        check_binding(optimizer, model)


def test_doubled_parameters_are_named():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [model.weight]})
    with pytest.raises(InvalidArgument, match="more than once 'weight'"):
        check_binding(optimizer, model)


def test_many_names_are_cut():
    model = nn.ModuleList(nn.Linear(1, 1) for _ in range(9))
    with pytest.raises(InvalidArgument, match=r"… \(17 in all\)"):
        check_binding(torch.optim.SGD([model[0].weight], lr=0.1), model)


def test_tied_parameters_count_once():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].weight = model[0].weight
    check_binding(torch.optim.SGD(model.parameters(), lr=0.1), model)
