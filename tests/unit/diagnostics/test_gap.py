"""The gap and its interval over rows."""

import numpy as np
import pytest

from polytask.diagnostics import TaskEvaluation, bootstrap_gaps, final_gaps, gaps


def evaluation(losses, weights=None):
    weights = np.ones(len(losses)) if weights is None else weights
    total = weights.sum()
    loss = float(weights @ losses) / total if total else None
    return TaskEvaluation(len(losses), loss, losses, weights, np.arange(len(losses)), {})


def drawn(seed, rows=200, mean=1.0):
    return evaluation(np.random.default_rng(seed).exponential(mean, rows))


def test_points_are_those_of_the_plain_gap():
    train, valid = [drawn(0), drawn(1)], [drawn(2, 80), drawn(3, 80)]
    found = bootstrap_gaps(["a", "b"], train, valid)
    assert [row.gap for row in found] == pytest.approx(gaps(train, valid))
    for row in found:
        assert row.when == "kept"
        assert row.low < row.gap < row.high


def test_interval_covers_the_true_gap_as_often_as_it_says():
    """The true gap of exponential losses with means 0.8 and 1 is 0.2."""
    hits, without_training = 0, 0
    for seed in range(300):
        train, valid = drawn(2 * seed, 100, 0.8), drawn(2 * seed + 1, 100, 1.0)
        (row,) = bootstrap_gaps(["y"], [train], [valid], seed=seed)
        hits += row.low <= 0.2 <= row.high
        # The mutant: training rows that are not resampled.
        fixed = evaluation(np.full(100, train.loss))
        (narrow,) = bootstrap_gaps(["y"], [fixed], [valid], seed=seed)
        without_training += narrow.low <= 0.2 <= narrow.high
    assert 0.85 <= hits / 300 <= 0.95
    assert without_training / 300 < 0.85


def test_weights_count():
    losses, weights = np.array([1.0, 3.0]), np.array([3.0, 1.0])
    (row,) = bootstrap_gaps(["y"], [evaluation(losses, weights)], [evaluation(np.array([3.0]))])
    assert row.gap == 0.5


def test_a_task_without_labels_has_no_gap():
    (row,) = bootstrap_gaps(["y"], [drawn(0)], [evaluation(np.zeros(0))])
    assert (row.gap, row.low, row.high) == (None, None, None)


def test_many_rows_cost_as_much_as_some():
    train, valid = drawn(0, 50_000), drawn(1, 50_000)
    (row,) = bootstrap_gaps(["y"], [train], [valid])
    width = row.high - row.low
    # The deviation of the gap is about √(2 / n) for unit exponentials; the interval 3.29 of it.
    assert width == pytest.approx(3.29 * (2 / 50_000) ** 0.5, rel=0.25)


def test_gap_at_the_end_comes_from_the_curves():
    history = {
        "tasks": ["a", "b", "c"],
        "epochs": [
            {"train": [9, 9, 9], "valid": [9, 9, 9]},
            {"train": [1.0, None, 1.0], "valid": [2.0, 1.0, 0.0]},
        ],
    }
    assert [(row.when, row.gap) for row in final_gaps(history)] == [
        ("end", 0.5),
        ("end", None),
        ("end", None),
    ]
    assert final_gaps({"tasks": ["a"], "epochs": []}) == ()
