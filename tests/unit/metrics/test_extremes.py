"""Where rounding would change a number."""

import math

import pytest
import torch

from polytask.metrics import binary_metrics, count_metrics, multiclass_metrics

ONES = torch.ones(4, dtype=torch.bool)


def test_large_logits_keep_their_order():
    """Both would be 1.0 after a sigmoid, a tie, and the AUC 0.75."""
    output = torch.tensor([[-1.0], [40.0], [50.0], [60.0]])
    target = torch.tensor([0.0, 0.0, 1.0, 1.0])
    metrics = binary_metrics()
    assert metrics["auc"].compute(output, target, ONES, None) == 1.0
    assert metrics["average_precision"].compute(output, target, ONES, None) == 1.0
    from torchmetrics.functional.classification import binary_auroc

    assert float(binary_auroc(output[:, 0], target.long())) == 0.75


def test_log_loss_is_not_clipped():
    output, target = torch.full((4, 1), 50.0), torch.zeros(4)
    assert binary_metrics()["log_loss"].compute(output, target, ONES, None) == 50.0
    logits = torch.tensor([[100.0, 0.0, 0.0]]).expand(4, 3)
    value = multiclass_metrics()["log_loss"].compute(logits, torch.ones(4).long(), ONES, None)
    assert value == pytest.approx(100.0)


def test_absent_classes_do_not_lower_balanced_accuracy():
    logits = torch.eye(3)[[0, 0, 1, 2]]  # one row is predicted as the absent class 2
    target, metric = torch.tensor([0, 0, 1, 1]), multiclass_metrics()["balanced_accuracy"]
    for weight in (None, torch.ones(4)):
        assert metric.compute(logits, target, ONES, weight) == pytest.approx(0.75)


def test_rates_beyond_the_range_of_floats():
    metrics, target = count_metrics(), torch.tensor([0.0, 1.0, 2.0, 3.0])
    low = torch.full((4, 1), -1000.0)
    for weight in (None, torch.ones(4)):
        assert metrics["poisson_deviance"].compute(low, target, ONES, weight) > 1000
        high = torch.full((4, 1), 1000.0)
        assert math.isnan(metrics["rmse"].compute(high, target, ONES, weight))
