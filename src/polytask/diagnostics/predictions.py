"""Raw outputs with their targets for one set of rows: what every diagnostic starts from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, final

import torch
from torch import Tensor, nn

from polytask._checks import require
from polytask.data.batch import Batch, Inputs
from polytask.tasks.base import Task
from polytask.tasks.groups import TaskGroup

CHUNK = 8192
"""Rows per forward pass when a whole table is handed over."""


class TaskOutputs(NamedTuple):
    """One task of an `Outputs`, labelled rows only.

    Args:
        output: Raw outputs ``[labels, outputs]``.
        target: Encoded targets ``[labels]`` or ``[labels, columns]``.
        weights: Row weights ``[labels]``, or None for ones.
        rows: Positions of the labelled rows in the set.
    """

    output: Tensor
    target: Tensor
    weights: Tensor | None
    rows: Tensor


@final
@dataclass(frozen=True)
class Outputs:
    """Raw outputs, targets, masks and row weights of one set of rows, on the CPU.

    Args:
        groups: The task groups.
        outputs: Task group → raw outputs ``[rows, k, outputs]``.
        targets: Task group → encoded targets ``[rows, k]`` or ``[rows, k, columns]``.
        masks: Task group → ``[rows, k]``, True where a label exists.
        row_weights: ``[rows]``, or None for ones.
    """

    groups: tuple[TaskGroup, ...]
    outputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    row_weights: Tensor | None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in the user's order."""
        return tuple(group.tasks[place] for group, place in self._places())

    @property
    def num_rows(self) -> int:
        """Rows of the set, labelled or not."""
        return len(self.masks[self.groups[0].name])

    def of(self, index: int) -> TaskOutputs:
        """The labelled rows of the task at `index` in the user's order."""
        group, place = self._places()[index]
        rows = self.masks[group.name][:, place].nonzero().squeeze(-1)
        return TaskOutputs(
            self.outputs[group.name][rows, place],
            self.targets[group.name][rows, place],
            None if self.row_weights is None else self.row_weights[rows],
            rows,
        )

    def with_outputs(self, outputs: Mapping[str, Tensor]) -> Self:
        """The same rows and labels with the raw outputs of another model."""
        for group in self.groups:
            shape = tuple(outputs[group.name].shape)
            wanted = (self.num_rows, len(group.tasks), group.outputs)
            require(shape == wanted, f"outputs of {group.name!r}", f"have shape {wanted}", shape)
        return replace(self, outputs={g.name: outputs[g.name] for g in self.groups})

    def _places(self) -> list[tuple[TaskGroup, int]]:
        found = {
            index: (group, place)
            for group in self.groups
            for place, index in enumerate(group.indices)
        }
        return [found[index] for index in sorted(found)]


@torch.no_grad()
def collect(
    model: nn.Module,
    rows: Batch | Iterable[Batch],
    groups: Iterable[TaskGroup],
    *,
    device: torch.device | str | None = None,
) -> Outputs:
    """Runs `model` over `rows` in eval mode without gradients; every module's mode is restored.

    Args:
        model: Returns a `ModelOutput`.
        rows: A whole encoded table, or batches (``batches.epoch()``).
        groups: The task groups.
        device: Where the model lives; None: wherever the rows are.
    """
    groups = tuple(groups)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        pieces = [
            (model(_moved(batch.inputs, device)).outputs, batch)
            for batch in (_chunks(rows) if isinstance(rows, Batch) else rows)
        ]
    finally:
        for module, training in modes.items():
            module.training = training
    require(bool(pieces), "rows", "hold at least one row", 0)
    names = [group.name for group in groups]
    weights = [batch.row_weights for _, batch in pieces]
    return Outputs(
        groups,
        {name: torch.cat([outputs[name].cpu() for outputs, _ in pieces]) for name in names},
        {name: torch.cat([batch.targets[name].cpu() for _, batch in pieces]) for name in names},
        {name: torch.cat([batch.masks[name].cpu() for _, batch in pieces]) for name in names},
        torch.cat([weight.cpu() for weight in weights if weight is not None])
        if weights[0] is not None
        else None,
    )


def constant_outputs(like: Outputs, tasks: Iterable[Task]) -> Outputs:
    """The mean baseline: every row gets `Task.baseline`, the training distribution.

    Args:
        like: The rows and labels.
        tasks: In the user's order; their `baseline` is predicted.
    """
    constants = [task.baseline() for task in tasks]
    return like.with_outputs(
        {
            group.name: torch.stack([constants[index] for index in group.indices]).expand(
                like.num_rows, -1, -1
            )
            for group in like.groups
        }
    )


def _moved(inputs: Inputs, device: torch.device | str | None) -> Inputs:
    if device is None:
        return inputs
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    return {key: value.to(device) for key, value in inputs.items()}


def _chunks(table: Batch) -> Iterable[Batch]:
    for start in range(0, len(table.rows), CHUNK):
        part = slice(start, start + CHUNK)
        inputs = table.inputs
        yield Batch(
            inputs[part] if isinstance(inputs, Tensor) else {k: v[part] for k, v in inputs.items()},
            {key: value[part] for key, value in table.targets.items()},
            {key: value[part] for key, value in table.masks.items()},
            None if table.row_weights is None else table.row_weights[part],
            table.rows[part],
        )
