"""The numerical core of the leak search."""

import numpy as np
import pytest

from polytask.data.relations import find_relations


def draw(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def holds(relation, targets, features):
    total = np.full(len(targets), relation.constant)
    size = np.full(len(targets), abs(relation.constant))
    for values, weights in ((targets, relation.targets), (features, relation.features)):
        for column, weight in weights.items():
            total += weight * values[:, column]
            size += np.abs(weight * values[:, column])
    return np.nanmax(np.abs(total) / size)


@pytest.mark.parametrize("rows", [100, 1000])
@pytest.mark.parametrize("columns", [5, 50, 300])
def test_a_hidden_sum_is_found_with_its_coefficients(rows, columns):
    targets, features = draw(rows, 2), draw(rows, columns, seed=1)
    features[:, 3] = targets[:, 0] - 2 * features[:, 1] + 7
    relations = find_relations(targets, features)
    assert relations
    (relation,) = relations
    assert set(relation.targets) == {0}
    assert set(relation.features) == {1, 3}
    assert holds(relation, targets, features) < 1e-9
    scale = relation.targets[0]
    assert relation.features[1] / scale == pytest.approx(-2)
    assert relation.features[3] / scale == pytest.approx(-1)


def test_collinear_features_are_no_leak():
    targets, features = draw(500, 1), draw(500, 10, seed=1)
    features[:, 9] = features[:, 0] + features[:, 1]
    features[:, 8] = -features[:, 2]
    assert find_relations(targets, features) == []


def test_targets_that_determine_each_other_are_no_leak():
    targets, features = draw(500, 3), draw(500, 10, seed=1)
    targets[:, 2] = targets[:, 0] + targets[:, 1]
    assert find_relations(targets, features) == []
    features[:, 4] = targets[:, 2] + 1
    assert [set(r.features) for r in find_relations(targets, features)] == [{4}]


@pytest.mark.parametrize("seed", range(10))
def test_more_columns_than_rows_is_no_leak(seed):
    # Least squares on all rows would fit each of these perfectly.
    targets, features = draw(60, 3, seed), draw(60, 200, seed + 100)
    fit = np.linalg.lstsq(features, targets, rcond=None)[0]
    assert np.abs(features @ fit - targets).max() < 1e-9
    assert find_relations(targets, features, seed=seed) == []


def test_strong_is_not_exact():
    features = draw(1000, 20)
    exact = features @ np.arange(20.0)
    noisy = exact + 0.01 * exact.std() * draw(1000, 1, seed=5)[:, 0]
    assert find_relations(exact[:, None], features)
    assert not find_relations(noisy[:, None], features)


def test_rare_values_that_coincide_are_no_leak():
    targets, features = np.zeros((200, 1)), np.zeros((200, 1))
    targets[[3, 50, 90]] = features[[3, 50, 90]] = 1.0
    assert find_relations(targets, features) == []


def test_gaps_are_left_out_not_filled():
    targets, features = draw(400, 1), draw(400, 5, seed=1)
    features[:, 2] = 3 * targets[:, 0]
    features[::3, 2] = np.nan
    targets[::5] = np.nan
    (relation,) = find_relations(targets, features)
    assert set(relation.features) == {2}


def test_huge_and_tiny_units():
    targets, features = draw(300, 1) * 1e-9 + 1e-3, draw(300, 4, seed=1) * 1e12
    features[:, 1] = targets[:, 0] * 1e20
    assert len(find_relations(targets, features)) == 1


def test_nothing_to_search():
    assert find_relations(np.ones((50, 1)), draw(50, 2)) == []
    assert find_relations(draw(8, 1), draw(8, 2)) == []
