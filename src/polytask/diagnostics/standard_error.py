"""Losses per row, and how far their mean can be trusted."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .evaluate import hard
from .predictions import Outputs

Array = NDArray[np.float64]


class RowLosses(NamedTuple):
    """Unreduced losses of one task on hard labels, labelled rows only.

    Args:
        losses: ``[labels]``.
        weights: Row weights ``[labels]``.
        rows: Positions of the labelled rows in the set.
    """

    losses: Array
    weights: Array
    rows: NDArray[np.int64]


def row_losses(outputs: Outputs, index: int) -> RowLosses | None:
    """Losses of the task at `index`; None without labels or where a loss is not finite.

    Args:
        outputs: Raw outputs beside their labels.
        index: Position of the task in the user's order.
    """
    output, target, weight, rows = outputs.of(index)
    losses = hard(outputs.tasks[index]).loss(output, target).detach().double().numpy()
    weights = np.ones(len(rows)) if weight is None else weight.double().numpy()
    if not weights.sum() > 0 or not np.isfinite(losses).all():
        return None
    return RowLosses(losses, weights, rows.numpy())


def mean_and_error(values: Array, weights: Array) -> tuple[float, float]:
    r"""Weighted mean over rows and its standard error.

    .. math::
        \bar v = \frac{\sum_i w_i v_i}{\sum_i w_i}, \qquad
        SE = \sqrt{\frac{n}{n - 1}} \, \frac{\sqrt{\sum_i w_i^2 (v_i - \bar v)^2}}{\sum_i w_i}

    with values v, weights w and the number n of rows of positive weight. Equal weights give the
    usual :math:`s / \sqrt n`.

    Args:
        values: ``[rows]``.
        weights: ``[rows]``, at least 0, with a positive sum.

    Returns:
        (mean, standard error); the error of a single row is infinite.

    Example:
        >>> mean, error = mean_and_error(np.array([1.0, 2.0, 3.0]), np.full(3, 0.5))
        >>> mean, round(error, 4)
        (2.0, 0.5774)

    Note:
        Rows count as independent. Rows of one subject are not, and the error is then too small:
        split by that subject, and read verdicts with care.
    """
    total, rows = float(weights.sum()), int((weights > 0).sum())
    mean = float(weights @ values) / total
    if rows < 2:
        return mean, math.inf
    squares = float((weights * (values - mean)) @ (weights * (values - mean)))
    return mean, math.sqrt(squares * rows / (rows - 1)) / total


def paired_gain(model: RowLosses | None, other: RowLosses | None) -> tuple[float, float] | None:
    """Mean of (other's loss − model's loss) on the same rows, and the error of that difference.

    Positive: the model is better. What makes a row hard for both cancels in the difference, so
    its error is usually far below that of either loss.

    Args:
        model: Losses of the model.
        other: Losses of a baseline on the same rows; None: there is none.
    """
    if model is None or other is None:
        return None
    return mean_and_error(other.losses - model.losses, model.weights)
