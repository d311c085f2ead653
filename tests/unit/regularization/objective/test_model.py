"""Penalties on a whole multi-task model, by its roles."""

import numpy as np
import pytest
import torch

from polytask.backbones import MLP
from polytask.errors import InvalidArgument
from polytask.optim import OptimizerSpec, Role, Selector
from polytask.regularization import L1, BoundPenalties, GroupLasso, JointFeatures, Nuclear
from polytask.sharing import MultiTaskModel
from polytask.tasks import Multiclass, Regression

FIRST_LAYER = Selector(roles=frozenset({Role.BACKBONE}), names=r".*", group="column")


def model() -> MultiTaskModel:
    torch.manual_seed(0)
    tasks = [Regression(name).fit(np.arange(4.0)) for name in ("a", "b")]
    classes = Multiclass("c").fit(np.array(["x", "y", "z"]))
    return MultiTaskModel.hard(MLP(3, width=8, depth=1), [*tasks, classes])


def update(net: MultiTaskModel, optimizer: torch.optim.Optimizer, bound: BoundPenalties) -> None:
    optimizer.zero_grad()
    outputs = net(torch.randn(16, 3)).outputs
    sum(output.square().mean() for output in outputs.values()).backward()
    optimizer.step()
    bound.prox_()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_joint_features_join_the_heads_of_all_groups(name):
    net = model()
    optimizer = OptimizerSpec(name=name, weight_decay=0.0).build(net.roles())
    bound = BoundPenalties([JointFeatures(1e3), L1(1e-9, FIRST_LAYER)], net.roles(), optimizer)
    biases = {key: p.clone() for key, p in net.named_parameters() if key.endswith("bias")}
    update(net, optimizer, bound)
    zeros = bound.zeros()["JointFeatures"]
    assert (zeros.entries, zeros.groups) == (zeros.of_entries, zeros.of_groups)
    assert zeros.of_groups == net.backbone.width
    assert zeros.of_entries == net.backbone.width * 5
    assert bound.values()["JointFeatures"] == 0
    assert biases
    assert all(net.get_parameter(key).any() for key in biases if key.startswith("heads"))
    assert bound.zeros()["L1"].entries < bound.zeros()["L1"].of_entries


def test_names_and_order_of_tasks_do_not_matter():
    results = []
    for names in ("ab", "ba"):
        torch.manual_seed(0)
        tasks = [Regression(name).fit(np.arange(4.0)) for name in names]
        net = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks)
        optimizer = OptimizerSpec(name="sgd", weight_decay=0.0).build(net.roles())
        bound = BoundPenalties([Nuclear(0.1)], net.roles(), optimizer)
        torch.manual_seed(1)
        update(net, optimizer, bound)
        results.append((bound.values(), net.heads.stacks[0].weight.detach().clone()))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_float64_and_gradient_free_values():
    net = model().double()
    optimizer = OptimizerSpec(name="adam", weight_decay=0.0).build(net.roles())
    bound = BoundPenalties([GroupLasso(0.5)], net.roles(), optimizer)
    expected = sum(
        0.5 * i.parameter.flatten(0, -2).norm(dim=1).sum() * i.parameter.shape[-1] ** 0.5
        for i in net.roles()
        if i.kind == "weight"
    )
    assert bound.values()["GroupLasso"] == pytest.approx(float(expected.detach()), rel=1e-12)


def test_a_role_that_the_model_lacks():
    net = model()
    optimizer = OptimizerSpec(weight_decay=0.0).build(net.roles())
    with pytest.raises(InvalidArgument, match=r"roles expert.*backbone"):
        BoundPenalties([L1(1, Selector(roles=frozenset({Role.EXPERT})))], net.roles(), optimizer)
