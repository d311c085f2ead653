"""Objectives of the fixed weightings: input, expected, where the number comes from."""

import pytest
import torch

from polytask.balancing import EqualWeights, FixedWeights, PooledLoss, ScheduledWeights
from polytask.optim import constant, linear

NAN = float("nan")

TABLE = [
    # balancer, losses, present, counts, objective, weights, source
    (EqualWeights(3), [1, 2, 6], [1, 1, 1], None, 3.0, [1 / 3] * 3, "mean of 1, 2, 6"),
    (EqualWeights(3), [1, NAN, 6], [1, 0, 1], None, 3.5, [0.5, 0, 0.5], "mean of 1, 6"),
    (FixedWeights([1, 1, 2]), [1, 2, 6], [1, 1, 1], None, 3.75, [0.25, 0.25, 0.5], "15 / 4"),
    (FixedWeights([10, 10, 20]), [1, 2, 6], [1, 1, 1], None, 3.75, [0.25, 0.25, 0.5], "ratios"),
    (FixedWeights([1, 1, 2]), [NAN, 2, 6], [0, 1, 1], None, 14 / 3, [0, 1 / 3, 2 / 3], "14 / 3"),
    (FixedWeights([1, 0, 1]), [1, 9, 3], [1, 1, 1], None, 2.0, [0.5, 0, 0.5], "task 2 is off"),
    (ScheduledWeights([constant(), linear([(0, 3), (9, 0)])]), [2, 6], [1, 1], None, 5.0,
     [0.25, 0.75], "epoch 0: weights 1, 3"),
    (PooledLoss(2), [1, 5], [1, 1], [30, 10], 2.0, [0.75, 0.25], "(30 + 50) / 40 labels"),
    (PooledLoss(2), [1, NAN], [1, 0], [30, 0], 1.0, [1, 0], "one task has labels"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{type(row[0]).__name__}: {row[-1]}")
def test_objective_and_weights(row):
    balancer, losses, present, counts, expected, weights, _ = row
    tensor = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor(present, dtype=torch.bool)
    labels = None if counts is None else torch.tensor(counts, dtype=torch.float64)
    objective = balancer(tensor, mask, labels)
    objective.backward()
    assert objective.item() == pytest.approx(expected, abs=1e-12)
    assert tensor.grad.tolist() == pytest.approx(weights, abs=1e-12)
