import numpy as np
import pytest

from polytask.diagnostics import Differences, paired_bootstrap
from polytask.diagnostics.bootstrap import MAX_BLOCKS
from polytask.errors import InvalidArgument


def whole(values, weights=None):
    weights = np.ones(len(values)) if weights is None else weights
    return Differences(np.arange(len(values)), values, weights)


def test_interval_is_that_of_the_central_limit_theorem():
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 2.0, 2000)
    found = paired_bootstrap([whole(values)], [1.0], 2000, resamples=4000)
    error = values.std() / np.sqrt(2000)
    assert found.mean[0] == pytest.approx(values.mean())
    # 5 % of the width: noise of the percentiles of 4,000 resamples.
    assert found.low[0] == pytest.approx(values.mean() - 1.645 * error, abs=0.1 * error)
    assert found.high[0] == pytest.approx(values.mean() + 1.645 * error, abs=0.1 * error)


def test_nine_of_ten_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        values = rng.exponential(1.0, 80) - 1.0
        found = paired_bootstrap([whole(values)], [1.0], 80, resamples=300, seed=seed)
        hits += found.low[0] <= 0 <= found.high[0]
    # Skewed data and 80 rows: percentile intervals cover slightly less than 90 %.
    assert 0.82 < hits / 300 < 0.94


def test_pairing_is_what_makes_small_differences_visible():
    rng = np.random.default_rng(2)
    model = rng.exponential(5.0, 400)
    baseline = model + rng.normal(0.1, 0.1, 400)
    paired = paired_bootstrap([whole(baseline - model)], [1.0], 400)
    unpaired = paired_bootstrap([whole(rng.permutation(baseline) - model)], [1.0], 400)
    assert paired.low[0] > 0
    assert unpaired.low[0] < 0 < unpaired.high[0]


def test_row_weights_equal_repeated_rows_in_the_mean():
    values, weights = np.array([1.0, 2.0, 6.0]), np.array([1.0, 0.0, 3.0])
    found = paired_bootstrap([whole(values, weights)], [2.0], 3)
    assert found.mean[0] == pytest.approx((1 + 3 * 6) / 4 / 2)
    assert found.mean[0] != pytest.approx(values.mean() / 2)


def test_all_tasks_meet_the_same_rows():
    values = np.random.default_rng(3).normal(size=200)
    found = paired_bootstrap([whole(values), whole(-values)], [1.0, 1.0], 200)
    assert found.low[0] == pytest.approx(-found.high[1])
    # In every resample the two cancel, so the figure over both is certain. Tasks that were
    # resampled apart would give an interval of the width of one task over the root of two.
    assert found.together == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_merged_rows_keep_the_width():
    values = np.random.default_rng(4).normal(size=3 * MAX_BLOCKS + 17)
    found = paired_bootstrap([whole(values)], [1.0], len(values), resamples=3000)
    width = 2 * 1.645 * values.std() / np.sqrt(len(values))
    assert found.mean[0] == pytest.approx(values.mean())
    assert found.high[0] - found.low[0] == pytest.approx(width, rel=0.1)


def test_over_all_tasks_labels_or_tasks_count_the_same():
    small = Differences(np.arange(10), np.full(10, 1.0), np.ones(10))
    large = Differences(np.arange(10, 100), np.full(90, -1.0), np.ones(90))
    tasks = paired_bootstrap([small, large], [1.0, 2.0], 100)
    labels = paired_bootstrap([small, large], [1.0, 2.0], 100, pool_labels=True)
    assert tasks.together[0] == pytest.approx((1.0 - 0.5) / 2)
    assert labels.together[0] == pytest.approx((10 - 90) / (10 * 1.0 + 90 * 2.0))


def test_a_task_without_rows_is_not_a_number_and_spoils_nothing():
    empty = Differences(np.arange(0), np.zeros(0), np.zeros(0))
    found = paired_bootstrap([whole(np.full(20, 0.5)), empty], [1.0, 1.0], 20)
    assert np.isnan([found.mean[1], found.low[1], found.high[1]]).all()
    assert found.together == pytest.approx((0.5, 0.5, 0.5))
    nothing = paired_bootstrap([empty], [1.0], 20, pool_labels=True)
    assert np.isnan(nothing.together).all()


def test_the_generator_is_owned():
    values = np.random.default_rng(5).normal(size=50)
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    first = paired_bootstrap([whole(values)], [1.0], 50, seed=7)
    again = paired_bootstrap([whole(values)], [1.0], 50, seed=7)
    other = paired_bootstrap([whole(values)], [1.0], 50, seed=8)
    assert first.low[0] == again.low[0] != other.low[0]
    assert (np.random.get_state()[1] == state).all()


def test_level_is_checked():
    with pytest.raises(InvalidArgument, match="level"):
        paired_bootstrap([whole(np.ones(3))], [1.0], 3, level=1.0)
