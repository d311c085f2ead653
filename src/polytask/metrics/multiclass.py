"""Metrics of several exclusive classes, from logits ``[rows, classes]``; targets are positions."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from . import binary
from .base import Metric
from .masked import UNDEFINED, arrays, masked_metric, mean


def accuracy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Share of labels for which the most probable class is the true one."""
    predicted = logits.argmax(-1)
    if weight is None:
        from torchmetrics.functional.classification import multiclass_accuracy

        return float(multiclass_accuracy(predicted, target, logits.shape[-1], average="micro"))
    from sklearn.metrics import accuracy_score

    true, guess, weights = arrays(target, predicted, weight)
    return float(accuracy_score(true, guess, sample_weight=weights))


def balanced_accuracy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean recall of the classes that occur; predicting an absent class costs only its row."""
    predicted, present = logits.argmax(-1), _present(target)
    if weight is None:
        from torchmetrics.functional.classification import multiclass_recall

        recalls = multiclass_recall(predicted, target, logits.shape[-1], average="none")
        return float(recalls[present].mean())
    from sklearn.metrics import recall_score

    true, guess, weights = arrays(target, predicted, weight)
    classes = present.tolist()
    return float(recall_score(true, guess, labels=classes, average="macro", sample_weight=weights))


def log_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean negative log-likelihood, exact for extreme logits (scikit-learn clips there)."""
    return mean(functional.cross_entropy(logits, target, reduction="none"), weight)


def auc(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean over the classes that occur of the AUC of that class against the rest."""
    # In the order of the probabilities, but probabilities near 0 and 1 are not rounded together.
    log_probability, present = functional.log_softmax(logits, -1), _present(target)
    if len(present) < 2:
        return UNDEFINED
    scores = [
        binary.auc(log_probability[:, label], (target == label).long(), weight)
        for label in present.tolist()
    ]
    return float(torch.tensor(scores, dtype=torch.float64).mean())


def multiclass_metrics() -> Mapping[str, Metric]:
    """Accuracy, balanced accuracy, log loss and macro AUC (one against the rest)."""
    metrics = (
        masked_metric("accuracy", accuracy, higher_is_better=True, link=_logits),
        masked_metric("balanced_accuracy", balanced_accuracy, higher_is_better=True, link=_logits),
        masked_metric("log_loss", log_loss, higher_is_better=False, link=_logits),
        masked_metric("auc", auc, higher_is_better=True, link=_logits),
    )
    return {metric.name: metric for metric in metrics}


def _present(target: Tensor) -> Tensor:
    """Positions of the classes that occur."""
    return target.bincount().nonzero().flatten()


def _logits(output: Tensor) -> Tensor:
    return output
