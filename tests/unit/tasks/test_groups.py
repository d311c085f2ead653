import numpy as np
import torch

from polytask.tasks import Binary, Regression, group_tasks

NUMBERS, FLAGS = np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0])


def test_order_of_first_appearance():
    tasks = [
        Regression("a").fit(NUMBERS),
        Binary("b").fit(FLAGS),
        Regression("c").fit(NUMBERS),
        Binary("d").fit(FLAGS),
    ]
    groups = group_tasks(tasks)
    assert [(group.name, group.indices) for group in groups] == [("a", (0, 2)), ("b", (1, 3))]
    assert groups[0].outputs == 1


def test_separate_tasks_stay_alone():
    tasks = [Regression(name).fit(NUMBERS) for name in "abc"]
    groups = group_tasks(tasks, separate=["b"])
    assert [group.indices for group in groups] == [(0, 2), (1,)]


def test_group_loss_is_the_tasks_loss():
    tasks = [Regression(name).fit(NUMBERS) for name in "ab"]
    (group,) = group_tasks(tasks)
    output, target = torch.randn(3, 2, 1), torch.randn(3, 2)
    expected = torch.stack([t.loss(output[:, k], target[:, k]) for k, t in enumerate(tasks)], 1)
    assert torch.equal(group.loss(output, target), expected)
