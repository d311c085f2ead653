"""Equal tasks as one: K tasks of equal kind and width share a stacked head and one loss call."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

from polytask.tasks.base import Task


@dataclass(frozen=True)
class TaskGroup:
    """Tasks whose heads are one stacked product and whose losses come from one call.

    Targets of a group are ``[rows, k]`` (or ``[rows, k, labels]``), masks ``[rows, k]``, raw
    outputs ``[rows, k, outputs]``, also for a group of one.

    Args:
        name: Name of the group, unique in a model: that of its first task.
        tasks: Its tasks.
        indices: Position of each task in the user's order.
    """

    name: str
    tasks: tuple[Task, ...]
    indices: tuple[int, ...]

    @property
    def outputs(self) -> int:
        """Width of one task's raw output."""
        return self.tasks[0].outputs

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Unreduced losses ``[rows, k]`` of all tasks of the group."""
        return self.tasks[0].loss(output, target)

    def training_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The same with what only an update sees, such as the confidence penalty."""
        return self.tasks[0].training_loss(output, target)

    def distillation_loss(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Unreduced distances ``[rows, k]`` of all tasks of the group from a teacher's outputs."""
        return self.tasks[0].distillation_loss(output, teacher.detach(), temperature)


def group_tasks(tasks: Sequence[Task], *, separate: Collection[str] = ()) -> tuple[TaskGroup, ...]:
    """Groups tasks by `Task.fusion_key`, keeping the order of first appearance.

    Args:
        tasks: Fitted tasks in the user's order.
        separate: Names of tasks that keep a head of their own (their own learning rate, say).
    """
    members: dict[Hashable, list[int]] = {}
    for index, task in enumerate(tasks):
        key = ("separate", task.name) if task.name in separate else ("fused", task.fusion_key())
        members.setdefault(key, []).append(index)
    return tuple(
        TaskGroup(tasks[indices[0]].name, tuple(tasks[i] for i in indices), tuple(indices))
        for indices in members.values()
    )
