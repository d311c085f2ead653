"""A teacher's outputs: whose they are, which rows, and how they travel."""

import numpy as np
import pytest
import torch

from polytask._files.state import flatten_state, unflatten_state
from polytask.errors import InvalidArgument, UnknownName
from polytask.regularization.outputs import TeacherOutputs
from polytask.tasks import Multiclass, Regression, group_tasks

ROWS, CPU = 5, torch.device("cpu")
LABELS = np.array(["x", "y", "z"], dtype=object)


@pytest.fixture
def groups():
    """One group of two numbers with a stranger between them, and one of three classes."""
    tasks = [
        Regression("a").fit(np.arange(4.0)),
        Multiclass("c").fit(LABELS),
        Regression("b").fit(np.arange(4.0)),
    ]
    return group_tasks(tasks)


def made(groups, rows: int = ROWS, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.randn(rows, len(g.tasks), g.outputs, generator=generator) for g in groups}


ALL = torch.arange(ROWS)


def test_shapes(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    teacher.fill(made(groups), ALL, ["a", "c"])
    wanted, active = teacher.of("a", torch.tensor([4, 0]))
    assert (wanted.shape, active.shape) == ((2, 2, 1), (2,))
    wanted, active = teacher.of("c", torch.tensor([4, 0, 1]))
    assert (wanted.shape, active.shape) == ((3, 1, 3), (1,))


def test_nobody_follows_an_empty_teacher(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    assert [teacher.of(group.name, ALL) for group in groups] == [None, None]


def test_rows_are_positions_in_the_table(groups):
    """In any order, and not the places within the batch."""
    teacher, outputs = TeacherOutputs.empty(groups, ROWS, CPU), made(groups)
    teacher.fill(outputs, ALL, ["b"])
    rows = torch.tensor([3, 1])
    wanted, active = teacher.of("a", rows)
    assert active.tolist() == [False, True]
    assert torch.equal(wanted[:, 1], outputs["a"][rows, 1])
    assert not torch.equal(wanted[:, 1], outputs["a"][:2, 1])


def test_tasks_that_are_not_named_are_not_looked_at(groups):
    teacher, outputs = TeacherOutputs.empty(groups, ROWS, CPU), made(groups)
    outputs["a"][:, 0] = float("nan")
    teacher.fill(outputs, ALL, ["b"])
    wanted, active = teacher.of("a", ALL)
    assert not wanted[:, 0].any()
    assert active.tolist() == [False, True]
    assert teacher.of("c", ALL) is None


def test_teachers_come_one_after_the_other(groups):
    """Single-task teachers fill their own task; piece by piece is as good as at once."""
    teacher, first, second = (
        TeacherOutputs.empty(groups, ROWS, CPU),
        made(groups, 3, 1),
        made(groups, 2, 2),
    )
    teacher.fill(first, torch.tensor([0, 2, 4]), ["a"])
    teacher.fill(second, torch.tensor([3, 1]), ["a"])
    other = made(groups, seed=3)
    teacher.fill(other, ALL, ["b"])
    wanted, active = teacher.of("a", ALL)
    assert active.all()
    assert torch.equal(wanted[[0, 2, 4], 0], first["a"][:, 0])
    assert torch.equal(wanted[[3, 1], 0], second["a"][:, 0])
    assert torch.equal(wanted[:, 1], other["a"][:, 1])


def test_no_graph_is_kept_and_nothing_is_shared(groups):
    teacher, outputs = TeacherOutputs.empty(groups, ROWS, CPU), made(groups)
    outputs["a"].requires_grad_()
    teacher.fill(outputs, ALL, ["a", "b"])
    wanted, _ = teacher.of("a", ALL)
    assert not wanted.requires_grad
    kept = wanted.clone()
    outputs["a"].detach().fill_(9.0)
    wanted.fill_(7.0)
    assert torch.equal(teacher.of("a", ALL)[0], kept)


def test_other_precisions_are_converted(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    outputs = {name: value.double() for name, value in made(groups).items()}
    teacher.fill(outputs, ALL, ["a"])
    assert teacher.of("a", ALL)[0].dtype == torch.float32


def test_a_task_that_does_not_exist(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    with pytest.raises(UnknownName, match=r"'bb' does not exist\. Did you mean 'b'"):
        teacher.fill(made(groups), ALL, ["a", "bb"])
    assert teacher.of("a", ALL) is None  # not half filled


def test_state_goes_through_tensors_and_json(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    teacher.fill(made(groups), ALL, ["b"])
    stored = unflatten_state(*flatten_state(teacher.state_dict()))
    later = TeacherOutputs.empty(groups, ROWS, CPU)
    later.load_state_dict(stored)
    for mine, other in zip(later.of("a", ALL), teacher.of("a", ALL), strict=True):
        assert torch.equal(mine, other)
    assert later.of("c", ALL) is None
    later.fill(made(groups, seed=5), ALL, ["a"])
    assert teacher.of("a", ALL)[1].tolist() == [False, True]  # copied, not shared


def test_an_empty_state_forgets(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    teacher.fill(made(groups), ALL, ["a"])
    teacher.load_state_dict(TeacherOutputs.empty(groups, ROWS, CPU).state_dict())
    assert teacher.of("a", ALL) is None


def test_the_state_of_other_groups_or_rows_is_refused(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    with pytest.raises(InvalidArgument, match="`state` must hold the groups"):
        teacher.load_state_dict(TeacherOutputs.empty(groups[:1], ROWS, CPU).state_dict())
    with pytest.raises(InvalidArgument, match="rows, tasks, outputs"):
        teacher.load_state_dict(TeacherOutputs.empty(groups, 1, CPU).state_dict())


def test_to_keeps_who_has_a_teacher(groups):
    teacher = TeacherOutputs.empty(groups, ROWS, CPU)
    teacher.fill(made(groups), ALL, ["b"])
    same = teacher.to(CPU)
    for mine, other in zip(same.of("a", ALL), teacher.of("a", ALL), strict=True):
        assert torch.equal(mine, other)
    assert same.of("c", ALL) is None
    same.fill(made(groups), ALL, ["c"])
    assert same.of("c", ALL) is not None
