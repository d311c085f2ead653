"""Labels of tasks as a convex problem: one column per raw output."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.batch import Batch
from polytask.errors import Unsupported
from polytask.regularization.convex.problem import Array, Family, Kind, Problem
from polytask.tasks import (
    BinaryTask,
    CountTask,
    MulticlassTask,
    MultilabelTask,
    RegressionTask,
    Task,
    TaskGroup,
)


@final
@dataclass(frozen=True)
class LinearLabels:
    """A problem and where its columns belong.

    Args:
        problem: Inputs, labels, weights, losses.
        related: Per column, a number that columns with the same meaning in other tasks share.
        equal_tasks: Whether there are such columns.
    """

    problem: Problem
    related: tuple[int, ...]
    equal_tasks: bool


def linear_labels(
    inputs: Array, table: Batch, groups: Sequence[TaskGroup], *, pooled: bool
) -> LinearLabels:
    """The problem whose minimisers are the heads of all tasks, in the order of the groups.

    Args:
        inputs: ``[rows, features]``.
        table: The same rows, with labels.
        groups: The task groups.
        pooled: All labels count the same (a table in long form); otherwise all tasks do.

    Raises:
        Unsupported: For a kind of task without a linear model.
    """
    rows = len(inputs)
    own = np.ones(rows) if table.row_weights is None else _array(table.row_weights)
    targets: list[Array] = []
    weights: list[Array] = []
    families: list[Family] = []
    related: list[int] = []
    counts: list[float] = []
    for group in groups:
        for place, task in enumerate(group.tasks):
            labels = table.targets[group.name][:, place].cpu()
            mask = table.masks[group.name][:, place].cpu().numpy() * own
            kind, columns, cells = _columns(task, labels, mask)
            first = sum(part.shape[1] for part in targets)
            places = tuple(range(first, first + columns.shape[1]))
            families.append(Family(kind, places))
            targets.append(columns)
            weights.append(cells * task.spec.weight)
            counts += [float(mask.sum())] * columns.shape[1]
            start = max(related, default=-1) + 1 if place == 0 else related[-columns.shape[1]]
            related += range(start, start + columns.shape[1])
    scale = np.array(counts)
    if pooled:
        scale = np.full(len(scale), scale.mean())
    matrix = np.concatenate(weights, axis=1) / np.where(scale > 0, scale, 1.0)
    matrix[:, matrix.sum(0) <= 0] = 1e-12  # a task of weight 0 is still predicted: its constant
    problem = Problem(inputs, np.concatenate(targets, axis=1), matrix, _merged(families))
    return LinearLabels(problem, tuple(related), len(set(related)) < len(related))


def _merged(families: Sequence[Family]) -> tuple[Family, ...]:
    """Columns whose losses are separate go through one product."""
    merged: dict[Kind, tuple[int, ...]] = {}
    for family in families:
        if family.kind != "multinomial":
            merged[family.kind] = (*merged.get(family.kind, ()), *family.columns)
    several = [family for family in families if family.kind == "multinomial"]
    return (*(Family(kind, columns) for kind, columns in merged.items()), *several)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.double().cpu().numpy())


def _columns(task: Task, labels: Tensor, mask: Array) -> tuple[Kind, Array, Array]:
    """Loss, targets ``[rows, outputs]`` and weights ``[rows, outputs]`` of one task."""
    cells = np.repeat(mask[:, None], task.outputs, axis=1)
    if isinstance(task, RegressionTask):
        return "squared", _array(labels)[:, None], cells
    if isinstance(task, CountTask):
        return "poisson", _array(labels)[:, None], cells
    if isinstance(task, BinaryTask):
        truth = _array(labels)[:, None]
        if task.class_weights is not None:
            cells = cells * np.array(task.class_weights)[truth.astype(np.int64)]
        smooth = task.spec.label_smoothing
        return "logistic", truth * (1 - smooth) + smooth / 2, cells
    if isinstance(task, MulticlassTask):
        codes: NDArray[np.int64] = labels.numpy()
        if task.class_weights is not None:
            cells = cells * np.array(task.class_weights)[codes][:, None]
        smooth = task.spec.label_smoothing
        hot = np.eye(task.outputs)[codes]
        return "multinomial", hot * (1 - smooth) + smooth / task.outputs, cells
    if isinstance(task, MultilabelTask):
        observed = (labels >= 0).numpy()
        truth = _array(labels.clamp(min=0))
        cells = cells * observed / observed.sum(1, keepdims=True).clip(1)
        if task.class_weights is not None:
            factors = torch.tensor(task.class_weights, dtype=torch.float64).numpy()
            cells = cells * np.where(truth > 0, factors[:, 1], factors[:, 0])
        smooth = task.spec.label_smoothing
        return "logistic", truth * (1 - smooth) + smooth / 2, cells
    raise Unsupported(
        f"Target {task.name!r} is of the kind {task.spec.kind!r}, for which there is no linear "
        "model; use another preset."
    )
