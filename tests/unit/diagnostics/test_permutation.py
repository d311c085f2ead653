import numpy as np
import pytest
import torch
from scipy.stats import kstest

from polytask.diagnostics.permutation import (
    RefitScores,
    p_value,
    permutation_test,
    shuffled_labels,
)
from polytask.diagnostics.shuffled_fits import Side, fit_logits, fit_squares

PROBLEMS = 200
FEW = 4
"""Permutations per problem: with so few, a wrong formula is off by a fifth."""


def losses(seed, *, rows=40, together=False, binary=False, count=FEW):
    """Validation losses of a problem without signal: the true order first."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(size=(2 * rows, 3)), np.ones((2 * rows, 1))], axis=1)
    y = rng.normal(size=(2 * rows, 1))
    if binary:
        y = (y > 0).astype(float)
    sides = [Side(x[part], y[part], np.ones(rows)) for part in (slice(rows), slice(rows, None))]
    orders = np.stack([np.arange(rows), *(rng.permutation(rows) for _ in range(count))])
    if together:  # the mutant: inputs and labels move together
        return [
            fit_squares(Side(x[order], y[order], np.ones(rows)), sides[1], orders[:1]).valid[0]
            for order in orders
        ]
    if binary:
        return fit_logits(*sides, orders, softmax=False).valid.tolist()
    return fit_squares(*sides, orders).valid.tolist()


def uniform(p_of, **options):
    """P value of a KS test; a draw inside the grid's cell makes the p values continuous."""
    rng = np.random.default_rng(1)
    found = [losses(seed, **options) for seed in range(PROBLEMS)]
    values = [p_of(own, rest) - rng.random() / (1 + FEW) for own, *rest in found]
    return kstest(values, "uniform").pvalue


@pytest.mark.parametrize("binary", [False, True])
def test_p_values_are_uniform_without_signal(binary):
    assert uniform(p_value, binary=binary) > 0.01


def test_leaving_out_the_true_order_is_found():
    """The mutant k / m is 0 in a fifth of all problems without signal."""

    def without(own, rest):
        return sum(loss <= own for loss in rest) / len(rest)

    assert uniform(without) < 1e-4


def test_shuffling_inputs_with_labels_is_found():
    assert uniform(p_value, together=True) < 1e-4


def test_every_kind_of_task_with_signal_is_significant(make_table, encode):
    train, fresh = make_table(seed=0), make_table(600, seed=1)
    valid = encode(train.tasks, fresh.values, fresh.batch.inputs)
    tests = permutation_test(train.batch, valid, train.groups, permutations=19)
    assert [test.task for test in tests] == [task.name for task in train.tasks]
    assert {test.p_value for test in tests} == {1 / 20}
    assert all(test.score < min(test.shuffled) for test in tests)
    assert all(-0.01 < test.memorised < 0.1 for test in tests), tests


def test_a_hundred_permutations_leave_the_generator_of_torch_alone(make_table):
    table = make_table()
    state = torch.get_rng_state()
    first = permutation_test(table.batch, table.batch, table.groups)
    assert first == permutation_test(table.batch, table.batch, table.groups)
    assert first != permutation_test(table.batch, table.batch, table.groups, seed=1)
    assert first[0].refits == 100
    assert torch.equal(state, torch.get_rng_state())


def test_shared_factorisation_equals_single_ridge_fits():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(50, 3)), rng.normal(size=(50, 1)), rng.uniform(0.5, 2, 50)
    side = Side(np.concatenate([x, np.ones((50, 1))], 1), y, weights)
    orders = np.stack([rng.permutation(50) for _ in range(5)])
    for order, loss in zip(orders, fit_squares(side, side, orders).valid, strict=True):
        model = Ridge(3.0).fit(x, y[order], sample_weight=weights)
        error = (model.predict(x).reshape(-1) - y[:, 0]) ** 2
        assert loss == pytest.approx(np.average(error, weights=weights), rel=1e-8)


def test_shared_factorisation_reaches_the_logistic_optimum():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    classes = np.argmax(x + rng.gumbel(size=(120, 3)), 1)
    side = Side(
        np.concatenate([x, np.ones((120, 1))], 1),
        (classes[:, None] == np.arange(3)).astype(float),
        np.ones(120),
    )
    (loss,) = fit_logits(side, side, np.arange(120)[None], softmax=True).train
    model = LogisticRegression(C=1 / 3, tol=1e-10, max_iter=1000).fit(x, classes)
    wanted = -np.log(model.predict_proba(x)[np.arange(120), classes]).mean()
    assert loss == pytest.approx(wanted, rel=1e-3)


def test_refits_get_orders_and_only_labelled_rows_move(make_table):
    table = make_table()
    calls = []

    def refit(orders):
        moved = shuffled_labels(table.batch, table.groups, orders)
        calls.append(moved)
        changed = {
            task.name: float(not (orders[task.name] == np.arange(len(orders[task.name]))).all())
            for task in table.tasks
        }
        return RefitScores(changed, {"level": 0.0})

    tests = permutation_test(
        table.batch, table.batch, table.groups, refit=refit, permutations=3, model="a network"
    )
    assert len(calls) == 4
    assert {test.p_value for test in tests} == {0.25}
    assert tests[0].memorised == 1.0
    assert tests[1].memorised is None
    for name, target in table.batch.targets.items():
        for moved in calls:
            mask = table.batch.masks[name]
            assert torch.equal(moved.targets[name][~mask], target[~mask])
            assert torch.equal(
                moved.targets[name][mask].flatten().sort()[0], target[mask].flatten().sort()[0]
            )
            assert moved.inputs is table.batch.inputs
    calls.clear()
    permutation_test(
        table.batch, table.batch, table.groups, refit=refit, permutations=3, together=False
    )
    assert len(calls) == 1 + 3 * len(table.tasks)
