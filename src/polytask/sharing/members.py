"""One prediction from the sub-models of a backbone."""

from jaxtyping import Float
from torch import Tensor

from polytask.tasks.groups import TaskGroup


def average_members(
    outputs: Float[Tensor, "rows members k outputs"], group: TaskGroup
) -> Float[Tensor, "rows k outputs"]:
    """The raw output whose prediction is the average of the members' predictions.

    Tasks of one group have equal losses and links, so that one call of `Task.average` serves all:
    a task is a block of rows to it.

    Args:
        outputs: Raw outputs of every member, of some or all tasks of the group.
        group: The task group.

    Shapes:
        outputs: ``[rows, members, k, outputs]``.
        output: ``[rows, k, outputs]``.

    Example:
        >>> import numpy as np, torch
        >>> from polytask.tasks import Regression, group_tasks
        >>> (group,) = group_tasks([Regression("y").fit(np.arange(4.0))])
        >>> average_members(torch.tensor([[[[1.0]], [[3.0]]]]), group)
        tensor([[[2.]]])
    """
    rows, _, tasks, width = outputs.shape
    stacked = outputs.transpose(0, 1).flatten(1, 2)
    return group.tasks[0].average(stacked).reshape(rows, tasks, width)
