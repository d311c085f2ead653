"""Predicted against true values, and the distribution of what is left."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polytask.tasks import CountTask, RegressionTask

from .predictions import Outputs

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MAX_POINTS, MIN_POINTS = 250, 40
"""Points of one drawing; of more rows, evenly spaced ones."""
BUDGET = 3000
"""Points of all tasks together; with many tasks each has fewer, but `MIN_POINTS`."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Residuals:
    """One numeric task on one set of rows, in the target's unit.

    Args:
        name: The task.
        rows: Set of rows.
        labels: Labelled rows.
        points: (predicted, true) of evenly spaced rows.
        quantiles: (probability, quantile of true − predicted).
        mean: Mean residual.
    """

    name: str
    rows: str
    labels: int
    points: tuple[tuple[float, float], ...]
    quantiles: tuple[tuple[float, float], ...]
    mean: float


class Values(NamedTuple):
    """Labelled rows of a numeric task, in its unit.

    Args:
        predicted: Predictions ``[labels]``.
        true: Targets ``[labels]``.
        rows: Positions of the rows in the set.
    """

    predicted: Array
    true: Array
    rows: NDArray[np.int64]


def measure_residuals(outputs: Outputs, *, rows: str = "valid") -> tuple[Residuals, ...]:
    r"""Residuals :math:`y_i - \hat y_i` of every numeric task with labels.

    Args:
        outputs: Raw outputs on rows that the model was not trained on.
        rows: Their name.

    Note:
        Quantiles and mean count every row once, whatever its weight. With few rows the outer
        quantiles are those of the few largest residuals.
    """
    limit = max(MIN_POINTS, min(MAX_POINTS, BUDGET // max(len(outputs.tasks), 1)))
    found = []
    for index, task in enumerate(outputs.tasks):
        values = in_units(outputs, index)
        if values is None or not len(values.true):
            continue
        left = values.true - values.predicted
        stride = -(-len(left) // limit)
        pairs = zip(values.predicted[::stride], values.true[::stride], strict=True)
        found.append(
            Residuals(
                task.name,
                rows,
                len(left),
                tuple((_short(predicted), _short(true)) for predicted, true in pairs),
                tuple((q, float(np.quantile(left, q))) for q in QUANTILES),
                float(left.mean()),
            )
        )
    return tuple(found)


def in_units(outputs: Outputs, index: int) -> Values | None:
    """Predictions and targets in the target's unit, finite ones; None for other tasks."""
    task = outputs.tasks[index]
    output, target, weights, rows = outputs.of(index)
    if weights is not None:
        kept = weights > 0
        output, target, rows = output[kept], target[kept], rows[kept]
    true = target.double()
    if isinstance(task, RegressionTask):
        true = true * task.scale + task.center
    elif not isinstance(task, CountTask):
        return None
    predicted = np.asarray(task.predict(output)[""], dtype=np.float64)
    known = np.isfinite(predicted)
    return Values(predicted[known], true.numpy()[known], rows.numpy()[known])


def _short(value: float) -> float:
    return float(f"{value:.5g}")
