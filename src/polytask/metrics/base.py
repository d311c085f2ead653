"""The form of a metric: one number from raw outputs, targets, a mask and row weights."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

MetricFunction = Callable[[Tensor, Tensor, Tensor, Tensor | None], float]


@dataclass(frozen=True)
class Metric:
    """One named number that judges the predictions of one task.

    Args:
        name: Field's standard name, such as ``"rmse"`` or ``"auc"``.
        higher_is_better: Direction.
        compute: ``(output [rows, outputs], target [rows, ...], mask [rows], weight [rows] | None)``
            → number in the user's units; NaN where the metric is undefined (no labels, one class).
        unit: ``""`` for dimensionless metrics, ``"target"`` if it is in the target's unit.
    """

    name: str
    higher_is_better: bool
    compute: MetricFunction
    unit: str = ""
