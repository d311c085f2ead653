"""Labels as tensors: fitted tasks, and targets with masks in the groups that share a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from polytask.errors import DataError
from polytask.tasks.base import Task
from polytask.tasks.groups import TaskGroup

from .forms import Form
from .parse import read_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series


def fit_tasks(
    form: Form, frame: DataFrame, weights: NDArray[Any] | None = None
) -> tuple[Form, tuple[Task, ...]]:
    """Fits every task on training rows; in the long form after pooling what the tasks share.

    Args:
        form: The shape of the table.
        frame: Training rows only.
        weights: Row weights ``[rows]``, or None.

    Returns:
        The form with what was pooled, and the fitted tasks in the user's order.

    Raises:
        DataError: If the labels of a task contradict its kind, or none is there.
    """
    form = form.pooled(frame, weights)
    return form, tuple(spec.fit(values, weights) for spec, values in form.all_values(frame))


def encode_targets(
    frame: DataFrame, form: Form, groups: Sequence[TaskGroup]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Targets and masks of all rows, by task group.

    Args:
        frame: Rows with the label columns.
        form: The shape of the table.
        groups: The fitted tasks in groups.

    Shapes:
        Targets ``[rows, k]`` or ``[rows, k, labels]``; masks ``[rows, k]``, True where a label is.

    Raises:
        DataError: If a label column is missing or a label contradicts its kind.
    """
    tasks = {task.name: task for group in groups for task in group.tasks}
    encoded = {
        spec.name: tasks[spec.name].encode(values)
        for spec, values in form.all_values(frame)
        if spec.name in tasks
    }
    targets, masks = {}, {}
    for group in groups:
        pairs = [encoded[task.name] for task in group.tasks]
        targets[group.name] = torch.stack([target for target, _ in pairs], dim=1)
        masks[group.name] = torch.stack([mask for _, mask in pairs], dim=1)
    return targets, masks


def read_weights(column: Series) -> NDArray[np.float32]:
    """Row weights from a column.

    Raises:
        DataError: If a weight is missing, negative, infinite or no number, or all are zero.
    """
    values, strangers = read_numbers(column)
    bad = strangers | ~np.isfinite(values) | (values < 0)
    if bad.any():
        raise DataError(
            f"The weight column {column.name!r} must hold numbers of at least 0 in every row; "
            f"{int(bad.sum())} rows do not, the first is row {int(bad.argmax()) + 1}."
        )
    if not values.sum() > 0:
        raise DataError(f"The weight column {column.name!r} is 0 in every row.")
    return values.astype(np.float32)
