"""Metrics of counts, from the expected count."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .base import Metric
from .masked import arrays, masked_metric
from .regression import mae, rmse


def poisson_deviance(rate: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    r"""Mean of :math:`2\,(y \log(y/\mu) - y + \mu)` with expected count :math:`\mu`."""
    if weight is None:
        from torchmetrics.functional.regression import tweedie_deviance_score

        return float(tweedie_deviance_score(rate, target.to(rate.dtype), power=1.0))
    from sklearn.metrics import mean_poisson_deviance

    true, expected, weights = arrays(target.to(rate.dtype), rate, weight)
    return float(mean_poisson_deviance(true, expected, sample_weight=weights))


def count_metrics() -> Mapping[str, Metric]:
    """Poisson deviance, RMSE and MAE of the expected count."""
    metrics = (
        masked_metric("poisson_deviance", poisson_deviance, higher_is_better=False, link=_rate),
        masked_metric("rmse", rmse, higher_is_better=False, link=_rate, unit="target"),
        masked_metric("mae", mae, higher_is_better=False, link=_rate, unit="target"),
    )
    return {metric.name: metric for metric in metrics}


def _rate(log_rate: Tensor) -> Tensor:
    # The deviance needs a positive expected count; exp underflows to 0 below -745.
    return log_rate.squeeze(-1).exp().clamp(min=torch.finfo(torch.float64).tiny)
