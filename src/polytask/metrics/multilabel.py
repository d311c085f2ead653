"""Metrics of a group of yes-or-no labels, from logits ``[rows, labels]``; targets 0, 1, gaps -1."""

from collections.abc import Mapping

import torch
from torch import Tensor

from . import binary
from .base import Metric
from .masked import UNDEFINED, Judge, masked_metric


def auc(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean AUC over the labels of which both classes occur."""
    scores = []
    for label in range(logits.shape[-1]):
        known = target[:, label] >= 0
        weights = None if weight is None else weight[known]
        scores.append(binary.auc(logits[known, label], target[known, label], weights))
    defined = torch.tensor(scores, dtype=torch.float64)
    defined = defined[~defined.isnan()]
    return float(defined.mean()) if len(defined) else UNDEFINED


def hamming_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Share of wrong cells."""
    return 1.0 - _over_cells(binary.accuracy)(logits, target, weight)


def log_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """Mean negative log-likelihood of a cell."""
    return _over_cells(binary.log_loss)(logits, target, weight)


def micro_f1(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    """F1 of all cells together."""
    return _over_cells(binary.f1)(logits, target, weight)


def multilabel_metrics() -> Mapping[str, Metric]:
    """Mean AUC, Hamming loss, log loss and micro F1 over the cells that have a label."""
    metrics = (
        masked_metric("auc", auc, higher_is_better=True, link=_logits),
        masked_metric("hamming_loss", hamming_loss, higher_is_better=False, link=_logits),
        masked_metric("log_loss", log_loss, higher_is_better=False, link=_logits),
        masked_metric("micro_f1", micro_f1, higher_is_better=True, link=_logits),
    )
    return {metric.name: metric for metric in metrics}


def _over_cells(judge: Judge) -> Judge:
    """A judge of binary labels applied to every observed cell with the weight of its row."""

    def over_cells(logits: Tensor, target: Tensor, weight: Tensor | None) -> float:
        known = target >= 0
        if not bool(known.any()):
            return UNDEFINED
        weights = None if weight is None else weight.unsqueeze(-1).expand_as(target)[known]
        return judge(logits[known], target[known], weights)

    return over_cells


def _logits(output: Tensor) -> Tensor:
    return output
