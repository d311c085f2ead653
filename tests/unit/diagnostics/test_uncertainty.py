"""Spread against error."""

import numpy as np
import pytest
import torch

from polytask.diagnostics import Outputs, spread_against_error
from polytask.diagnostics.uncertainty import ranks
from polytask.errors import InvalidArgument
from polytask.tasks import Regression, group_tasks

stats = pytest.importorskip("scipy.stats")


def problem(rows=500, seed=0, *, honest=True):
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 3.0, rows)
    error = rng.normal(0, spread if honest else np.full(rows, 2.0))
    true = np.linspace(-3, 3, rows) * 10
    task = Regression("y").fit(true)
    (group,) = group_tasks([task])
    mask = torch.ones(rows, 1, dtype=torch.bool)
    mask[::7] = False
    outputs = Outputs(
        (group,),
        {"y": torch.tensor((true - error - task.center) / task.scale).float().view(-1, 1, 1)},
        {"y": task.encode(true)[0].view(-1, 1)},
        {"y": mask},
        None,
    )
    return outputs, spread, np.abs(error), mask.squeeze(1).numpy()


def test_rank_correlation_is_spearmans():
    outputs, spread, error, mask = problem()
    (found,) = spread_against_error(outputs, {"y": spread}, source="16 members")
    expected = stats.spearmanr(spread[mask], error[mask]).statistic
    assert found.correlation == pytest.approx(expected, abs=1e-3)
    assert 0 < found.low < found.correlation < found.high
    assert found.source == "16 members"
    assert found.labels == mask.sum()


def test_a_useless_spread_is_told_from_an_honest_one():
    outputs, spread, _, _ = problem(honest=False)
    (found,) = spread_against_error(outputs, {"y": spread})
    assert found.low < 0 < found.high
    honest = spread_against_error(problem()[0], {"y": problem()[1]})[0]
    assert honest.bins[-1].error > 2 * honest.bins[0].error
    assert found.bins[-1].error < 2 * found.bins[0].error


def test_share_beyond_two_spreads():
    outputs, spread, error, mask = problem()
    (found,) = spread_against_error(outputs, {"y": spread})
    assert found.beyond == pytest.approx((error[mask] > 2 * spread[mask]).mean(), abs=0.01)
    (tiny,) = spread_against_error(outputs, {"y": spread / 1000})
    assert tiny.beyond > 0.98
    assert tiny.correlation == pytest.approx(found.correlation)


def test_constant_spread_has_no_correlation():
    outputs, spread, _, _ = problem()
    (found,) = spread_against_error(outputs, {"y": np.ones_like(spread)})
    assert (found.correlation, found.low, found.high) == (None, None, None)
    assert len(found.bins) == 1


def test_ranks_share_ties():
    values = np.array([3.0, 1.0, 3.0, 2.0, 1.0])
    assert (ranks(values) + 1).tolist() == stats.rankdata(values).tolist()


def test_spreads_must_fit_the_rows():
    outputs, spread, _, _ = problem()
    with pytest.raises(InvalidArgument, match="spreads of 'y'"):
        spread_against_error(outputs, {"y": spread[:10]})
    assert spread_against_error(outputs, {}) == ()
