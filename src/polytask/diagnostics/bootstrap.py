"""Paired bootstrap over rows: how sure is the difference between two models?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from polytask._checks import at_least, require

MAX_BLOCKS = 4096
"""More rows than this are first merged, at random, into this many blocks."""

Array = NDArray[np.float64]


class Differences(NamedTuple):
    """Paired differences of one task, labelled rows only.

    Args:
        rows: Positions of the rows in the set, the same set for all tasks.
        values: Loss of one model minus loss of the other, per row.
        weights: Row weights.
    """

    rows: NDArray[np.int64]
    values: Array
    weights: Array


@final
@dataclass(frozen=True)
class Intervals:
    """Weighted mean differences with the bounds of their bootstrap intervals.

    Args:
        mean: ``[tasks]``; NaN for a task without rows.
        low: Lower bounds ``[tasks]``.
        high: Upper bounds ``[tasks]``.
        together: (mean, low, high) over all tasks.
    """

    mean: Array
    low: Array
    high: Array
    together: tuple[float, float, float]


def paired_bootstrap(
    tasks: Sequence[Differences],
    units: Sequence[float],
    num_rows: int,
    *,
    pool_labels: bool = False,
    resamples: int = 1000,
    level: float = 0.9,
    seed: int = 0,
) -> Intervals:
    r"""Percentile intervals of weighted mean differences, for all tasks in the same resamples.

    A resample draws a Poisson(1) count :math:`c_i` for every row i; its statistic for task t is
    :math:`\sum_i c_i w_{it} d_{it} / (u_t \sum_i c_i w_{it})` with differences d, weights w and
    the unit u. All tasks (and both models behind d) meet the same rows in a resample, so
    correlations between them are kept, and the figure over all tasks has an honest interval.

    Args:
        tasks: The differences of every task.
        units: What a task's difference is measured in, positive: the mean predictor's loss.
        num_rows: Rows of the set.
        pool_labels: Over all tasks together, every label counts the same (tasks that are rows of
            one column) instead of every task; the unit is then the mean over labels of the units.
        resamples: Number of resamples.
        level: Coverage of the intervals.
        seed: Seed of the resamples' own generator.

    Example:
        >>> always = Differences(np.arange(50), np.full(50, 0.2), np.ones(50))
        >>> interval = paired_bootstrap([always], [2.0], 50)
        >>> interval.mean.round(3).tolist(), interval.low.round(3).tolist()
        ([0.1], [0.1])

    Note:
        The units are constants, not resampled: a verdict never depends on them. Beyond
        `MAX_BLOCKS` rows, rows are merged at random into blocks and blocks are resampled, which
        leaves the variance of a mean as it is and bounds the cost.

    Reference:
        B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 16.
    """
    require(0 < level < 1, "level", "lie between 0 and 1", level)
    at_least("resamples", resamples, 1)
    generator = np.random.default_rng(seed)
    blocks = min(num_rows, MAX_BLOCKS)
    block_of = np.arange(num_rows)
    if blocks < num_rows:
        block_of = generator.permutation(num_rows) * blocks // num_rows
    sums, totals = np.zeros((blocks, len(tasks))), np.zeros((blocks, len(tasks)))
    for index, (rows, values, weights) in enumerate(tasks):
        sums[:, index] = np.bincount(block_of[rows], weights * values, blocks)
        totals[:, index] = np.bincount(block_of[rows], weights, blocks)
    counts = generator.poisson(1.0, (resamples, blocks)).astype(np.float64)
    unit = np.asarray(units, dtype=np.float64)
    edges = (50 * (1 - level), 50 * (1 + level))
    # A resample without any labelled row of a task (0 / 0) says nothing about that task.
    means = _ratio(counts @ sums, counts @ totals) / unit
    mean = _ratio(sums.sum(0), totals.sum(0)) / unit
    low, high = np.full(len(tasks), np.nan), np.full(len(tasks), np.nan)
    present = totals.sum(0) > 0
    # nanpercentile is slow: only for the tasks whose few rows all went missing in a resample.
    whole = ~np.isnan(means).any(0)
    part = present & ~whole
    low[whole], high[whole] = np.percentile(means[:, whole], edges, axis=0)
    if part.any():
        low[part], high[part] = np.nanpercentile(means[:, part], edges, axis=0)
    if pool_labels:
        total = float(totals.sum())
        scale = float(totals.sum(0) @ unit) / total if total else np.nan
        drawn = _ratio(counts @ sums.sum(1), counts @ totals.sum(1)) / scale
        point = float(sums.sum()) / total / scale if total else np.nan
    else:
        known = ~np.isnan(means[:, present])
        drawn = _ratio(np.where(known, means[:, present], 0.0).sum(1), known.sum(1))
        point = float(mean[present].mean()) if present.any() else np.nan
    drawn = drawn[~np.isnan(drawn)]
    bounds = np.percentile(drawn, edges) if len(drawn) else (np.nan, np.nan)
    return Intervals(mean, low, high, (point, float(bounds[0]), float(bounds[1])))


def _ratio(numerator: Array, denominator: NDArray[Any]) -> Array:
    """Quotient, NaN where the denominator is 0."""
    quotient = np.full_like(numerator, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
