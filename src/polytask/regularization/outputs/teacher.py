"""A teacher's raw outputs for every training row."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, final

import torch
from torch import Tensor

from polytask._checks import require, unknown
from polytask.tasks.groups import TaskGroup


@final
class TeacherOutputs:
    """Raw outputs per training row, for the tasks that have a teacher.

    Args:
        groups: Task groups.
        outputs: Task group → ``[rows, k, outputs]``.
        active: Task group → ``[k]``, True for tasks that have a teacher.

    Example:
        >>> import numpy as np
        >>> from polytask.tasks import Regression, group_tasks
        >>> groups = group_tasks([Regression(name).fit(np.arange(4.0)) for name in ("a", "b")])
        >>> teacher = TeacherOutputs.empty(groups, 4, torch.device("cpu"))
        >>> teacher.fill({"a": torch.ones(2, 2, 1)}, torch.tensor([0, 3]), ["b"])
        >>> wanted, active = teacher.of("a", torch.tensor([3, 1]))
        >>> wanted[:, :, 0].tolist(), active.tolist()
        ([[0.0, 1.0], [0.0, 0.0]], [False, True])
    """

    def __init__(
        self,
        groups: Sequence[TaskGroup],
        outputs: Mapping[str, Tensor],
        active: Mapping[str, Tensor],
    ) -> None:
        self._places = {
            task.name: (group.name, index)
            for group in groups
            for index, task in enumerate(group.tasks)
        }
        self._groups = tuple(groups)
        self._outputs = dict(outputs)
        self._active = dict(active)
        self._any = {name: bool(tensor.any()) for name, tensor in self._active.items()}

    @classmethod
    def empty(cls, groups: Sequence[TaskGroup], rows: int, device: torch.device) -> Self:
        """No task has a teacher yet.

        Args:
            groups: Task groups.
            rows: Training rows.
            device: Where the outputs are kept.
        """
        return cls(
            groups,
            {g.name: torch.zeros(rows, len(g.tasks), g.outputs, device=device) for g in groups},
            {g.name: torch.zeros(len(g.tasks), dtype=torch.bool, device=device) for g in groups},
        )

    def fill(self, outputs: Mapping[str, Tensor], rows: Tensor, tasks: Sequence[str]) -> None:
        """Takes the raw outputs of some rows as what these tasks follow.

        Args:
            outputs: Task group → ``[rows, k, outputs]``.
            rows: Positions in the training table.
            tasks: Names; the outputs of other tasks are not looked at.

        Raises:
            UnknownName: If a task does not exist; then nothing is taken.
        """
        for task in tasks:
            if task not in self._places:
                raise unknown("tasks", task, list(self._places))
        for task in tasks:
            group, index = self._places[task]
            kept = self._outputs[group]
            kept[rows, index] = outputs[group][:, index].detach().to(kept)
            self._active[group][index] = True
            self._any[group] = True

    def of(self, group: str, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """Outputs ``[rows, k, outputs]`` and tasks with a teacher ``[k]``; None without any."""
        if not self._any[group]:
            return None
        return self._outputs[group][rows], self._active[group]

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        return type(self)(
            self._groups,
            {name: tensor.to(device) for name, tensor in self._outputs.items()},
            {name: tensor.to(device) for name, tensor in self._active.items()},
        )

    def state_dict(self) -> dict[str, Any]:
        """All outputs, and who has a teacher."""
        return {"outputs": dict(self._outputs), "active": dict(self._active)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`.

        Raises:
            InvalidArgument: If the state has other groups, or another number of rows.
        """
        outputs = state_dict["outputs"]
        names = sorted(self._outputs)
        require(sorted(outputs) == names, "state", f"hold the groups {names}", sorted(outputs))
        for name, kept in self._outputs.items():
            shape, wanted = tuple(outputs[name].shape), tuple(kept.shape)
            rule = f"have the shape {wanted} (rows, tasks, outputs)"
            require(shape == wanted, f"state of group {name!r}", rule, shape)
        for name, kept in self._outputs.items():
            kept.copy_(outputs[name])
            self._active[name].copy_(state_dict["active"][name].bool())
            self._any[name] = bool(self._active[name].any())
