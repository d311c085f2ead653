"""Penalties across tasks on the heads of a whole multi-task model."""

import numpy as np
import pytest
import torch

from polytask import MultiTaskModel, Regression
from polytask.backbones import MLP
from polytask.optim import Kind, Role, Selector
from polytask.regularization.objective import BoundPenalties, GraphLaplacian, MeanRegularised

HEADS = frozenset({Role.HEAD})


@pytest.fixture
def model():
    tasks = [Regression(name).fit(np.arange(4.0) + i) for i, name in enumerate("abc")]
    return MultiTaskModel.hard(MLP(3, width=4, depth=1, dropout=0.0), tasks)


def test_biases_of_stacked_heads_are_drawn_to_their_mean_if_asked(model):
    stack = model.heads.stacks[0]
    stack.bias.data.copy_(torch.tensor([[0.0], [3.0], [6.0]]))
    selector = Selector(roles=HEADS, kinds=frozenset({Kind.WEIGHT, Kind.BIAS}), group="tasks")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    bound = BoundPenalties([MeanRegularised(1.0, selector)], model.roles(), optimizer)
    assert bound.describe()[0].parameters == ("heads.stacks.0.weight", "heads.stacks.0.bias")
    bound.prox_()
    assert stack.bias.flatten().tolist() == [1.5, 3.0, 4.5]


def test_biases_are_left_alone_otherwise(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    bound = BoundPenalties([MeanRegularised(1.0)], model.roles(), optimizer)
    assert bound.describe()[0].parameters == ("heads.stacks.0.weight",)


def test_a_graph_names_the_tasks_of_a_stacked_head(model):
    weight = model.heads.stacks[0].weight
    before = weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    edges = {("a", "c"): 1.0}
    BoundPenalties([GraphLaplacian(1.0, edges)], model.roles(), optimizer).prox_()
    assert torch.equal(weight[1], before[1])
    # (I + L) w = u of one edge: the sum stays, the difference is divided by 3.
    difference, total = before[0] - before[2], before[0] + before[2]
    assert torch.allclose(weight[0] - weight[2], difference / 3, atol=1e-6)
    assert torch.allclose(weight[0] + weight[2], total, atol=1e-6)
