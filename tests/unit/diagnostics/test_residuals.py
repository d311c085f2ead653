"""Residuals in the target's unit."""

import numpy as np
import pytest
import torch

from polytask.diagnostics import Outputs, measure_residuals
from polytask.diagnostics.residuals import MAX_POINTS
from polytask.tasks import Binary, Count, Regression, group_tasks


def outputs_of(task, output, target, weights=None):
    (group,) = group_tasks([task])
    return Outputs(
        (group,),
        {group.name: torch.as_tensor(output).float().view(-1, 1, 1)},
        {group.name: torch.as_tensor(target).float().view(-1, 1)},
        {group.name: torch.ones(len(target), 1, dtype=torch.bool)},
        weights,
    )


def test_residuals_are_in_the_targets_unit():
    rng = np.random.default_rng(0)
    true = 100 + 20 * rng.normal(size=400)
    task = Regression("y").fit(true)
    predicted = true - 3 - rng.normal(size=400)
    encoded = task.encode(true)[0]
    (found,) = measure_residuals(
        outputs_of(task, (predicted - task.center) / task.scale, encoded), rows="test"
    )
    assert (found.name, found.rows, found.labels) == ("y", "test", 400)
    assert found.mean == pytest.approx(float((true - predicted).mean()), abs=1e-4)
    for probability, value in found.quantiles:
        assert value == pytest.approx(np.quantile(true - predicted, probability), abs=1e-4)
    assert len(found.points) <= MAX_POINTS
    assert found.points[1] == pytest.approx((predicted[2], true[2]), rel=1e-4)


def test_the_sign_says_that_true_values_are_higher():
    task = Regression("y").fit(np.arange(5.0))
    (found,) = measure_residuals(outputs_of(task, np.zeros(4), np.ones(4)))
    assert found.mean == pytest.approx(task.scale)


def test_counts_are_expected_values():
    task = Count("y").fit(np.arange(5.0))
    (found,) = measure_residuals(outputs_of(task, np.log([2.0, 4.0]), np.array([3.0, 3.0])))
    assert found.points == ((2.0, 3.0), (4.0, 3.0))


def test_rows_without_weight_and_other_tasks_are_left_out():
    task = Regression("y").fit(np.arange(5.0))
    weights = torch.tensor([1.0, 0.0])
    (found,) = measure_residuals(outputs_of(task, np.zeros(2), np.ones(2), weights))
    assert found.labels == 1
    binary = Binary("y").fit(np.array([0, 1]))
    assert measure_residuals(outputs_of(binary, np.zeros(2), np.ones(2))) == ()
    assert measure_residuals(outputs_of(task, np.zeros(2), np.ones(2), torch.zeros(2))) == ()
