"""From a judge of complete predictions to a `Metric` that copes with gaps and row weights."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import Metric

Judge = Callable[[Tensor, Tensor, Tensor | None], float]
"""(predictions, targets, row weights or None) of labelled rows only → number."""

UNDEFINED = float("nan")


def masked_metric(
    name: str,
    judge: Judge,
    *,
    higher_is_better: bool,
    link: Callable[[Tensor], Tensor],
    target_link: Callable[[Tensor], Tensor] | None = None,
    unit: str = "",
) -> Metric:
    """A metric over labelled rows of positive weight; NaN without rows or finite predictions.

    Args:
        name: Field's standard name.
        judge: Receives labelled rows only, predictions and weights in float64.
        higher_is_better: Direction.
        link: Raw outputs ``[rows, outputs]`` (float64) → what `judge` compares.
        target_link: Encoded targets → what `judge` compares; None: as they are.
        unit: ``"target"`` if the number is in the target's unit.

    Example:
        >>> def bias(prediction, target, weight):
        ...     return float((prediction - target).mean())
        >>> metric = masked_metric(
        ...     "bias", bias, higher_is_better=False, link=lambda output: output[:, 0]
        ... )
        >>> output, target = torch.tensor([[1.0], [5.0]]), torch.tensor([0.0, 0.0])
        >>> metric.compute(output, target, torch.tensor([True, False]), None)
        1.0
    """

    def compute(output: Tensor, target: Tensor, mask: Tensor, weight: Tensor | None) -> float:
        kept = mask if weight is None else mask & (weight > 0)
        prediction = link(output.detach()[kept].double())
        if not len(prediction) or not torch.isfinite(prediction).all():
            return UNDEFINED
        labels = target[kept] if target_link is None else target_link(target[kept])
        return judge(prediction, labels, None if weight is None else weight[kept].double())

    return Metric(name, higher_is_better, compute, unit)


def arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    """Tensors as arrays, for scikit-learn."""
    return [tensor.cpu().numpy() for tensor in tensors]


def mean(values: Tensor, weight: Tensor | None) -> float:
    """Mean of `values`, with row weights if given."""
    if weight is None:
        return float(values.mean())
    return float((values * weight).sum() / weight.sum())
