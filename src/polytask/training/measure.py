"""Losses per task: of one batch for the step, of many in eval mode for the curves."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from polytask.data.batch import Batch, Batches
from polytask.data.batches import transform
from polytask.tasks.base import TaskLosses, masked_sums
from polytask.tasks.groups import TaskGroup

Outputs = Mapping[str, Tensor]


def group_losses(outputs: Outputs, batch: Batch, groups: Sequence[TaskGroup]) -> TaskLosses:
    """Sums and counts of the losses of one batch, concatenated over the groups.

    Args:
        outputs: Task group → raw outputs ``[rows, k, outputs]``.
        batch: Rows with targets and masks.
        groups: The task groups.
    """
    pieces = [
        masked_sums(
            group.loss(outputs[group.name], batch.targets[group.name]),
            batch.masks[group.name],
            batch.row_weights,
        )
        for group in groups
    ]
    if len(pieces) == 1:
        return pieces[0]
    return TaskLosses(torch.cat([p.sums for p in pieces]), torch.cat([p.counts for p in pieces]))


def own_loss(group: TaskGroup, output: Tensor, target: Tensor) -> Tensor:
    """Unreduced training losses ``[rows, k]`` of a group on its labels.

    Args:
        group: Equal tasks.
        output: ``[rows, k, outputs]``, or ``[rows, members, k, outputs]`` of an ensemble, whose
            members learn separately: the mean of their losses, never the loss of their mean.
        target: ``[rows, k]`` or ``[rows, k, labels]``.
    """
    if output.ndim == 3:
        return group.training_loss(output, target)
    target = target.unsqueeze(1).expand(-1, output.shape[1], *target.shape[1:])
    return group.training_loss(output, target).mean(1)


def user_order(groups: Sequence[TaskGroup]) -> list[int]:
    """Positions that turn a vector concatenated over groups into the user's task order."""
    flat = [index for group in groups for index in group.indices]
    return sorted(range(len(flat)), key=flat.__getitem__)


def means(losses: TaskLosses, order: Sequence[int]) -> list[float | None]:
    """Means in the user's order; None where there is no label."""
    values = (losses.sums.double() / losses.counts.double()).tolist()
    counts = losses.counts.tolist()
    return [values[i] if counts[i] > 0 else None for i in order]


def finite(values: Sequence[float | None]) -> list[float | None]:
    """The values, None for what is not a number: without a label, or after an overflow."""
    return [v if v is not None and math.isfinite(v) else None for v in values]


def _total(
    batches: Iterable[Batch], groups: Sequence[TaskGroup], run: Callable[[Batch], Outputs]
) -> TaskLosses:
    zeros = torch.zeros(sum(len(group.tasks) for group in groups), dtype=torch.float64)
    total = TaskLosses(zeros, zeros.clone())
    for batch in batches:
        sums, counts = group_losses(run(batch), batch, groups)
        total = TaskLosses(total.sums.to(sums.device) + sums, total.counts.to(sums.device) + counts)
    return total


@torch.no_grad()
def measure(model: nn.Module, batches: Iterable[Batch], groups: Sequence[TaskGroup]) -> TaskLosses:
    """Sums and counts per task over `batches`, in eval mode; the mode is restored."""
    was_training = model.training
    model.eval()
    try:
        return _total(batches, groups, lambda batch: model(batch.inputs).outputs)
    finally:
        model.train(was_training)


@torch.no_grad()
def measure_baseline(batches: Iterable[Batch], groups: Sequence[TaskGroup]) -> TaskLosses:
    """Sums and counts of the loss of predicting the training distribution."""
    constant = {g.name: torch.stack([task.baseline() for task in g.tasks]) for g in groups}
    return _total(
        batches,
        groups,
        lambda batch: {
            name: value.to(batch.rows.device).expand(len(batch.rows), *value.shape)
            for name, value in constant.items()
        },
    )


def subset(batches: Batches, limit: int) -> list[Batch]:
    """Evenly spaced rows, at most about `limit`: the fixed rows of the training curve."""
    stride = max(1, math.ceil(batches.num_rows / limit))
    return [
        transform(batch, lambda tensor: tensor[::stride].contiguous()) for batch in batches.epoch()
    ]
