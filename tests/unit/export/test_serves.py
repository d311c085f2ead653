"""A bundle in which every task is predicted by a member of its own."""

import copy

import pytest
import torch

from polytask.errors import InvalidArgument
from polytask.export import Bundle, load


@pytest.fixture
def two(wide):
    """Two members that differ in all weights."""
    first = wide.members[0]
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.5)
    return first, second


def test_each_task_is_predicted_by_its_own_member(wide, two, table):
    names = [task.name for task in wide.tasks]
    serves = {name: index % 2 for index, name in enumerate(names)}
    mixed = Bundle(two, wide.form, wide.encoder, serves=serves).outputs(table)
    alone = [Bundle([member], wide.form, wide.encoder).outputs(table) for member in two]
    for name in names:
        assert torch.equal(mixed[name], alone[serves[name]][name])
    averaged = Bundle(two, wide.form, wide.encoder).outputs(table)
    assert not torch.equal(averaged[names[0]], mixed[names[0]])


def test_it_comes_back_from_its_file(wide, two, table, tmp_path):
    serves = {task.name: index % 2 for index, task in enumerate(wide.tasks)}
    bundle = Bundle(two, wide.form, wide.encoder, serves=serves)
    bundle.save(tmp_path)
    again = load(tmp_path)
    assert again.manifest["schema_version"] == 2
    assert again.serves == serves
    for name, output in bundle.outputs(table).items():
        assert torch.equal(output, again.outputs(table)[name])
    assert "own best epoch" in again.summary()


def test_wrong_servants_are_refused(wide, two):
    names = [task.name for task in wide.tasks]
    with pytest.raises(InvalidArgument, match="`serves` must name the tasks"):
        Bundle(two, wide.form, wide.encoder, serves={names[0]: 0})
    with pytest.raises(InvalidArgument, match=r"must be below 2; got 2"):
        Bundle(two, wide.form, wide.encoder, serves=dict.fromkeys(names, 2))
