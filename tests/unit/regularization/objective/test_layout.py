"""Layouts: parameters as matrices, and back."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument, UnknownName
from polytask.optim.roles import Kind, ParameterInfo, Role, Selector
from polytask.regularization.objective import arrange, select


def info(name, tensor, *, role=Role.HEAD, kind=Kind.WEIGHT, tasks=("a", "b", "c"), order=()):
    parameter = nn.Parameter(tensor.clone())
    return ParameterInfo(name, parameter, role, kind, frozenset(tasks), order)


def weights(infos):
    return [i.parameter.detach() for i in infos]


STACK = torch.arange(24.0).view(3, 2, 4)
PLAIN = torch.arange(6.0).view(2, 3)
CONV = torch.arange(24.0).view(2, 3, 2, 2)


@pytest.mark.parametrize(
    ("tensor", "role", "group", "expected"),
    [
        (PLAIN, Role.TRUNK, "entry", PLAIN.reshape(-1, 1)),
        (PLAIN, Role.TRUNK, "row", PLAIN),
        (PLAIN, Role.TRUNK, "column", PLAIN.T),
        (PLAIN, Role.TRUNK, "layer", PLAIN.reshape(1, -1)),
        (STACK, Role.HEAD, "row", STACK.reshape(6, 4)),
        (STACK, Role.HEAD, "column", STACK.reshape(6, 4).T),
        (STACK, Role.HEAD, "tasks", STACK.reshape(6, 4).T),
        (CONV, Role.TRUNK, "row", CONV.reshape(2, 12)),
        (CONV, Role.TRUNK, "column", CONV.transpose(0, 1).reshape(3, 8)),
    ],
)
def test_groups(tensor, role, group, expected):
    row = info("w", tensor, role=role)
    layout = arrange([row], Selector(group=group), "groups")
    (matrix,) = layout.matrices(weights([row]))
    assert torch.equal(matrix, expected)
    changed = matrix + 100
    layout.write_(layout.blocks[0], weights([row]), changed)
    assert torch.equal(row.parameter.detach(), tensor + 100)


def test_views_reach_the_parameter():
    row = info("w", STACK)
    (matrix,) = arrange([row], Selector(group="column"), "groups").matrices(weights([row]))
    matrix[2].zero_()
    assert not row.parameter[:, :, 2].any()
    assert row.parameter[:, :, 1].all()


def test_features_put_the_heads_of_all_groups_side_by_side():
    rows = [info("h0", STACK), info("h1", -STACK[:1])]
    layout = arrange(rows, Selector(group="tasks"), "features")
    (matrix,) = layout.matrices(weights(rows))
    assert matrix.shape == (4, 8)
    layout.write_(layout.blocks[0], weights(rows), matrix * 2)
    assert torch.equal(rows[0].parameter.detach(), STACK * 2)
    assert torch.equal(rows[1].parameter.detach(), -STACK[:1] * 2)


def test_features_of_different_widths_are_refused():
    with pytest.raises(InvalidArgument, match="same number of inputs"):
        arrange([info("a", PLAIN), info("b", STACK)], Selector(), "features")


def test_tasks_are_columns():
    rows = [
        info("h0", STACK, order=("a", "b", "c")),
        info("h1", -STACK[:1], tasks=("d",)),
        info("h2", torch.ones(1, 1, 4), tasks=("e",)),
    ]
    layout = arrange(rows, Selector(), "tasks")
    assert [block.columns for block in layout.blocks] == [("a", "b", "c", "d")]
    (matrix,) = layout.matrices(weights(rows))
    assert torch.equal(matrix[:, 1], STACK[1].flatten())
    assert torch.equal(matrix[:, 3], -STACK[0].flatten())
    assert list(layout.alone) == ["h2"]
    layout.write_(layout.blocks[0], weights(rows), matrix + 1)
    assert torch.equal(rows[0].parameter.detach(), STACK + 1)
    assert torch.equal(rows[1].parameter.detach(), -STACK[:1] + 1)


def test_networks_per_task_correspond_by_name():
    rows = [
        info(f"nets.{task}.{layer}.weight", PLAIN + layer, role=Role.TRUNK, tasks=(task,))
        for task in "ab"
        for layer in (0, 1)
    ]
    layout = arrange(rows, Selector(), "tasks")
    assert [block.columns for block in layout.blocks] == [("a", "b"), ("a", "b")]
    assert [block.indices for block in layout.blocks] == [(0, 2), (1, 3)]


def test_nothing_corresponds():
    with pytest.raises(InvalidArgument, match="several tasks"):
        arrange([info("w", PLAIN, role=Role.TRUNK)], Selector(), "tasks")


@pytest.mark.parametrize("kept", [("a",), ("a", "c"), ("b", "c")])
@pytest.mark.parametrize("group", ["entry", "row", "column", "layer", "tasks"])
def test_slices_of_tasks(kept, group):
    row = info("h", STACK, order=("a", "b", "c"))
    layout = arrange([row], Selector(tasks=frozenset(kept), group=group), "groups")
    (block,) = layout.blocks
    tensors = weights([row])
    matrix = layout.matrix(block, tensors)
    assert matrix.numel() == len(kept) * 8
    layout.write_(block, tensors, matrix.mul(1.0) + 100)
    for index, task in enumerate("abc"):
        moved = 100 if task in kept else 0
        assert torch.equal(row.parameter[index].detach(), STACK[index] + moved)


def test_tasks_of_a_selector():
    rows = [info("a.w", PLAIN, tasks=("a",)), info("b.w", PLAIN, tasks=("b",)), info("t", PLAIN)]
    assert [i.name for i in select(rows, Selector(tasks=frozenset({"a"})))] == ["a.w"]
    assert len(select(rows, Selector(tasks=frozenset({"a", "b", "c"})))) == 3
    with pytest.raises(UnknownName, match="'z'"):
        select(rows, Selector(tasks=frozenset({"z"})))
    with pytest.raises(InvalidArgument, match="order is unknown"):
        select([info("h", STACK)], Selector(tasks=frozenset({"a"})))


def test_vectors_only_if_asked_for():
    rows = [
        info("w", PLAIN),
        info("scale", torch.ones(3)),
        info("bias", torch.ones(3), kind=Kind.BIAS),
        info("gate", PLAIN, role=Role.GATE),
    ]
    assert [i.name for i in select(rows, Selector())] == ["w"]
    assert [i.name for i in select(rows, Selector(names="scale"))] == ["scale"]
    both = Selector(kinds=frozenset({Kind.WEIGHT, Kind.BIAS}))
    assert [i.name for i in select(rows, both)] == ["w", "bias"]
    with pytest.raises(InvalidArgument, match="regular expression"):
        select(rows, Selector(names="("))
