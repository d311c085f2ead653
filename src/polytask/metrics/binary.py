"""Metrics of two classes, from logits; targets are 0 and 1."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from .base import Metric
from .masked import UNDEFINED, arrays, masked_metric, mean


def auc(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Area under the ROC curve; undefined with one class."""
    if not _two_classes(target):
        return UNDEFINED
    if weight is None:
        from torchmetrics.functional.classification import binary_auroc

        return float(binary_auroc(_ranks(logit), target.long()))
    from sklearn.metrics import roc_auc_score

    true, score, weights = arrays(target, logit, weight)
    return float(roc_auc_score(true, score, sample_weight=weights))


def average_precision(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Area under the precision-recall curve as a step function; undefined with one class."""
    if not _two_classes(target):
        return UNDEFINED
    if weight is None:
        from torchmetrics.functional.classification import binary_average_precision

        return float(binary_average_precision(_ranks(logit), target.long()))
    from sklearn.metrics import average_precision_score

    true, score, weights = arrays(target, logit, weight)
    return float(average_precision_score(true, score, sample_weight=weights))


def log_loss(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean negative log-likelihood, exact for extreme logits (scikit-learn clips there)."""
    loss = functional.binary_cross_entropy_with_logits(
        logit, target.to(logit.dtype), reduction="none"
    )
    return mean(loss, weight)


def accuracy(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Share of labels for which the more probable class is the true one."""
    predicted = (logit > 0).long()
    if weight is None:
        from torchmetrics.functional.classification import binary_accuracy

        return float(binary_accuracy(predicted, target.long()))
    from sklearn.metrics import accuracy_score

    true, guess, weights = arrays(target.long(), predicted, weight)
    return float(accuracy_score(true, guess, sample_weight=weights))


def brier(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean squared error of the probability of the positive class."""
    return mean((torch.sigmoid(logit) - target) ** 2, weight)


def f1(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Harmonic mean of precision and recall; undefined without true or predicted positives."""
    predicted = (logit > 0).long()
    if not bool((predicted + target).any()):
        return UNDEFINED
    if weight is None:
        from torchmetrics.functional.classification import binary_f1_score

        return float(binary_f1_score(predicted, target.long()))
    from sklearn.metrics import f1_score

    true, guess, weights = arrays(target.long(), predicted, weight)
    return float(f1_score(true, guess, sample_weight=weights))


def binary_metrics() -> Mapping[str, Metric]:
    """AUC, average precision, log loss, accuracy and Brier score."""
    metrics = (
        masked_metric("auc", auc, higher_is_better=True, link=_logit),
        masked_metric("average_precision", average_precision, higher_is_better=True, link=_logit),
        masked_metric("log_loss", log_loss, higher_is_better=False, link=_logit),
        masked_metric("accuracy", accuracy, higher_is_better=True, link=_logit),
        masked_metric("brier", brier, higher_is_better=False, link=_logit),
    )
    return {metric.name: metric for metric in metrics}


def _logit(output: Tensor) -> Tensor:
    return output.squeeze(-1)


def _two_classes(target: Tensor) -> bool:
    return bool((target > 0).any()) and not bool((target > 0).all())


def _ranks(score: Tensor) -> Tensor:
    # torchmetrics squashes scores outside [0, 1] by a sigmoid, which would tie extreme logits.
    return torch.searchsorted(score.sort().values, score.contiguous()).double() / len(score)
