"""The losses of a training batch whose rows were mixed."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from polytask.data.batch import Batch
from polytask.data.batches import label_counts
from polytask.regularization.inputs import Mixing
from polytask.tasks.groups import TaskGroup
from polytask.training.losses import example_of, label_counts_of, training_sums

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
    sums = training_sums(outputs, example, GROUPS, None)
    counts = label_counts_of([example], label_counts(batch(weights)))
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


def full(weights: Tensor | None, complete: frozenset[str]) -> Batch:
    """A batch in which the group "a" lacks no label."""
    masks = {"a": torch.ones(ROWS, TASKS, dtype=torch.bool), "b": MASKS["b"]}
    return batch(weights)._replace(masks=masks, complete=complete)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("share", [0.3, MIXING.share], ids=["one share", "shares"])
@pytest.mark.parametrize("mixed", [True, False])
def test_that_no_label_is_missing_changes_no_bit(mixed, share, weights):
    mixing = MIXING._replace(share=share) if mixed else None
    outputs = {"a": double(ROWS, TASKS, 1, seed=7), "b": double(ROWS, TASKS, 1, seed=8)}
    found = []
    for complete in (frozenset("a"), frozenset[str]()):
        given = full(weights, complete)
        example = example_of(given, mixing)
        counts = label_counts_of([example], label_counts(given))
        found.append([*training_sums(outputs, example, GROUPS, None), counts["a"], counts["b"]])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    # What is claimed is believed: nobody may call a group complete that is not.
    wrong = example_of(full(weights, frozenset("ab")), mixing)
    assert not torch.equal(training_sums(outputs, wrong, GROUPS, None)[1], found[0][1])


def test_labels_of_a_window_are_those_of_its_micro_batches():
    """One of them mixed, one of a single row and therefore not."""
    mixed, alone = example_of(batch(None), MIXING), example_of(batch(None), None)
    counts = label_counts_of([mixed, alone], {})
    for group in GROUPS:
        expected = by_hand(group, double(ROWS, TASKS, 1, seed=7), None)[1]
        torch.testing.assert_close(
            counts[group.name].double(), expected + MASKS[group.name].sum(0), **EXACT
        )
    given = {"a": torch.tensor([7.0])}
    assert label_counts_of([alone, alone], given) is given


def test_labels_are_counted_anew_unless_rows_weigh_the_same_and_none_is_missing():
    """With partners that are no permutation, the mixed counts are others than the plain ones."""
    mixing = MIXING._replace(partner=torch.zeros(ROWS, dtype=torch.int64))
    both = dict.fromkeys("ab", torch.ones(ROWS, TASKS, dtype=torch.bool))
    complete = batch(None)._replace(masks=both, complete=frozenset("ab"))
    for given, anew in ((complete, False), (complete._replace(row_weights=WEIGHTS), True)):
        plain = label_counts(given)
        found = label_counts_of([example_of(given, mixing)], plain)
        assert (found is not plain) is anew
        close = [torch.allclose(found[name].double(), plain[name].double()) for name in "ab"]
        assert all(close) is not anew
