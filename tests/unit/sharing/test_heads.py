"""Stacked heads: one product that equals a loop of Linear layers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from polytask.errors import InvalidArgument, UnknownName
from polytask.optim import Kind, Role, parameter_kinds
from polytask.sharing import HardSharing, Heads, Shared, SharingArchitecture, StackedHead
from polytask.tasks import TaskGroup, group_tasks


class Columns(SharingArchitecture):
    """One Linear per task: representations that differ."""

    def __init__(self, tasks, width):
        super().__init__()
        self.names = tuple(tasks)
        self.columns = nn.ModuleList(nn.Linear(width, width) for _ in tasks)

    def forward(self, features, tasks=None):
        names = self.names if tasks is None else tasks
        found = {name: self.columns[self.names.index(name)](features) for name in names}
        return Shared(found, tuple(found.values()), {}, {})

    def width(self, task):
        return self.columns[self.names.index(task)].out_features

    def roles(self):
        raise NotImplementedError


def filled(heads):
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_()
    return heads


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("common", [True, False])
def test_stacked_heads_equal_a_loop_of_linear_layers(dtype, tolerance, outputs, common):
    """Values and gradients, one representation for all or one each."""
    torch.manual_seed(0)
    head = filled(StackedHead(torch.zeros(5, outputs), width=8)).to(dtype)
    if common:
        inputs = [torch.randn(11, 8, dtype=dtype, requires_grad=True)] * 5
    else:
        inputs = [torch.randn(11, 8, dtype=dtype, requires_grad=True) for _ in range(5)]
    target = torch.randn(11, 5, outputs, dtype=dtype)
    stacked = head(inputs)
    found = torch.autograd.grad(
        ((stacked - target) ** 2).mean(), [head.weight, head.bias, inputs[0], inputs[-1]]
    )
    looped = torch.stack(
        [
            functional.linear(z, w, b)
            for z, w, b in zip(inputs, head.weight, head.bias, strict=True)
        ],
        dim=1,
    )
    expected = torch.autograd.grad(
        ((looped - target) ** 2).mean(), [head.weight, head.bias, inputs[0], inputs[-1]]
    )
    assert stacked.shape == (11, 5, outputs)
    assert torch.allclose(stacked, looped, atol=10 * tolerance, rtol=tolerance)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=10 * tolerance, rtol=tolerance)


def test_heads_in_another_order_would_be_seen():
    """The mutation: [outputs, k] instead of [k, outputs]."""
    head = filled(StackedHead(torch.zeros(2, 3), width=4))
    z = torch.randn(5, 4)
    wrong = functional.linear(z, head.weight.transpose(0, 1).flatten(0, 1)).view(5, 2, 3)
    assert not torch.allclose(head([z, z]), wrong + head.bias, atol=1e-3)


def test_each_head_starts_as_its_own_small_linear():
    """Fan-in is the width; torch's initialiser would take outputs · width."""
    torch.manual_seed(0)
    head = StackedHead(torch.zeros(40, 10), width=64)
    bound = 0.1 / math.sqrt(64)
    assert head.weight.abs().max() <= bound
    deviations = head.weight.detach().flatten(1).std(dim=1)
    assert torch.allclose(deviations, torch.full((40,), bound / math.sqrt(3)), rtol=0.15)
    wrong = torch.empty(40, 10, 64)
    nn.init.kaiming_uniform_(wrong, a=math.sqrt(5))
    assert wrong.std() * 0.1 < 0.5 * deviations.mean()


def test_a_new_model_predicts_the_training_distribution(tasks):
    heads = Heads(group_tasks(tasks), HardSharing([t.name for t in tasks], 8))
    shared = HardSharing([t.name for t in tasks], 8)(torch.zeros(4, 8))
    outputs = heads(shared)
    for group in group_tasks(tasks):
        for index, task in enumerate(group.tasks):
            expected = task.baseline().float().expand(4, -1)
            assert torch.equal(outputs[group.name][:, index], expected)
    assert outputs["age"][0, 0, 0] == 2.5


def test_the_task_keeps_its_baseline(tasks):
    """Training the bias must not change the task's own tensor."""
    before = tasks[0].baseline().clone()
    heads = Heads(group_tasks(tasks[:1]), HardSharing(["age"], 4))
    with torch.no_grad():
        heads.stacks[0].bias.add_(1.0)
    assert torch.equal(tasks[0].baseline(), before)
    given = torch.ones(2, 1)
    with torch.no_grad():
        StackedHead(given, 4).bias.add_(1.0)
    assert torch.equal(given, torch.ones(2, 1))


@pytest.mark.parametrize("sharing", [HardSharing, Columns])
def test_a_task_does_not_depend_on_what_else_is_asked(tasks, sharing):
    torch.manual_seed(0)
    names = [task.name for task in tasks]
    architecture = sharing(names, 32)
    heads = filled(Heads(group_tasks(tasks), architecture))
    features = torch.randn(33, 32)
    everything = heads(architecture(features))
    for asked in (["ill"], ["dose.mg", "ill"], ["stage", "sex", "ill"], names):
        some = heads(architecture(features, asked), asked)
        for group in heads.groups:
            members = [task.name for task in group.tasks]
            kept = [i for i, name in enumerate(members) if name in asked]
            if not kept:
                assert group.name not in some
            else:
                assert torch.equal(some[group.name], everything[group.name][:, kept])


def test_unknown_and_empty_requests_are_refused(tasks):
    sharing = HardSharing([task.name for task in tasks], 4)
    heads = Heads(group_tasks(tasks), sharing)
    shared = sharing(torch.zeros(2, 4))
    with pytest.raises(UnknownName, match="Did you mean 'stage'"):
        heads(shared, ["stege"])
    with pytest.raises(UnknownName, match="stege"):
        sharing(torch.zeros(2, 4), ["stege"])
    with pytest.raises(InvalidArgument, match="at least one"):
        heads(shared, [])


def test_groups_that_do_not_fit_are_named(tasks):
    sharing = HardSharing([task.name for task in tasks], 4)
    mixed = TaskGroup("mixed", (tasks[0], tasks[4]), (0, 4))
    with pytest.raises(InvalidArgument, match="outputs within the group 'mixed'"):
        Heads([mixed], sharing)
    with pytest.raises(InvalidArgument, match="once"):
        Heads([*group_tasks(tasks), *group_tasks(tasks[:1])], sharing)
    narrow = Columns(["age", "dose.mg"], 4)
    narrow.columns[1] = nn.Linear(4, 3)
    with pytest.raises(InvalidArgument, match="widths within the group 'age'"):
        Heads(group_tasks([tasks[0], tasks[2]]), narrow)


def test_state_keys_do_not_depend_on_task_names(tasks):
    heads = Heads(group_tasks(tasks), HardSharing([task.name for task in tasks], 4))
    assert list(heads.state_dict()) == [
        f"stacks.{index}.{part}" for index in range(3) for part in ("weight", "bias")
    ]


def test_roles_and_kinds(tasks):
    heads = Heads(group_tasks(tasks), HardSharing([task.name for task in tasks], 4))
    rows = heads.roles()
    assert [row.name for row in rows] == [name for name, _ in heads.named_parameters()]
    assert {row.role for row in rows} == {Role.HEAD}
    assert [row.kind for row in rows] == [Kind.WEIGHT, Kind.BIAS] * 3
    assert parameter_kinds(heads) == {row.name: row.kind for row in rows}
    assert rows[0].tasks == {"age", "dose.mg"}
    assert rows[0].shared
    assert rows[4].tasks == {"stage"}


@pytest.mark.parametrize("width", [0, -1])
def test_sharing_needs_tasks_and_a_width(width):
    with pytest.raises(InvalidArgument, match="width"):
        HardSharing(["a"], width)
    with pytest.raises(InvalidArgument, match="tasks"):
        HardSharing([], 3)
