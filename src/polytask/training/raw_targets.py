"""Targets in units of the user's own choice, under weights that do not make up for them."""

import warnings
from collections.abc import Sequence

import torch

from polytask.balancing import EqualWeights, FixedWeights, LossBalancer, PooledLoss
from polytask.data.batch import Batch
from polytask.errors import PolytaskWarning
from polytask.tasks.groups import TaskGroup

_LABELS = 8
_FAR = 100.0


def warn_of_raw_targets(groups: Sequence[TaskGroup], balance: LossBalancer, example: Batch) -> None:
    """Says which regression target decides alone by its unit.

    Targets are standardised unless `scale` was given. With weights that are all equal, a
    variance far from 1 then decides what the network learns.

    Args:
        groups: Task groups.
        balance: Equal weights are looked at; others are the user's own judgement.
        example: A batch of training rows.

    Warns:
        PolytaskWarning: If the variance of a target that was not standardised is below 0.01 or
            above 100, there are other tasks, and all weigh the same.
    """
    equal = isinstance(balance, EqualWeights | PooledLoss) or (
        isinstance(balance, FixedWeights) and bool((balance.values == balance.values[0]).all())
    )
    if not equal or sum(len(group.tasks) for group in groups) < 2:
        return
    for group in groups:
        for index, task in enumerate(group.tasks):
            if task.spec.kind != "regression" or getattr(task.spec, "scale", None) is None:
                continue
            labels = example.targets[group.name][:, index][example.masks[group.name][:, index]]
            if len(labels) < _LABELS:
                continue
            variance = float(torch.var(labels.double()))
            if not 1 / _FAR <= variance <= _FAR:
                warnings.warn(
                    f"The target {task.name!r} is not standardised (variance {variance:.3g}), and "
                    "all tasks weigh the same: its unit decides what the network learns. Leave "
                    "`scale` out, or weigh the tasks with FixedWeights.",
                    PolytaskWarning,
                    stacklevel=3,
                )
