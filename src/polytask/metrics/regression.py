"""Metrics of numeric targets, in the target's own unit."""

from collections.abc import Callable, Mapping

from torch import Tensor

from .base import Metric
from .masked import UNDEFINED, arrays, masked_metric


def rmse(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Root mean squared error."""
    if weight is None:
        from torchmetrics.functional.regression import mean_squared_error

        return float(mean_squared_error(prediction, target, squared=False))

    from sklearn.metrics import root_mean_squared_error

    true, predicted, weights = arrays(target, prediction, weight)
    return float(root_mean_squared_error(true, predicted, sample_weight=weights))


def mae(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean absolute error."""
    if weight is None:
        from torchmetrics.functional.regression import mean_absolute_error

        return float(mean_absolute_error(prediction, target))
    from sklearn.metrics import mean_absolute_error as weighted

    true, predicted, weights = arrays(target, prediction, weight)
    return float(weighted(true, predicted, sample_weight=weights))


def r2(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Coefficient of determination; undefined if all targets are equal."""
    if bool((target == target[0]).all()):
        return UNDEFINED
    if weight is None:
        from torchmetrics.functional.regression import r2_score

        return float(r2_score(prediction, target))
    from sklearn.metrics import r2_score as weighted

    true, predicted, weights = arrays(target, prediction, weight)
    return float(weighted(true, predicted, sample_weight=weights))


def regression_metrics(in_units: Callable[[Tensor], Tensor]) -> Mapping[str, Metric]:
    """RMSE, MAE and R².

    Args:
        in_units: Standardised value → the user's unit, in float64.
    """

    def link(output: Tensor) -> Tensor:
        return in_units(output.squeeze(-1))

    metrics = (
        masked_metric(
            "rmse", rmse, higher_is_better=False, link=link, target_link=in_units, unit="target"
        ),
        masked_metric(
            "mae", mae, higher_is_better=False, link=link, target_link=in_units, unit="target"
        ),
        masked_metric("r2", r2, higher_is_better=True, link=link, target_link=in_units),
    )
    return {metric.name: metric for metric in metrics}
