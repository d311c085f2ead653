"""Losses and metrics per task of one set of raw outputs, on hard labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from polytask.tasks import BinaryTask, MulticlassTask, MultilabelTask, Task

from .predictions import Outputs


@final
@dataclass(frozen=True)
class TaskEvaluation:
    """One task on one set of rows.

    Args:
        labels: Labelled rows of positive weight.
        loss: Mean loss over them, with row weights; None without labels or if not finite.
        losses: Unreduced losses ``[labelled rows]``, float64.
        weights: Row weights ``[labelled rows]``, float64.
        rows: Positions of the labelled rows in the set.
        metrics: Value by metric name; None where undefined.
    """

    labels: int
    loss: float | None
    losses: NDArray[np.float64]
    weights: NDArray[np.float64]
    rows: NDArray[np.int64]
    metrics: dict[str, float | None]


def hard(task: Task) -> Task:
    """The task without label smoothing, which raises the floor of the training loss.

    Losses of reports are measured on hard labels, so that those of models trained with and
    without smoothing, and of linear baselines, can be compared.
    """
    if isinstance(task, BinaryTask) and task.spec.label_smoothing:
        return replace(task, spec=replace(task.spec, label_smoothing=0.0))
    if isinstance(task, MulticlassTask) and task.spec.label_smoothing:
        return replace(task, spec=replace(task.spec, label_smoothing=0.0))
    if isinstance(task, MultilabelTask) and task.spec.label_smoothing:
        return replace(task, spec=replace(task.spec, label_smoothing=0.0))
    return task


def evaluate_task(task: Task, outputs: Outputs, index: int) -> TaskEvaluation:
    """Losses and metrics of the task at `index` in the user's order."""
    output, target, weight, rows = outputs.of(index)
    losses = hard(task).loss(output, target).detach().double().numpy()
    weights = np.ones(len(rows)) if weight is None else weight.double().numpy()
    everywhere = rows >= 0
    metrics = {
        metric.name: finite(metric.compute(output, target, everywhere, weight))
        if len(rows)
        else None
        for metric in task.metrics().values()
    }
    total = float(weights.sum())
    loss = finite(float(weights @ losses) / total) if total > 0 else None
    return TaskEvaluation(int((weights > 0).sum()), loss, losses, weights, rows.numpy(), metrics)


def evaluate(outputs: Outputs) -> tuple[TaskEvaluation, ...]:
    r"""Losses and metrics of every task, in the user's order.

    The loss of a task is :math:`L_t = \sum_i w_i \ell_{ti} / \sum_i w_i` over its labelled rows.
    """
    return tuple(evaluate_task(task, outputs, index) for index, task in enumerate(outputs.tasks))


def finite(value: float) -> float | None:
    """The value, or None for NaN and infinities: "not measured" in a report."""
    return float(value) if math.isfinite(value) else None


def gaps(
    train: Sequence[TaskEvaluation], valid: Sequence[TaskEvaluation]
) -> tuple[float | None, ...]:
    r"""Gap per task of the weights that were kept, a diagnostic and never a score.

    :math:`(L_{valid} - L_{train}) / |L_{valid}|`, both in eval mode on hard labels; None where a
    loss is missing or the validation loss is zero. A better model often has the larger gap.
    """
    return tuple(_gap(seen.loss, unseen.loss) for seen, unseen in zip(train, valid, strict=True))


def _gap(train: float | None, valid: float | None) -> float | None:
    if train is None or valid is None or valid == 0:
        return None
    return finite((valid - train) / abs(valid))
