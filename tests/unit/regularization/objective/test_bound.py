"""Penalties bound to a model: what they touch, refuse and report."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from polytask.errors import InvalidArgument, PolytaskWarning, Unsupported
from polytask.optim.metric import proximal_steps
from polytask.optim.roles import Kind, ParameterInfo, Role, Selector
from polytask.regularization.objective import (
    L1,
    L2,
    BoundPenalties,
    ElasticNet,
    GroupLasso,
    JointFeatures,
    Nuclear,
    SparseGroupLasso,
    penalise,
)
from polytask.regularization.objective.steps import multi_tensor_steps, parameter_groups


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3))


def backward(net: nn.Module) -> None:
    net(torch.randn(8, 5)).square().mean().backward()


OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "adam": lambda p: Adam(p, lr=0.1),
    "amsgrad": lambda p: AdamW(p, lr=0.1, weight_decay=0.0, amsgrad=True),
    "fused": lambda p: AdamW(p, lr=0.1, weight_decay=0.0, fused=True),
    "foreach": lambda p: Adam(p, lr=0.1, foreach=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_of_many_parameters_are_those_of_one(name):
    net = network()
    parameters = list(net.parameters())
    optimizer = OPTIMIZERS[name]([{"params": parameters[:2]}, {"params": parameters[2:]}])
    optimizer.param_groups[1]["lr"] = 0.03
    for _ in range(3):
        optimizer.zero_grad()
        backward(net)
        optimizer.step()
    places = parameter_groups(optimizer, parameters)
    for ours, parameter in zip(
        multi_tensor_steps(optimizer, parameters, places), parameters, strict=True
    ):
        torch.testing.assert_close(ours, proximal_steps(optimizer, parameter))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_prox_acts_on_weights_only(name):
    net = network()
    optimizer = OPTIMIZERS[name](net.parameters())
    bound = penalise(net, [L1(0.3)], optimizer)
    backward(net)
    optimizer.step()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    steps = {key: proximal_steps(optimizer, p) for key, p in net.named_parameters()}
    bound.prox_()
    for key, value in net.state_dict().items():
        if key in ("0.weight", "3.weight"):
            u, cut = before[key], 0.3 * steps[key]
            torch.testing.assert_close(value, u.sign() * (u.abs() - cut).clamp(min=0))
            assert not torch.equal(value, u)
        else:
            assert torch.equal(value, before[key])


def test_zeros_and_values():
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
    bound = penalise(net, [GroupLasso(1.0, Selector(group="column"))], SGD(net.parameters(), lr=1))
    assert bound.values() == {"GroupLasso": pytest.approx(5 * 2**0.5)}
    counted = bound.zeros()["GroupLasso"]
    assert (counted.entries, counted.of_entries) == (2, 4)
    assert (counted.groups, counted.of_groups) == (1, 2)


def test_frozen_parameters_are_untouched():
    net = network()
    net[0].requires_grad_(False)
    optimizer = SGD([p for p in net.parameters() if p.requires_grad], lr=1.0)
    bound = penalise(net, [L2(1.0)], optimizer)
    frozen, later = net[0].weight.clone(), net[3].weight.clone()
    bound.prox_()
    assert torch.equal(net[0].weight, frozen)
    assert torch.allclose(net[3].weight, later / 2)
    net[3].requires_grad_(False)
    bound.prox_()
    assert torch.allclose(net[3].weight, later / 2)
    assert bound.describe()[0].left_out["0.weight"] == "frozen"


def test_tied_parameters_are_shrunk_once():
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    net[1].weight = net[0].weight
    before = net[0].weight.clone()
    infos = [
        ParameterInfo(f"{i}.weight", net[i].weight, Role.TRUNK, Kind.WEIGHT, frozenset({"a"}))
        for i in (0, 1)
    ]
    BoundPenalties([L2(1.0)], infos, SGD(net.parameters(), lr=1.0)).prox_()
    assert torch.allclose(net[0].weight, before / 2)


def test_a_parameter_that_adam_never_stepped_waits():
    net = network()
    optimizer = Adam(net.parameters())
    bound = penalise(net, [L1(1e3)], optimizer)
    before = net[0].weight.clone()
    net[3](torch.randn(4, 6)).square().mean().backward()
    optimizer.step()
    bound.prox_()
    assert torch.equal(net[0].weight, before)
    assert not net[3].weight.any()


def test_the_groups_of_a_loaded_optimizer_are_read():
    net = nn.Linear(2, 2)
    optimizer = SGD(net.parameters(), lr=1.0)
    bound = penalise(net, [L2(1.0)], optimizer)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 0.0
    optimizer.load_state_dict(state)
    before = net.weight.clone()
    bound.prox_()
    assert torch.equal(net.weight, before)


def test_two_rates_in_one_matrix():
    """Heads of two groups of the optimizer: steps are given per entry."""
    net = nn.ModuleDict({"a": nn.Linear(2, 1, bias=False), "b": nn.Linear(2, 1, bias=False)})
    optimizer = SGD([{"params": net["a"].parameters()}, {"params": net["b"].parameters()}], lr=1.0)
    optimizer.param_groups[1]["lr"] = 0.5
    bound = penalise(net, [JointFeatures(1.0, l1_ratio=0.0)], optimizer, heads=".*")
    a, b = net["a"].weight.clone(), net["b"].weight.clone()
    bound.prox_()
    assert torch.allclose(net["a"].weight, a / 2)
    assert torch.allclose(net["b"].weight, b / 1.5)


def test_describe_says_what_is_left_out():
    net = network()
    (summary,) = penalise(net, [L1(0.25)], SGD(net.parameters(), lr=1)).describe()
    assert summary.parameters == ("0.weight", "3.weight")
    assert summary.left_out["0.bias"] == "kind bias"
    assert summary.left_out["1.weight"] == "kind norm"
    assert "0.25" in summary.words
    assert (summary.name, summary.acts) == ("L1", "prox")


@pytest.mark.parametrize(
    ("first", "second", "combined"),
    [
        (L1(1), L2(1), "ElasticNet"),
        (L1(1), GroupLasso(1), "SparseGroupLasso"),
        (L1(1), L1(1), "the sum of the strengths"),
        (GroupLasso(1), L2(1), "selectors that do not overlap"),
    ],
)
def test_two_steps_on_one_weight_are_refused(first, second, combined):
    net = network()
    with pytest.raises(Unsupported, match=combined):
        penalise(net, [first, second], SGD(net.parameters(), lr=1))


def test_two_steps_on_two_weights_are_fine():
    net = network()
    penalties = [L1(1, Selector(names="0.*")), L1(1, Selector(names="3.*"))]
    assert set(penalise(net, penalties, SGD(net.parameters(), lr=1)).values()) == {"L1", "L1 2"}


@pytest.mark.parametrize("penalty", [L2(1), ElasticNet(1), JointFeatures(1, 0.5, Selector())])
def test_ridge_beside_weight_decay_is_refused(penalty):
    net = nn.Linear(2, 2)
    with pytest.raises(InvalidArgument, match="Set the optimizer's weight_decay to 0"):
        penalise(net, [penalty], AdamW(net.parameters(), weight_decay=0.01))


@pytest.mark.parametrize("penalty", [L1(0.5), SparseGroupLasso(1.0, 0.5)])
def test_lasso_beside_weight_decay_is_an_elastic_net(penalty):
    net = nn.Linear(2, 2)
    with pytest.warns(PolytaskWarning, match=r"elastic net, with 0.5 .* weight decay 0.01"):
        penalise(net, [penalty], AdamW(net.parameters(), weight_decay=0.01))


def test_decay_of_other_parameters_is_fine():
    net = network()
    optimizer = SGD([{"params": net[0].parameters(), "weight_decay": 0.0}], lr=1, weight_decay=1)
    optimizer.add_param_group({"params": net[3].parameters()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        penalise(net, [L2(1, Selector(names="0.*"))], optimizer)


def test_unknown_metrics_are_refused():
    net = network()
    with pytest.raises(Unsupported, match="SGD, Adam, AdamW"):
        penalise(net, [L1(1)], RMSprop(net.parameters()))
    with pytest.raises(Unsupported, match="minimises"):
        penalise(net, [L1(1)], SGD(net.parameters(), lr=1, maximize=True))
    with pytest.raises(InvalidArgument, match="one of the optimizer's parameters"):
        penalise(net, [L1(1)], SGD(net[3].parameters(), lr=1))
    with pytest.raises(Unsupported, match="Use SGD"):
        penalise(net, [Nuclear(1, Selector(names="0.*"))], Adam(net.parameters()))


@pytest.mark.parametrize(("loss", "twin"), [(nn.L1Loss(), "`L1`"), (nn.MSELoss(), "`L2`")])
def test_a_loss_is_no_penalty(loss, twin):
    net = network()
    with pytest.raises(InvalidArgument, match=f"compares predictions with targets.*{twin}"):
        penalise(net, [loss], SGD(net.parameters(), lr=1))
    with pytest.raises(InvalidArgument, match="got float"):
        penalise(net, [0.1], SGD(net.parameters(), lr=1))


@pytest.mark.parametrize(
    "kind", [L1, L2, ElasticNet, GroupLasso, SparseGroupLasso, JointFeatures, Nuclear]
)
def test_arguments(kind):
    with pytest.raises(InvalidArgument, match="strength"):
        kind(-1.0)
    if kind in (ElasticNet, SparseGroupLasso, JointFeatures):
        with pytest.raises(InvalidArgument, match="l1_ratio"):
            kind(1.0, 1.5)
    assert "64" in kind(128.0).describe() or "128" in kind(128.0).describe()


def test_strength_zero_changes_nothing():
    net = network()
    before = net[0].weight.clone()
    bound = penalise(net, [L1(0.0)], SGD(net.parameters(), lr=1))
    bound.prox_()
    assert torch.equal(net[0].weight, before)
    assert bound.objective() is None
    assert bound.state_dict() == {}


def test_no_penalties_is_fine():
    net = network()
    bound = penalise(net, [], RMSprop(net.parameters()))
    bound.prox_()
    assert bound.values() == {}
    assert bound.describe() == []


def test_values_keep_no_graph_and_gradients_at_zero_are_finite():
    weight = torch.zeros(2, 3, requires_grad=True)
    for penalty in (L1(1), L2(1), ElasticNet(1), GroupLasso(1), SparseGroupLasso(1)):
        (gradient,) = torch.autograd.grad(penalty.value([weight]), weight)
        assert gradient.isfinite().all()


def test_selecting_nothing_lists_what_there_is():
    net = network()
    with pytest.raises(InvalidArgument, match=r"names 'x', which select none.*0.weight \(trunk"):
        penalise(net, [L1(1, Selector(names="x"))], SGD(net.parameters(), lr=1))
