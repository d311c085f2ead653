"""The losses of a training batch whose rows were mixed."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from polytask.data.batch import Batch
from polytask.regularization.inputs import Mixing
from polytask.tasks.groups import TaskGroup
from polytask.training.losses import counts_of_mixed, example_of, training_sums

EXACT = {"rtol": 1e-12, "atol": 1e-12}
ROWS, TASKS = 5, 5


def double(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def absolute(output: Tensor, target: Tensor) -> Tensor:
    return (output.squeeze(-1) - target).abs()


GROUPS = [
    TaskGroup(name, (SimpleNamespace(loss=loss, training_loss=loss),), (index,))
    for index, (name, loss) in enumerate(
        {"a": absolute, "b": lambda o, t: absolute(o, t).square()}.items()
    )
]
MASKS = {"a": double(ROWS, TASKS, seed=1) < 0.8, "b": double(ROWS, TASKS, seed=2) < 0.8}
TARGETS = {"a": double(ROWS, TASKS, seed=3), "b": double(ROWS, TASKS, seed=4)}
# Cycles of three and of two rows.
MIXING = Mixing(torch.tensor([1, 2, 0, 4, 3]), double(ROWS, seed=5))
WEIGHTS = 0.5 + double(ROWS, seed=6)


def batch(weights: Tensor | None) -> Batch:
    return Batch(torch.zeros(ROWS, 1), TARGETS, MASKS, weights, torch.arange(ROWS))


def by_hand(group: TaskGroup, output: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cell by cell, with one member of an ensemble after another."""
    w = torch.ones(ROWS, dtype=torch.float64) if weights is None else weights
    mask, target = MASKS[group.name], TARGETS[group.name]
    members = output.unsqueeze(1) if output.ndim == 3 else output
    sums, counts = torch.zeros(2, TASKS, dtype=torch.float64)
    for i, j in enumerate(MIXING.partner.tolist()):
        share = float(MIXING.share[i])
        for task in range(TASKS):
            if mask[i, task] and mask[j, task]:
                for row, part in ((i, share * w[i]), (j, (1 - share) * w[j])):
                    losses = [group.loss(o[i, task], target[row, task]) for o in members.unbind(1)]
                    sums[task] += part * sum(losses) / len(losses)
                    counts[task] += part
    return sums, counts


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("shape", [(TASKS, 1), (3, TASKS, 1)], ids=["model", "members"])
def test_losses_of_mixed_rows(weights, shape):
    outputs = {"a": double(ROWS, *shape, seed=7), "b": double(ROWS, *shape, seed=8)}
    example = example_of(batch(weights), MIXING)
    sums, counts = training_sums(outputs, example, GROUPS, None), counts_of_mixed(example)
    for group, found in zip(GROUPS, sums, strict=True):
        expected = by_hand(group, outputs[group.name], weights)
        torch.testing.assert_close(found, expected[0], **EXACT)
        torch.testing.assert_close(counts[group.name], expected[1], **EXACT)


def test_a_batch_that_was_not_mixed_is_as_it_was():
    given = batch(None)
    example = example_of(given, None)
    assert example.batch is given
    outputs = {"a": double(ROWS, TASKS, 1, seed=7), "b": double(ROWS, TASKS, 1, seed=8)}
    for group, found in zip(GROUPS, training_sums(outputs, example, GROUPS, None), strict=True):
        losses = group.loss(outputs[group.name], TARGETS[group.name])
        torch.testing.assert_close(found, (losses * MASKS[group.name]).sum(0), **EXACT)
