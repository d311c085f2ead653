"""Masked metrics in the user's units."""

from .base import Metric, MetricFunction
from .binary import binary_metrics
from .count import count_metrics
from .masked import Judge, masked_metric
from .multiclass import multiclass_metrics
from .multilabel import multilabel_metrics
from .regression import regression_metrics

__all__ = [
    "Judge",
    "Metric",
    "MetricFunction",
    "binary_metrics",
    "count_metrics",
    "masked_metric",
    "multiclass_metrics",
    "multilabel_metrics",
    "regression_metrics",
]
